"""A Transformer for translation in the format of CTranslate2, which is fast on a CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from seqtrain.data.side import Side
from seqtrain.data.tokenizers.sentencepiece import SentencePieceTokenizer
from seqtrain.data.vocabulary import BOS, EOS, SPECIALS, UNKNOWN
from seqtrain.errors import ConfigError, MachineError
from seqtrain.interop.huggingface_tokenizer import sentencepiece_model
from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.modules.positions import Positions
from seqtrain.pipeline import Pipeline
from seqtrain.tasks.translation import TranslationTask

QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16",
                 "bfloat16", "float32")  # fmt: skip


def write_ctranslate2(pipeline: Pipeline, folder: Path, quantization: str = "") -> list[str]:
    """Writes the model, its vocabularies, and SentencePiece models if it has them.

    Args:
        pipeline: The model with its task.
        folder: To write into.
        quantization: One of QUANTIZATIONS; empty for float32.

    Raises:
        ConfigError: CTranslate2 has no such model.
        MachineError: The package is missing.
    """
    model, task = pipeline.model, pipeline.task
    if type(model) is not TransformerModel or not isinstance(task, TranslationTask):
        raise ConfigError(
            f"format=ctranslate2 takes model=transformer of task=translation, not model="
            f"{pipeline.config.model.name} of task={pipeline.config.task.name}. Use another format."
        )
    check_quantization(quantization)
    for side in (task.source, task.target):
        if len(set(side.vocabulary.symbols)) < len(side.vocabulary):
            raise ConfigError(
                "format=ctranslate2 finds symbols by their spelling, and the vocabulary has one "
                "twice. Use another format."
            )
    spec = _spec(pipeline.config.model, model, task)
    spec.validate()
    spec.optimize(quantization=quantization or None)
    spec.save(str(folder))
    return _write_pieces(task, folder)


def check_quantization(quantization: str) -> None:
    """Raises ConfigError for a kind of weights that CTranslate2 does not know."""
    if quantization and quantization not in QUANTIZATIONS:
        raise ConfigError(
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, got {quantization!r}."
        )


def _package() -> Any:
    try:
        import ctranslate2
        import ctranslate2.specs
    except ImportError:
        raise MachineError(
            "format=ctranslate2 needs a package: pip install 'seqtrain[ctranslate2]'."
        ) from None
    return ctranslate2


def _spec(config: TransformerConfig, model: TransformerModel, task: TranslationTask) -> Any:
    package = _package()
    activations = package.specs.common_spec.Activation
    activation = {"relu": activations.RELU, "gelu": activations.GELU}[config.activation]
    spec = package.specs.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.num_heads,
        pre_norm=config.norm == "pre",
        activation=activation,
    )
    spec.register_source_vocabulary(list(task.source.vocabulary.symbols))
    spec.register_target_vocabulary(list(task.target.vocabulary.symbols))
    spec.config.bos_token = SPECIALS[BOS]
    spec.config.eos_token = SPECIALS[EOS]
    spec.config.unk_token = SPECIALS[UNKNOWN]
    spec.config.decoder_start_token = SPECIALS[EOS]
    spec.config.add_source_eos = True
    state = {name: _array(value) for name, value in model.state_dict().items()}
    heads = config.num_heads
    for side in ("encoder", "decoder"):
        part, module = getattr(spec, side), getattr(model, side)
        embeddings = part.embeddings[0] if isinstance(part.embeddings, list) else part.embeddings
        embeddings.weight = state[f"{side}.embed_tokens.weight"]
        part.scale_embeddings = True
        part.position_encodings.encodings = _positions(module.embed_positions)
        if config.norm == "pre":
            _set_norm(part.layer_norm, state, f"{side}.layer_norm")
        for index, layer in enumerate(part.layer):
            _set_layer(layer, state, f"{side}.layers.{index}", heads)
            if side == "decoder":
                _set_cross_attention(layer.attention, state, index, heads)
    spec.decoder.projection.weight = state["decoder.output_projection.weight"]
    return spec


def _set_layer(layer: Any, state: dict[str, npt.NDArray[Any]], name: str, heads: int) -> None:
    attention = layer.self_attention
    for kind in ("weight", "bias"):
        packed = state[f"{name}.self_attn.qkv_proj.{kind}"]
        setattr(attention.linear[0], kind, _unpacked(packed, 3, heads))
    _set_linear(attention.linear[1], state, f"{name}.self_attn.out_proj")
    _set_norm(attention.layer_norm, state, f"{name}.self_attn_layer_norm")
    _set_linear(layer.ffn.linear_0, state, f"{name}.fc1")
    _set_linear(layer.ffn.linear_1, state, f"{name}.fc2")
    _set_norm(layer.ffn.layer_norm, state, f"{name}.final_layer_norm")


def _set_cross_attention(
    attention: Any, state: dict[str, npt.NDArray[Any]], index: int, heads: int
) -> None:
    name = f"decoder.layers.{index}"
    _set_linear(attention.linear[0], state, f"{name}.encoder_attn.q_proj")
    for kind in ("weight", "bias"):
        packed = state[f"decoder.memory_projections.{index}.kv_proj.{kind}"]
        setattr(attention.linear[1], kind, _unpacked(packed, 2, heads))
    _set_linear(attention.linear[2], state, f"{name}.encoder_attn.out_proj")
    _set_norm(attention.layer_norm, state, f"{name}.encoder_attn_layer_norm")


def _set_linear(linear: Any, state: dict[str, npt.NDArray[Any]], name: str) -> None:
    linear.weight, linear.bias = state[f"{name}.weight"], state[f"{name}.bias"]


def _set_norm(norm: Any, state: dict[str, npt.NDArray[Any]], name: str) -> None:
    norm.gamma, norm.beta = state[f"{name}.weight"], state[f"{name}.bias"]


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _unpacked(packed: npt.NDArray[Any], parts: int, heads: int) -> npt.NDArray[Any]:
    """Returns the projections of all heads one after the other, as CTranslate2 packs them."""
    by_head = packed.reshape(heads, parts, -1, *packed.shape[1:])
    return np.ascontiguousarray(by_head.swapaxes(0, 1).reshape(packed.shape))


def _positions(positions: Positions) -> npt.NDArray[Any]:
    rows = positions.rows()
    return _array(rows[positions.first : positions.first + positions.max_positions])


def _write_pieces(task: TranslationTask, folder: Path) -> list[str]:
    """Writes what cuts text into pieces; returns how, where no file says it."""
    notes = []
    for name, side in (("source", task.source), ("target", task.target)):
        if isinstance(side.tokenizer, SentencePieceTokenizer):
            (folder / f"{name}.spm").write_bytes(sentencepiece_model(side.tokenizer))
        else:
            notes.append(_cutting(name, side))
    return notes


def _cutting(name: str, side: Side) -> str:
    return (
        f"{name} text is cut by tokenizer={side.tokenizer.config.name}, which has no file of its "
        "own: give CTranslate2 the pieces."
    )
