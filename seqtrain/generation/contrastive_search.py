"""Contrastive search: probable symbols that do not repeat what is written (Su et al. 2022)."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, NumericError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.generation.next_symbols import NextSymbols, at_positions, given_scores
from seqtrain.generation.prefixes import NEVER, Extensions, Prefixes, extended, first_prefixes
from seqtrain.generation.row_decoding import decoding_for
from seqtrain.generation.rules import apply_rules
from seqtrain.generation.search import SearchModels, evaluating
from seqtrain.generation.starts import Start, starts_of
from seqtrain.models.base import ModelContext


class ContrastiveSearch(Generator):
    """Writes one output of each example, and looks one symbol ahead.

    Each of the sampling_topk most probable symbols is read by the model. The one is written whose
    (1 - alpha) * probability - alpha * similarity is largest: the similarity is the largest cosine
    of the features after it and those after an earlier symbol, the prompt's and the first eos
    counted.

    Args:
        models: One model, and no language model beside it.
        config: Options of the search.
        context: Special symbols of the target.

    Raises:
        ConfigError: There are several models, whose features cannot be compared.
    """

    def __init__(
        self, models: SearchModels, config: GenerationConfig, context: ModelContext
    ) -> None:
        if len(models.all) != 1:
            raise ConfigError(
                "generation.contrastive_alpha compares features of one model: leave out the "
                "others, and generation.lm_weight."
            )
        self.model = models.all[0]
        self.config = config
        self.context = context
        self.next_symbols = NextSymbols(config.temperature, 0.0)

    @override
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        if not batch.num_examples:
            return []
        found: dict[int, Hypothesis] = {}
        with torch.no_grad(), evaluating([self.model], self.config.retain_dropout):
            for start in starts_of(batch, [self.model], self.config, self.context, 0):
                found |= _Run(self, start).to_the_end()
        return [[found[number]] for number in range(batch.num_examples)]


class _Run:
    """Examples that begin together, from their beginning to their end.

    Args:
        search: Its model and options.
        start: The examples.
    """

    def __init__(self, search: ContrastiveSearch, start: Start) -> None:
        self.search = search
        self.config, self.context = search.config, search.context
        self.width = min(self.config.sampling_topk, self.context.target_vocab_size)
        self.decoding = decoding_for(search.model, self.width)
        output = self.decoding.add(start.memory(search.model), start.tokens)
        known = given_scores(start, [output], search.next_symbols)
        # One prefix of each sentence: what is written.
        self.prefixes = first_prefixes(
            start.tokens, known, start.given, start.limits, (start.numbers, start.ids)
        )
        self.past = F.normalize(output.features.float(), dim=2)  # [sentences, time, dim]
        self.scores = search.next_symbols([at_positions(output, slice(-1, None))])
        self.found: dict[int, Hypothesis] = {}

    def to_the_end(self) -> dict[int, Hypothesis]:
        """Returns the output of each example, by running number."""
        while len(self.prefixes):
            self._advance()
        return self.found

    def _advance(self) -> None:
        """Writes a symbol to every example; those that end with it leave."""
        apply_rules(self.scores, self.prefixes, self.config, self.context)
        self._end_at_limits()
        if not len(self.prefixes):
            return
        found, symbols = self.scores[:, 0].topk(self.width, dim=1)
        origins = self.prefixes.origins.expand(-1, self.width)
        output = self.decoding.step(symbols, origins)
        features = F.normalize(output.features.float(), dim=2)  # [sentences, candidates, dim]
        similarity = torch.bmm(features, self.past.transpose(1, 2)).amax(dim=2)
        alpha = self.config.contrastive_alpha
        values = (1.0 - alpha) * found.exp() - alpha * similarity
        chosen = values.masked_fill(~found.isfinite(), NEVER).argmax(dim=1, keepdim=True)
        candidates = Extensions(self.prefixes.totals + found, origins * 0, symbols, found)
        written = extended(self.prefixes, candidates, chosen, self.prefixes.num_found)
        _check(written)
        # The decoding holds a prefix for each candidate: the chosen one is extended next.
        self.prefixes = replace(written, origins=chosen)
        self.past = torch.cat([self.past, _rows_at(features, chosen)], dim=1)
        self.scores = _rows_at(self.search.next_symbols([output]), chosen)
        is_over = self.prefixes.last_symbols[:, 0] == self.context.eos_index
        self._record(self.prefixes.select(is_over.nonzero()[:, 0]))
        self._keep(~is_over)

    def _end_at_limits(self) -> None:
        """Writes eos to the examples that may have no other symbol; they leave."""
        is_last = self.prefixes.num_written >= self.prefixes.limits
        rows = is_last.nonzero()[:, 0]
        ended, found = self.prefixes.select(rows), self.scores[rows, :, self.context.eos_index]
        first = torch.zeros_like(ended.origins)
        ends = Extensions(ended.totals + found, first, first + self.context.eos_index, found)
        if rows.numel():
            self._record(extended(ended, ends, first, ended.num_found))
            self._keep(~is_last)

    def _record(self, ended: Prefixes) -> None:
        """Keeps the outputs of examples whose last symbol is eos."""
        _check(ended)
        for number, length, given, tokens, scores, total in zip(
            ended.owners.tolist(),
            ended.lengths.tolist(),
            ended.given.tolist(),
            ended.tokens[:, 0].tolist(),
            ended.symbol_scores[:, 0].tolist(),
            ended.totals[:, 0].tolist(),
            strict=True,
        ):
            score = total / (length - given) ** self.config.lenpen  # eos counts
            self.found[number] = Hypothesis(tokens[given : length - 1], score, scores[given:length])

    def _keep(self, is_kept: Tensor) -> None:
        if bool(is_kept.all()):
            return
        kept = is_kept.nonzero()[:, 0]
        self.prefixes = self.prefixes.select(kept)
        self.past, self.scores = self.past[kept], self.scores[kept]
        self.decoding.select(kept)


def _rows_at(rows: Tensor, chosen: Tensor) -> Tensor:
    """Returns one of several rows of each sentence, [sentences, 1, values].

    Args:
        rows: [sentences, number, values].
        chosen: int64 [sentences, 1].
    """
    return rows.gather(1, chosen[:, :, None].expand(-1, -1, rows.size(2)))


def _check(written: Prefixes) -> None:
    if not bool(written.totals.isfinite().all()):
        raise NumericError(
            "An example has no output of finite probability. Check that the model gives finite "
            "scores, and that generation.min_len and generation.no_repeat_ngram_size leave a "
            "choice."
        )
