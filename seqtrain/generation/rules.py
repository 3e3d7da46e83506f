"""What may not be written: lengths, special symbols, repetitions."""

import torch
from torch import Tensor

from seqtrain.data.vocabulary import UNKNOWN
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.prefixes import NEVER, Prefixes
from seqtrain.models.base import ModelContext


def apply_rules(
    scores: Tensor, prefixes: Prefixes, config: GenerationConfig, context: ModelContext
) -> None:
    """Changes the log probabilities of next symbols in place, as the options demand.

    At the longest length eos alone is allowed, whatever the other options say.

    Args:
        scores: [sentences, prefixes, vocab].
        prefixes: What is written so far.
        config: Options of the search.
        context: Special symbols.
    """
    eos = context.eos_index
    eos_scores = scores[:, :, eos].clone()
    for symbol in {context.padding_index, context.bos_index} - {eos}:
        scores[:, :, symbol] = NEVER
    if config.unkpen:
        scores[:, :, UNKNOWN] -= config.unkpen
    if config.no_repeat_ngram_size and not config.fairseq_ngrams:
        forbid_repetition(scores, prefixes, config.no_repeat_ngram_size)
    written = prefixes.num_written
    is_short = written < config.min_len
    if bool(is_short.any()):
        scores[:, :, eos].masked_fill_(is_short[:, None], NEVER)
    must_end = written >= prefixes.limits
    if bool(must_end.any()):
        scores[must_end] = NEVER
        scores[:, :, eos] = torch.where(must_end[:, None], eos_scores, scores[:, :, eos])


def forbid_repetition(scores: Tensor, prefixes: Prefixes, size: int) -> None:
    """Forbids symbols that would complete a sequence of `size` symbols for the second time."""
    _, width, time = prefixes.tokens.shape
    if time - 1 < size:
        return
    tokens = prefixes.tokens[:, :, 1:]  # the first eos is no part of a sequence
    sequences = tokens.unfold(2, size, 1)
    starts = torch.arange(sequences.size(2), device=tokens.device)
    last = (prefixes.lengths - size)[:, None] + torch.arange(size - 1, device=tokens.device)
    last = last.clamp(min=0)[:, None].expand(-1, width, -1)
    matches = (sequences[..., :-1] == tokens.gather(2, last)[:, :, None]).all(dim=3)
    # Whole sequences only: behind the end of a prefix there is nothing.
    matches &= (starts + size <= (prefixes.lengths - 1)[:, None])[:, None]
    sentences, rows, places = matches.nonzero(as_tuple=True)
    scores[sentences, rows, sequences[sentences, rows, places, -1]] = NEVER
