"""`model=transformer` as Marian, M2M100, Pegasus or Blenderbot of transformers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from seqtrain.errors import ConfigError
from seqtrain.interop.huggingface_layout import Layout, copy_linear, no_layout
from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.modules.attention import unpack_projections

_ARCHITECTURES = {
    ("post", "marian"): ("marian", "MarianMTModel"),
    ("pre", "fairseq"): ("m2m_100", "M2M100ForConditionalGeneration"),
    ("pre", "marian"): ("pegasus", "PegasusForConditionalGeneration"),
    ("pre", "learned"): ("blenderbot", "BlenderbotForConditionalGeneration"),
}
"""By `model.norm` and the kind of positions."""

_EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def encoder_decoder_layout(config: TransformerConfig, model: TransformerModel) -> Layout:
    """Returns a Transformer for transformers.

    Raises:
        ConfigError: transformers has no such model.
    """
    kind = (config.norm, config.position_kind)
    if kind not in _ARCHITECTURES:
        raise no_layout(
            "positions", config.position_kind, "with model.norm=post it knows marian positions only"
        )
    model_type, architecture = _ARCHITECTURES[kind]
    state = model.state_dict()
    weights: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        for index in range(getattr(config, f"{side}_layers")):
            _copy_layer(weights, state, f"{side}.layers.{index}", config.num_heads)
            if side == "decoder":
                _copy_cross_attention(weights, state, index, config.num_heads)
        if config.norm == "pre":
            copy_linear(weights, state, f"{side}.layer_norm", f"model.{side}.layer_norm")
        if model_type in ("pegasus", "blenderbot"):  # the others build their tables
            table = getattr(model, side).embed_positions.rows()
            weights[f"model.{side}.embed_positions.weight"] = table
    settings = _settings(config) | {"model_type": model_type}
    copy_embeddings = _copy_two_sizes if model_type == "marian" else _copy_one_size
    settings |= copy_embeddings(weights, state, model, architecture)
    return Layout(architecture, settings, weights)


def _settings(config: TransformerConfig) -> dict[str, Any]:
    both = {
        "layers": (config.encoder_layers, config.decoder_layers),
        "attention_heads": (config.num_heads, config.num_heads),
        "ffn_dim": (config.ffn_dim, config.ffn_dim),
        "layerdrop": (config.layer_drop, config.layer_drop),
    }
    sides = {
        f"{side}_{name}": values[index]
        for index, side in enumerate(("encoder", "decoder"))
        for name, values in both.items()
    }
    return sides | {
        "d_model": config.dim,
        "activation_function": config.activation,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "max_position_embeddings": config.max_positions,
        "scale_embedding": True,
        "is_encoder_decoder": True,
        "forced_eos_token_id": None,  # generation_config.json says it
    }


def _copy_layer(
    weights: dict[str, Tensor], state: Mapping[str, Tensor], layer: str, num_heads: int
) -> None:
    for name in ("self_attn_layer_norm", "self_attn.out_proj", "fc1", "fc2", "final_layer_norm"):
        copy_linear(weights, state, f"{layer}.{name}", f"model.{layer}.{name}")
    for kind in ("weight", "bias"):
        parts = unpack_projections(state[f"{layer}.self_attn.qkv_proj.{kind}"], 3, num_heads)
        for name, part in zip("qkv", parts, strict=True):
            weights[f"model.{layer}.self_attn.{name}_proj.{kind}"] = part


def _copy_cross_attention(
    weights: dict[str, Tensor], state: Mapping[str, Tensor], index: int, num_heads: int
) -> None:
    layer = f"decoder.layers.{index}"
    for name in ("encoder_attn_layer_norm", "encoder_attn.q_proj", "encoder_attn.out_proj"):
        copy_linear(weights, state, f"{layer}.{name}", f"model.{layer}.{name}")
    for kind in ("weight", "bias"):
        packed = state[f"decoder.memory_projections.{index}.kv_proj.{kind}"]
        for name, part in zip("kv", unpack_projections(packed, 2, num_heads), strict=True):
            weights[f"model.{layer}.encoder_attn.{name}_proj.{kind}"] = part


def _copy_two_sizes(
    weights: dict[str, Tensor],
    state: Mapping[str, Tensor],
    model: TransformerModel,
    architecture: str,
) -> dict[str, Any]:
    """Copies the weights over symbols where source and target have sizes of their own."""
    is_one, is_tied = _sharing(model)
    source, target = (state[name] for name in _EMBEDDINGS)
    if is_one:
        weights["model.shared.weight"] = source
    else:
        weights |= {f"model.{name}": state[name] for name in _EMBEDDINGS}
    if not is_tied:
        weights["lm_head.weight"] = state["decoder.output_projection.weight"]
    return {
        "vocab_size": len(source),
        "decoder_vocab_size": len(target),
        "share_encoder_decoder_embeddings": is_one,
        "tie_word_embeddings": is_tied,
    }


def _copy_one_size(
    weights: dict[str, Tensor],
    state: Mapping[str, Tensor],
    model: TransformerModel,
    architecture: str,
) -> dict[str, Any]:
    """Copies the weights over symbols where source and target have one size.

    These architectures tie all three weights or none, so others are written out, and a smaller
    source is filled up with rows that no input names.
    """
    is_one, is_tied = _sharing(model)
    source, target = (state[name] for name in _EMBEDDINGS)
    if is_one and is_tied:
        weights["model.shared.weight"] = target
        return {"vocab_size": len(target), "tie_word_embeddings": True}
    if len(source) > len(target):
        raise ConfigError(
            f"format=huggingface: {architecture} has one vocabulary size, and the source has "
            f"{len(source)} symbols, the target {len(target)}: a larger target would change the "
            "probabilities. Prepare the data with task.joined=true, train with model.norm=post "
            "(Marian has two sizes), or use another format."
        )
    filled = F.pad(source, (0, 0, 0, len(target) - len(source)))
    weights |= {
        f"model.{name}": table for name, table in zip(_EMBEDDINGS, (filled, target), strict=True)
    }
    weights["model.shared.weight"] = filled  # of no use, but transformers misses it otherwise
    weights["lm_head.weight"] = state["decoder.output_projection.weight"]
    return {"vocab_size": len(target), "tie_word_embeddings": False}


def _sharing(model: TransformerModel) -> tuple[bool, bool]:
    """Says whether source and target embeddings are one, and whether the output layer is that."""
    target = model.decoder.embed_tokens.weight
    return (
        model.encoder.embed_tokens.weight is target,
        model.decoder.output_projection.weight is target,
    )
