"""fairseq's Transformer for translation as `model=transformer`."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seqtrain.errors import CheckpointError
from seqtrain.interop.fairseq_weights import ConvertedModel, ForeignTensors
from seqtrain.modules.attention import pack_projections

_REFUSED = (
    "adaptive_input",
    "cross_self_attention",
    "layernorm_embedding",
    "no_cross_attention",
    "no_token_positional_embeddings",
    "quant_noise_scalar",
)
"""Options that change what the model computes and have no counterpart here."""

_PADDING = 1
_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")


def convert_transformer(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> ConvertedModel:
    """Returns our Transformer with fairseq's weights.

    Args:
        tensors: fairseq's state dict.
        settings: fairseq's settings by name.

    Raises:
        CheckpointError: It uses an option that is not imported.
    """
    for name in _REFUSED:
        if settings.get(name):
            raise CheckpointError(f"fairseq's option {name}={settings[name]} is not imported.")
    left = ForeignTensors(tensors)
    _modernise(left)
    is_pre_norm = bool(_both(settings, "normalize_before", False))
    is_learned = bool(_both(settings, "learned_pos", False))
    num_heads = int(_both(settings, "attention_heads", 8))
    sharing, weights = left.take_embeddings()
    dim = weights["encoder.embed_tokens.weight"].size(1)
    if settings.get("no_scale_embedding"):
        # Ours multiplies inputs by sqrt(dim): divided before, in copies of what is shared.
        sharing = "none"
        for side in ("encoder", "decoder"):
            name = f"{side}.embed_tokens.weight"
            weights[name] = weights[name] / math.sqrt(dim)
    section = {
        "name": "transformer",
        "dim": dim,
        "num_heads": num_heads,
        "norm": "pre" if is_pre_norm else "post",
        "share_embeddings": sharing,
        "activation": settings.get("activation_fn", "relu"),
        "positions": "learned" if is_learned else "fairseq",
        "max_positions": _take_positions(left, settings, weights, is_learned),
    }
    section |= {name: settings[name] for name in _DROPOUTS if settings.get(name)}
    for side in ("encoder", "decoder"):
        num_layers = left.num_layers(f"{side}.layers.")
        section[f"{side}_layers"] = num_layers
        for index in range(num_layers):
            _take_layer(left, weights, side, index, num_heads)
        if is_pre_norm:
            _take_linear(left, weights, f"{side}.layer_norm")
    section["ffn_dim"] = weights["encoder.layers.0.fc1.bias"].numel()
    left.require_none_left("transformer")
    return ConvertedModel(section, weights)


def _modernise(left: ForeignTensors) -> None:
    """Gives old names the form that they have had since fairseq 0.10."""
    left.rename(r"decoder\.embed_out", "decoder.output_projection.weight")
    for side, norms in (
        ("encoder", ("self_attn", "final")),
        ("decoder", ("self_attn", "encoder_attn", "final")),
    ):
        for number, norm in enumerate(norms):
            old = rf"({side}\.layers\.\d+\.)layer_norms\.{number}\."
            left.rename(rf"{old}(weight|bias)", rf"\1{norm}_layer_norm.\2")
    for name in [name for name in left.left if "_attn.in_proj_" in name]:
        prefix, _, kind = name.rpartition("in_proj_")
        for part, value in zip("qkv", left.take(name).chunk(3), strict=True):
            left.left[f"{prefix}{part}_proj.{kind}"] = value


def _both(settings: Mapping[str, Any], option: str, default: object) -> Any:
    """Returns an option that encoder and decoder have alike."""
    encoder = settings.get(f"encoder_{option}", default)
    decoder = settings.get(f"decoder_{option}", default)
    if encoder != decoder:
        raise CheckpointError(
            f"fairseq's encoder_{option}={encoder} and decoder_{option}={decoder} differ; only "
            "models with the same on both sides are imported."
        )
    return encoder


def _take_positions(
    left: ForeignTensors, settings: Mapping[str, Any], weights: dict[str, Tensor], is_learned: bool
) -> int:
    """Takes learned tables; returns the longest sequence."""
    limits = [int(settings.get(f"max_{side}_positions") or 1024) for side in ("source", "target")]
    if not is_learned:
        return max(limits)
    names = [f"{side}.embed_positions.weight" for side in ("encoder", "decoder")]
    # Rows up to that of the padding symbol are not positions.
    tables = [left.take(name)[_PADDING + 1 :] for name in names]
    longest = min(len(table) for table in tables)
    weights |= {
        name: table[:longest].contiguous() for name, table in zip(names, tables, strict=True)
    }
    return longest


def _take_layer(
    left: ForeignTensors, weights: dict[str, Tensor], side: str, index: int, num_heads: int
) -> None:
    layer = f"{side}.layers.{index}"
    for name in ("self_attn_layer_norm", "self_attn.out_proj", "fc1", "fc2", "final_layer_norm"):
        _take_linear(left, weights, f"{layer}.{name}")
    for kind in ("weight", "bias"):
        parts = [left.take(f"{layer}.self_attn.{part}_proj.{kind}") for part in "qkv"]
        weights[f"{layer}.self_attn.qkv_proj.{kind}"] = pack_projections(parts, num_heads)
    if side == "encoder":
        return
    for name in ("encoder_attn_layer_norm", "encoder_attn.q_proj", "encoder_attn.out_proj"):
        _take_linear(left, weights, f"{layer}.{name}")
    for kind in ("weight", "bias"):
        parts = [left.take(f"{layer}.encoder_attn.{part}_proj.{kind}") for part in "kv"]
        name = f"decoder.memory_projections.{index}.kv_proj.{kind}"
        weights[name] = pack_projections(parts, num_heads)


def _take_linear(left: ForeignTensors, weights: dict[str, Tensor], name: str) -> None:
    for kind in ("weight", "bias"):
        weights[f"{name}.{kind}"] = left.take(f"{name}.{kind}")
