"""How the layers of transformers are divided among processes (tensor parallelism)."""

from collections.abc import Iterable, Mapping

from torch import nn

from seqtrain.errors import ConfigError
from seqtrain.modules.dropout import Dropout

_KINDS_OF_LAYERS = {
    "qkv_proj": "outputs",
    "q_proj": "outputs",
    "kv_proj": "outputs",
    "out_proj": "inputs",
    "fc1": "outputs",
    "fc2": "inputs",
    "embed_tokens": "symbols",
    "output_projection": "logits",
}
"""By the last part of a submodule's name. Packed projections are ordered head by head, so that a
part of their rows is whole heads."""


def transformer_plan(model: nn.Module, size: int, widths: Mapping[str, int]) -> dict[str, str]:
    """Returns the plan of a model whose submodules have the names above.

    Args:
        model: Its attention and feed-forward blocks, and its embeddings.
        size: How many processes.
        widths: What must be a multiple of that, by the name of the setting.

    Raises:
        ConfigError: Something is not, or a dropout is inside of what is divided.
    """
    for name, width in widths.items():
        if width % size:
            raise ConfigError(
                f"model.{name} ({width}) must be a multiple of distributed.tensor_parallel "
                f"({size})."
            )
    for name, dropout in _inner_dropouts(model.named_modules()):
        if dropout.p:
            raise ConfigError(
                f"model.{name} must be 0 with distributed.tensor_parallel: processes would drop "
                "the same values of their different parts."
            )
    names = {name: name.rpartition(".")[2] for name, _ in model.named_modules()}
    return {n: _KINDS_OF_LAYERS[last] for n, last in names.items() if last in _KINDS_OF_LAYERS}


def _inner_dropouts(modules: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, Dropout]]:
    found = []
    for name, module in modules:
        if isinstance(module, Dropout) and name.endswith("attn.dropout"):
            found.append(("attention_dropout", module))
        elif isinstance(module, Dropout) and name.endswith(
            ("activation_dropout", "feed_forward.dropout")
        ):
            found.append(("activation_dropout", module))
    return found
