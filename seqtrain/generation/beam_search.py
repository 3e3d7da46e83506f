"""Beam search with a batch of sentences, cached states and ensembles."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, NumericError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.models.base import EncoderDecoderModel, ModelContext


class BeamSearch(Generator):
    """Keeps the `beam` best prefixes of each sentence, and extends them symbol by symbol.

    The rules are fairseq's: of the 2 * beam best extensions, those that end a sentence and are
    among the first `beam` are finished; the best `beam` others go on; a sentence is done when it
    has `beam` finished hypotheses or reaches its longest length. That length comes from the
    sentence's own source length (all symbols but padding), so that a sentence's outputs do not
    depend on what else is in the batch. Padding and bos are never written.

    Args:
        models: One model, or several whose probabilities are averaged.
        config: Options of the search.
        context: Special symbols of the target.
    """

    def __init__(
        self,
        models: Sequence[EncoderDecoderModel],
        config: GenerationConfig,
        context: ModelContext,
    ) -> None:
        if not models:
            raise ConfigError("Generation needs at least one model.")
        self.models = list(models)
        self.config = config
        self.context = context

    @override
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        if not batch.num_examples:
            return []
        with torch.no_grad(), _evaluating(self.models):
            return self._generate(batch.inputs["source_tokens"])

    def _generate(self, source_tokens: Tensor) -> list[list[Hypothesis]]:
        limits = self._max_lengths(source_tokens)
        search = _Search(self.models, source_tokens, limits, self.config, self.context)
        while search.sentences:
            search.extend()
        for index, found in enumerate(search.finished):
            if not found:
                raise NumericError(
                    f"Sentence {index + 1} of a batch has no output of finite probability. Check "
                    "that the model gives finite scores, and that generation.min_len and "
                    "generation.no_repeat_ngram_size leave a choice."
                )
            found.sort(key=lambda hypothesis: -hypothesis.score)
        return [found[: self.config.nbest] for found in search.finished]

    def _max_lengths(self, source_tokens: Tensor) -> list[int]:
        """Returns the most symbols before eos that each sentence may have."""
        a, b = self.config.max_len_a, self.config.max_len_b
        source_lengths = source_tokens.ne(self.context.padding_index).sum(dim=1).tolist()
        wanted = [int(a * length + b) for length in source_lengths]
        known = [model.max_target_positions for model in self.models]
        # Reading n symbols and the eos before them takes n + 1 positions.
        longest = min((positions - 1 for positions in known if positions), default=None)
        return wanted if longest is None else [min(length, longest) for length in wanted]


@dataclass(frozen=True)
class _Extensions:
    """The best extensions of each sentence's prefixes, best first; all [sentences, number]."""

    totals: Tensor  # summed log probabilities
    prefixes: Tensor  # which of the sentence's prefixes is extended
    symbols: Tensor
    symbol_scores: Tensor


class _Search:
    """The prefixes of the sentences that are not done: `beam` consecutive rows for each."""

    def __init__(
        self,
        models: list[EncoderDecoderModel],
        source_tokens: Tensor,
        max_lengths: list[int],
        config: GenerationConfig,
        context: ModelContext,
    ) -> None:
        self.models, self.config, self.context = models, config, context
        num_sentences, beam = source_tokens.size(0), config.beam
        self.max_lengths = max_lengths
        self.sentences = list(range(num_sentences))
        self.finished: list[list[Hypothesis]] = [[] for _ in self.sentences]
        self.memories = [
            {name: rows.repeat_interleave(beam, dim=0) for name, rows in memory.items()}
            for memory in (model.encode(source_tokens) for model in models)
        ]
        self.states: list[dict[str, Tensor] | None] = [None] * len(models)
        self.buffers: list[Tensor] = []
        self.prefixes = source_tokens.new_full((num_sentences * beam, 1), context.eos_index)
        self.symbol_scores = torch.zeros(num_sentences * beam, 0, device=source_tokens.device)
        # All prefixes of a sentence are equal at first: only one may be extended.
        self.totals = torch.full((num_sentences, beam), -math.inf, device=source_tokens.device)
        self.totals[:, 0] = 0.0

    @property
    def num_written(self) -> int:
        """Symbols of every prefix, the eos before them not counted."""
        return self.prefixes.size(1) - 1

    def extend(self) -> None:
        """Writes one symbol to every prefix; finishes hypotheses and sentences."""
        log_probs = self._next_log_probs()
        self._forbid_symbols(log_probs)
        best = self._best_extensions(log_probs)
        self._finish(best)
        self._go_on(best)

    def _next_log_probs(self) -> Tensor:
        """Returns the log probabilities of the next symbol, [rows, vocab]."""
        by_model = []
        for index, model in enumerate(self.models):
            output, self.states[index] = model.decode(
                self.prefixes, self.memories[index], self.states[index]
            )
            logits = output.output_layer(output.features[:, -1]).float()
            if self.config.temperature != 1.0:
                logits = logits / self.config.temperature
            by_model.append(self._log_softmax(logits, index))
        if len(by_model) == 1:
            return by_model[0]
        return torch.stack(by_model).logsumexp(dim=0) - math.log(len(by_model))

    def _log_softmax(self, logits: Tensor, model_index: int) -> Tensor:
        # One buffer for all steps: on a CPU fresh pages would cost more than the arithmetic.
        if len(self.buffers) == model_index:
            self.buffers.append(torch.empty_like(logits))
        buffer = self.buffers[model_index][: logits.size(0)]
        return torch.log_softmax(logits, dim=-1, out=buffer)

    def _forbid_symbols(self, log_probs: Tensor) -> None:
        context, eos = self.context, self.context.eos_index
        must_end = [self.num_written >= self.max_lengths[index] for index in self.sentences]
        eos_scores = log_probs[:, eos].clone()
        for symbol in {context.padding_index, context.bos_index} - {eos}:
            log_probs[:, symbol] = -math.inf
        if self.config.no_repeat_ngram_size:
            _forbid_repetition(log_probs, self.prefixes[:, 1:], self.config.no_repeat_ngram_size)
        if self.num_written < self.config.min_len:
            log_probs[:, eos] = -math.inf
        if any(must_end):
            rows = torch.tensor(must_end, device=log_probs.device)
            rows = rows.repeat_interleave(self.config.beam)
            log_probs.masked_fill_(rows[:, None], -math.inf)
            log_probs[:, eos] = torch.where(rows, eos_scores, log_probs[:, eos])

    def _best_extensions(self, log_probs: Tensor) -> _Extensions:
        # The best of a sentence are among the best of each of its prefixes.
        beam, num_wanted = self.config.beam, 2 * self.config.beam
        by_prefix = min(num_wanted, log_probs.size(1))
        scores, symbols = log_probs.topk(by_prefix, dim=1)
        scores = scores.masked_fill(scores.isnan(), -math.inf).view(-1, beam, by_prefix)
        totals = (self.totals[:, :, None] + scores).flatten(1)
        best, chosen = totals.topk(min(num_wanted, totals.size(1)), dim=1)
        return _Extensions(
            totals=best,
            prefixes=chosen // by_prefix,
            symbols=symbols.view(totals.shape).gather(1, chosen),
            symbol_scores=scores.flatten(1).gather(1, chosen),
        )

    def _finish(self, best: _Extensions) -> None:
        """Takes the hypotheses that end here."""
        beam = self.config.beam
        ends = best.symbols.eq(self.context.eos_index) & best.totals.isfinite()
        length = self.num_written + 1  # eos counts
        for position, rank in ends[:, :beam].nonzero().tolist():
            found = self.finished[self.sentences[position]]
            if len(found) == beam:
                continue
            row = position * beam + int(best.prefixes[position, rank])
            scores = self.symbol_scores[row].tolist()
            found.append(
                Hypothesis(
                    tokens=self.prefixes[row, 1:].tolist(),
                    score=float(best.totals[position, rank]) / length**self.config.lenpen,
                    token_scores=[*scores, float(best.symbol_scores[position, rank])],
                )
            )

    def _go_on(self, best: _Extensions) -> None:
        """Takes the best extensions that do not end as the new prefixes; drops done sentences."""
        beam = self.config.beam
        kept = [
            position
            for position, index in enumerate(self.sentences)
            if len(self.finished[index]) < beam and self.num_written < self.max_lengths[index]
        ]
        num_sentences = len(self.sentences)
        self.sentences = [self.sentences[position] for position in kept]
        if not kept:
            return
        positions = torch.tensor(kept, device=best.totals.device)
        order = self._best_open(best)[positions]
        scores, symbols, prefixes = (
            values[positions].gather(1, order)
            for values in (best.symbol_scores, best.symbols, best.prefixes)
        )
        totals = best.totals[positions].gather(1, order)
        # With few symbols there may be too few open extensions; the rest must not go on.
        self.totals = totals.masked_fill(symbols.eq(self.context.eos_index), -math.inf)
        rows = (positions[:, None] * beam + prefixes).flatten()
        self.prefixes = torch.cat([self.prefixes[rows], symbols.view(-1, 1)], dim=1)
        self.symbol_scores = torch.cat([self.symbol_scores[rows], scores.view(-1, 1)], dim=1)
        if len(kept) < num_sentences:
            first = positions[:, None] * beam + torch.arange(beam, device=rows.device)
            self.memories = [_select(memory, first.flatten()) for memory in self.memories]
        if beam > 1 or len(kept) < num_sentences:
            self.states = [state and _select(state, rows) for state in self.states]

    def _best_open(self, best: _Extensions) -> Tensor:
        """Returns the ranks of the best extensions that do not end, [sentences, beam]."""
        num_extensions = best.symbols.size(1)
        ranks = torch.arange(num_extensions, device=best.symbols.device)
        ranks = ranks + best.symbols.eq(self.context.eos_index) * num_extensions
        order = ranks.topk(self.config.beam, dim=1, largest=False, sorted=True).values
        return order % num_extensions


def _select(tensors: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: tensor.index_select(0, rows) for name, tensor in tensors.items()}


def _forbid_repetition(log_probs: Tensor, written: Tensor, size: int) -> None:
    """Forbids symbols that would complete a sequence of `size` symbols for the second time."""
    if written.size(1) < size:
        return
    sequences = written.unfold(1, size, 1)
    last = written[:, written.size(1) - size + 1 :]
    rows, starts = (sequences[:, :, :-1] == last[:, None, :]).all(dim=2).nonzero(as_tuple=True)
    log_probs[rows, sequences[rows, starts, -1]] = -math.inf


@contextmanager
def _evaluating(models: list[EncoderDecoderModel]) -> Iterator[None]:
    """Puts models into evaluation mode, and every module back into its own afterwards."""
    modes = {module: module.training for model in models for module in model.modules()}
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training
