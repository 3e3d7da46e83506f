"""Hugging Face generate with a Marian model of the same weights, as a peer of the benchmark."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.modules.attention import unpack_projections

BOS, PADDING, EOS = 0, 1, 2


def build(config: TransformerConfig, model: TransformerModel) -> MarianMTModel:
    """Returns a Marian model with the weights of a post-norm model with Marian's positions."""
    vocab_size = model.decoder.embed_tokens.weight.size(0)
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=vocab_size,
            d_model=config.dim,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            encoder_ffn_dim=config.ffn_dim,
            decoder_ffn_dim=config.ffn_dim,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=config.max_positions,
            pad_token_id=PADDING,
            eos_token_id=EOS,
            decoder_start_token_id=EOS,
            forced_eos_token_id=EOS,
        )
    )
    missing, unexpected = marian.load_state_dict(separate_weights(model, config), strict=False)
    known = ("embed_positions", "final_logits_bias", "embed_tokens", "lm_head")
    rest = [name for name in missing if not any(part in name for part in known)]
    if rest or unexpected:
        raise RuntimeError(f"Weights without a place: {rest} {unexpected}")
    marian.tie_weights()
    return marian.eval()


def separate_weights(model: TransformerModel, config: TransformerConfig) -> dict[str, Tensor]:
    """Returns the weights with separate projections, by Marian's names."""
    weights = {"model.shared.weight": model.decoder.embed_tokens.weight.detach()}
    for name, weight in model.state_dict().items():
        if "embed_tokens" in name or "output_projection" in name:
            continue
        stem, kind = name.rsplit(".", 1)
        if stem.endswith("qkv_proj"):
            for part, value in zip(
                "qkv", unpack_projections(weight, 3, config.num_heads), strict=True
            ):
                weights[f"model.{stem.replace('qkv_proj', f'{part}_proj')}.{kind}"] = value
        elif "memory_projections" in stem:
            layer = stem.split(".")[2]
            for part, value in zip(
                "kv", unpack_projections(weight, 2, config.num_heads), strict=True
            ):
                place = f"model.decoder.layers.{layer}.encoder_attn.{part}_proj.{kind}"
                weights[place] = value
        else:
            weights[f"model.{name}"] = weight
    return weights


def generate(
    marian: MarianMTModel, batches: Sequence[Tensor], beam: int, length: int, sampling: bool
) -> list[list[int]]:
    """Returns the best output of each sentence, all of `length` symbols, eos not included."""
    found: list[list[int]] = []
    options = GenerationConfig(
        num_beams=1 if sampling else beam,
        do_sample=sampling,
        min_new_tokens=length,
        max_new_tokens=length + 1,
        suppress_tokens=[PADDING, BOS],
        length_penalty=1.0,
        pad_token_id=PADDING,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
        forced_eos_token_id=EOS,
    )
    with torch.no_grad():
        for source in batches:
            rows = marian.generate(
                input_ids=source,
                attention_mask=source.ne(PADDING).long(),
                generation_config=options,
            )
            found += [row[1 : length + 1] for row in rows.tolist()]
    return found
