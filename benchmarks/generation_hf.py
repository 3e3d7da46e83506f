"""Hugging Face generate with a model of the same weights, for the benchmark of the search."""

from collections.abc import Mapping, Sequence

import torch
from generation_systems import CaseOptions
from torch import Tensor
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration

from seqtrain.models.transformer import TransformerConfig

BOS, PADDING, EOS = 0, 1, 2


class HuggingFace:
    """A pre-norm Transformer as M2M100, which is fairseq's in Hugging Face's library.

    Args:
        config: Shape of the model.
        weights: By fairseq's names, projections separate.
        longest: Most symbols of an output.
    """

    def __init__(
        self, config: TransformerConfig, weights: Mapping[str, Tensor], longest: int
    ) -> None:
        self.longest = longest
        embeddings = weights["encoder.embed_tokens.weight"]
        self.model = M2M100ForConditionalGeneration(
            M2M100Config(
                vocab_size=len(embeddings),
                d_model=config.dim,
                encoder_layers=config.encoder_layers,
                decoder_layers=config.decoder_layers,
                encoder_ffn_dim=config.ffn_dim,
                decoder_ffn_dim=config.ffn_dim,
                encoder_attention_heads=config.num_heads,
                decoder_attention_heads=config.num_heads,
                activation_function=config.activation,
                scale_embedding=True,
                max_position_embeddings=config.max_positions,
                pad_token_id=PADDING,
                eos_token_id=EOS,
                decoder_start_token_id=EOS,
            )
        )
        named = {
            f"model.{name}": weight
            for name, weight in weights.items()
            if "output_projection" not in name
        }
        named["model.shared.weight"] = named["lm_head.weight"] = embeddings
        missing, unexpected = self.model.load_state_dict(named, strict=False)
        missing = [name for name in missing if "embed_positions" not in name]
        if missing or unexpected:
            raise RuntimeError(f"Weights without a place: {missing} {unexpected}")
        self.model.tie_weights()
        self.model.eval()

    def generate(self, batches: Sequence[Tensor], options: CaseOptions) -> list[list[int]]:
        """Returns the best output of each sentence, without eos.

        The rule for the end of a search is ours and fairseq's: as many hypotheses as prefixes.
        """
        found: list[list[int]] = []
        config = GenerationConfig(
            num_beams=1 if options.sampling else options.beam,
            do_sample=options.sampling,
            early_stopping=options.beam > 1,
            top_k=0 if options.sampling else None,
            min_new_tokens=1,
            max_new_tokens=self.longest + 1,
            suppress_tokens=[PADDING, BOS],
            length_penalty=1.0,
            pad_token_id=PADDING,
            eos_token_id=EOS,
            decoder_start_token_id=EOS,
        )
        with torch.no_grad():
            for source in batches:
                rows = self.model.generate(
                    input_ids=source,
                    attention_mask=source.ne(PADDING).long(),
                    generation_config=config,
                )
                found += [_symbols(row) for row in rows.tolist()]
        return found


def _symbols(row: list[int]) -> list[int]:
    """Returns what stands between the first eos and the next."""
    rest = row[1:]
    return rest[: rest.index(EOS)] if EOS in rest else rest
