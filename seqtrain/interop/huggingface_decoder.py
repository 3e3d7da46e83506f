"""`model=transformer_lm` as GPT-2, GPT-NeoX or Llama of transformers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seqtrain.interop.huggingface_layout import Layout, copy_linear, no_layout
from seqtrain.models.transformer_lm import TransformerLM, TransformerLMConfig
from seqtrain.modules.norms import EPS

_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}

Weights = dict[str, Tensor]
State = Mapping[str, Tensor]


def decoder_layout(config: TransformerLMConfig, model: TransformerLM) -> Layout:
    """Returns a language model for transformers.

    Raises:
        ConfigError: transformers has no such model.
    """
    if config.norm == "post":
        raise no_layout("norm", "post", "its language models normalise before each block")
    if config.positions not in ("learned", "rotary"):
        raise no_layout("positions", config.positions, "it knows learned and rotary ones")
    state = model.state_dict()
    if config.positions == "learned":
        layout = _gpt2(config, state)
    elif config.norm_type == "layernorm":
        layout = _neox(config, state)
    else:
        layout = _llama(config, state)
    is_tied = model.output_projection.weight is model.decoder.embed_tokens.weight
    if not is_tied:
        layout.weights["lm_head.weight"] = state["output_projection.weight"]
    vocab_size = len(state["decoder.embed_tokens.weight"])
    common = {"vocab_size": vocab_size, "tie_word_embeddings": is_tied}
    return Layout(layout.architecture, layout.config | common, layout.weights)


def _gpt2(config: TransformerLMConfig, state: State) -> Layout:
    _require_plain(config, "GPT-2", norm_type="layernorm")
    weights = {
        "transformer.wte.weight": state["decoder.embed_tokens.weight"],
        "transformer.wpe.weight": state["decoder.embed_positions.weight"],
    }
    for index in range(config.layers):
        ours, theirs = f"decoder.layers.{index}", f"transformer.h.{index}"
        _copy_norm(weights, state, f"{ours}.self_attn_norm", f"{theirs}.ln_1")
        _copy_norm(weights, state, f"{ours}.feed_forward_norm", f"{theirs}.ln_2")
        _copy_transposed(weights, state, f"{ours}.self_attn.out_proj", f"{theirs}.attn.c_proj")
        _copy_transposed(weights, state, f"{ours}.feed_forward.fc1", f"{theirs}.mlp.c_fc")
        _copy_transposed(weights, state, f"{ours}.feed_forward.fc2", f"{theirs}.mlp.c_proj")
        weight, bias = _projections(config, state, ours, _same)
        weights[f"{theirs}.attn.c_attn.weight"] = torch.cat(weight).t()
        weights[f"{theirs}.attn.c_attn.bias"] = torch.cat(bias)
    _copy_norm(weights, state, "decoder.norm", "transformer.ln_f")
    settings = {
        "model_type": "gpt2",
        "n_embd": config.dim,
        "n_layer": config.layers,
        "n_head": config.num_heads,
        "n_inner": config.inner_dim,
        "n_positions": config.max_positions,
        "activation_function": _ACTIVATIONS[config.activation],
        "layer_norm_epsilon": EPS,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
    }
    return Layout("GPT2LMHeadModel", settings, weights)


def _neox(config: TransformerLMConfig, state: State) -> Layout:
    _require_plain(config, "GPT-NeoX", norm_type="layernorm")
    weights = {"gpt_neox.embed_in.weight": state["decoder.embed_tokens.weight"]}
    for index in range(config.layers):
        ours, theirs = f"decoder.layers.{index}", f"gpt_neox.layers.{index}"
        for own, other in (
            ("self_attn_norm", "input_layernorm"),
            ("feed_forward_norm", "post_attention_layernorm"),
            ("self_attn.out_proj", "attention.dense"),
            ("feed_forward.fc1", "mlp.dense_h_to_4h"),
            ("feed_forward.fc2", "mlp.dense_4h_to_h"),
        ):
            _copy_norm(weights, state, f"{ours}.{own}", f"{theirs}.{other}")
        by_kind = _projections(config, state, ours, _halves)
        for kind, parts in zip(("weight", "bias"), by_kind, strict=True):
            by_head = [part.unflatten(0, (config.num_heads, -1)) for part in parts]
            packed = torch.stack(by_head, dim=1).flatten(0, 2)
            weights[f"{theirs}.attention.query_key_value.{kind}"] = packed
    _copy_norm(weights, state, "decoder.norm", "gpt_neox.final_layer_norm")
    settings = _rotary_settings(config) | {
        "model_type": "gpt_neox",
        "hidden_act": _ACTIVATIONS[config.activation],
        "layer_norm_eps": EPS,
        "hidden_dropout": config.dropout,
        "rotary_emb_base": config.rotary_base,
        "rotary_pct": 1.0,
        "use_parallel_residual": False,
        "attention_bias": True,
    }
    return Layout("GPTNeoXForCausalLM", settings, weights)


def _llama(config: TransformerLMConfig, state: State) -> Layout:
    if config.activation != "swiglu":
        raise no_layout(
            "activation", config.activation, "with rotary positions and rmsnorm it knows swiglu"
        )
    weights = {"model.embed_tokens.weight": state["decoder.embed_tokens.weight"]}
    for index in range(config.layers):
        ours, theirs = f"decoder.layers.{index}", f"model.layers.{index}"
        for own, other in (
            ("self_attn_norm", "input_layernorm"),
            ("feed_forward_norm", "post_attention_layernorm"),
            ("self_attn.out_proj", "self_attn.o_proj"),
            ("feed_forward.fc2", "mlp.down_proj"),
        ):
            copy_linear(weights, state, f"{ours}.{own}", f"{theirs}.{other}")
        for kind in ("weight", "bias") if config.bias else ("weight",):
            gate, values = state[f"{ours}.feed_forward.fc1.{kind}"].chunk(2)
            weights[f"{theirs}.mlp.gate_proj.{kind}"] = gate
            weights[f"{theirs}.mlp.up_proj.{kind}"] = values
            parts = _projections(config, state, ours, _halves)[kind == "bias"]
            for name, part in zip("qkv", parts, strict=True):
                weights[f"{theirs}.self_attn.{name}_proj.{kind}"] = part
    copy_linear(weights, state, "decoder.norm", "model.norm")
    settings = _rotary_settings(config) | {
        "model_type": "llama",
        "num_key_value_heads": config.key_heads,
        "hidden_act": "silu",
        "rms_norm_eps": EPS,
        "rope_theta": config.rotary_base,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
    }
    return Layout("LlamaForCausalLM", settings, weights)


def _rotary_settings(config: TransformerLMConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.dim,
        "intermediate_size": config.inner_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.num_heads,
        "max_position_embeddings": config.max_positions,
        "attention_dropout": config.attention_dropout,
    }


def _require_plain(config: TransformerLMConfig, name: str, norm_type: str) -> None:
    if config.norm_type != norm_type:
        raise no_layout("norm_type", config.norm_type, f"{name} has {norm_type}")
    if config.activation not in _ACTIVATIONS:
        raise no_layout("activation", config.activation, f"{name} has {', '.join(_ACTIVATIONS)}")
    if config.key_heads != config.num_heads:
        reason = f"{name} has as many heads of keys as of queries"
        raise no_layout("num_key_heads", config.key_heads, reason)


def _projections(
    config: TransformerLMConfig, state: State, layer: str, order: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the weights and the biases of queries, keys and values; zeros for no biases.

    Args:
        config: Sizes.
        state: Of the model.
        layer: Name of the layer.
        order: Rearranges the rows of queries and keys, [heads, head, ...].
    """
    heads, head = config.key_heads, config.dim // config.num_heads
    found = []
    weight = state[f"{layer}.self_attn.qkv_proj.weight"]
    bias = state.get(f"{layer}.self_attn.qkv_proj.bias", weight.new_zeros(len(weight)))
    for packed in (weight, bias):
        split = packed.unflatten(0, (heads, -1, head))
        queries, keys, values = split[:, :-2].flatten(0, 1), split[:, -2], split[:, -1]
        found.append([part.flatten(0, 1) for part in (order(queries), order(keys), values)])
    return found[0], found[1]


def _same(rows: Tensor) -> Tensor:
    return rows


def _halves(rows: Tensor) -> Tensor:
    """Puts the first of each pair of neighbours before all second ones: rotary pairs of theirs."""
    return rows.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2)


def _copy_norm(weights: Weights, state: State, name: str, theirs: str) -> None:
    """Copies a layer of theirs that always has a bias; zeros where ours has none."""
    copy_linear(weights, state, name, theirs)
    weight = weights[f"{theirs}.weight"]
    weights.setdefault(f"{theirs}.bias", weight.new_zeros(len(weight)))


def _copy_transposed(weights: Weights, state: State, name: str, theirs: str) -> None:
    _copy_norm(weights, state, name, theirs)
    weights[f"{theirs}.weight"] = weights[f"{theirs}.weight"].t()
