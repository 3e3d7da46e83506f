"""The search: sentences that are extended together, leave when they are done and make room."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, NumericError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.generation.next_symbols import NextSymbols, at_positions, given_scores
from seqtrain.generation.prefixes import NEVER, Extensions, Prefixes, extended, first_prefixes
from seqtrain.generation.row_decoding import decoding_for
from seqtrain.generation.rules import apply_rules
from seqtrain.generation.starts import Start, starts_of
from seqtrain.generation.strategy import Strategy
from seqtrain.models.base import AutoregressiveModel, ModelContext, ModelOutput
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.packed_weights import packed_weights

Found = tuple[int, list[Hypothesis]]
REFILL_BELOW = 8
"""A batch begins when at most its size divided by this is still active. Prefixes of very different
lengths side by side cost more than a tail of few rows gains."""


SYMBOLS_BEFORE_PACKING = 400
"""Written before weights are laid out anew: a short search would not gain what that costs."""


@dataclass(frozen=True)
class SearchModels:
    """What gives the probabilities.

    Args:
        models: One model, or several whose probabilities are averaged.
        language_model: Its log probabilities are added, times generation.lm_weight.
    """

    models: Sequence[AutoregressiveModel]
    language_model: AutoregressiveModel | None = None

    @property
    def all(self) -> list[AutoregressiveModel]:
        """The models, and the language model last."""
        return [*self.models, *([self.language_model] if self.language_model else [])]


class SequenceGenerator(Generator):
    """Extends prefixes symbol by symbol, as a strategy chooses.

    A sentence is done when it has `beam` finished hypotheses or reaches its longest length, which
    comes from its own source. Its outputs do not depend on what else is in the batch. Padding and
    bos are never written.

    Args:
        models: What gives the probabilities.
        config: Options of the search.
        context: Special symbols of the target.
        strategy: Chooses extensions.
    """

    def __init__(
        self,
        models: SearchModels,
        config: GenerationConfig,
        context: ModelContext,
        strategy: Strategy,
    ) -> None:
        if not models.models:
            raise ConfigError("Generation needs at least one model.")
        self.models = models
        self.config = config
        self.context = context
        self.strategy = strategy
        self.next_symbols = NextSymbols(
            config.temperature, config.lm_weight if models.language_model else 0.0
        )

    @override
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        found = dict(self._numbered([batch]))
        return [found[number] for number in range(batch.num_examples)]

    @override
    def stream(self, batches: Iterable[Batch]) -> Iterator[Found]:
        """Yields (id, hypotheses) of each example as it is done, in any order.

        Where the models allow it, examples of the next batch begin while the last ones of a batch
        are being finished.
        """
        ids: list[int] = []

        def remembered() -> Iterator[Batch]:
            for batch in batches:
                ids.extend(batch.ids.tolist())
                yield batch

        for number, hypotheses in self._numbered(remembered()):
            yield ids[number], hypotheses

    def _numbered(self, batches: Iterable[Batch]) -> Iterator[Found]:
        groups = _Groups(iter(batches), self)
        modules = _modules(self.models.all)
        num_written, is_packed = 0, False
        with ExitStack() as stack:
            while True:
                num_written += groups.search.num_active * self.config.beam
                if num_written > SYMBOLS_BEFORE_PACKING and not is_packed:
                    is_packed = True
                    stack.enter_context(packed_weights(self.models.all))
                with torch.no_grad(), _in_evaluation(modules, self.config.retain_dropout):
                    found = groups.advance()
                if found is None:
                    return
                yield from found


class _Groups:
    """What is searched for now, and the examples that wait.

    Args:
        batches: Where examples come from.
        generator: Its options.
    """

    def __init__(self, batches: Iterator[Batch], generator: SequenceGenerator) -> None:
        self.batches = batches
        self.generator = generator
        self.waiting: list[Start] = []
        self.num_examples = 0
        self.search = Search(generator)

    def advance(self) -> list[Found] | None:
        """Writes a symbol everywhere; returns what is done, or None if nothing is left."""
        done: list[Found] = []
        while (start := self._next_start()) is not None:
            done += self.search.add(start)
        if not self.search.num_active:
            return done or None
        return done + self.search.step()

    def _next_start(self) -> Start | None:
        """Returns what can begin now: when few are active, beside as many as it would add."""
        num_active = self.search.num_active
        if num_active and not self.search.takes_more:
            return None
        while not self.waiting:
            batch = next(self.batches, None)
            if batch is None:
                return None
            if batch.num_examples:
                models, config = self.generator.models.all, self.generator.config
                context = self.generator.context
                self.waiting = starts_of(batch, models, config, context, self.num_examples)
                self.num_examples += batch.num_examples
        is_full = num_active * REFILL_BELOW > len(self.waiting[0])
        return None if is_full else self.waiting.pop(0)


class Search:
    """The sentences that are not done, and the models' states of their prefixes.

    Args:
        generator: Its models, options and strategy.
    """

    def __init__(self, generator: SequenceGenerator) -> None:
        self.generator = generator
        self.config = generator.config
        self.strategy = generator.strategy.for_search()
        self.prefixes: Prefixes | None = None
        self.found: dict[int, list[Hypothesis]] = {}
        self.models = generator.models.all
        self.decodings = [decoding_for(model, self.config.beam) for model in self.models]
        self.takes_more = all(decoding.takes_more for decoding in self.decodings)

    @property
    def num_active(self) -> int:
        """Sentences that are not done."""
        return 0 if self.prefixes is None else len(self.prefixes)

    def add(self, start: Start) -> list[Found]:
        """Begins with more sentences and writes their first symbol; returns those done by it."""
        outputs = [
            decoding.add(start.memory(model), start.tokens)
            for decoding, model in zip(self.decodings, self.models, strict=True)
        ]
        self.strategy.add(start)
        known = given_scores(start, outputs, self.generator.next_symbols)
        prefixes = first_prefixes(
            start.tokens, known, start.given, start.limits, (start.numbers, start.ids)
        )
        last = [at_positions(output, slice(-1, None)) for output in outputs]
        self.found |= {number: [] for number in start.numbers.tolist()}
        return self._advance(prefixes, last, self.prefixes)

    def step(self) -> list[Found]:
        """Writes a symbol to every prefix; returns the sentences that are done by it."""
        prefixes = self.prefixes
        if prefixes is None:
            return []
        symbols = prefixes.last_symbols
        outputs = [decoding.step(symbols, prefixes.origins) for decoding in self.decodings]
        return self._advance(prefixes, outputs, None)

    def _advance(
        self, prefixes: Prefixes, outputs: list[ModelOutput], others: Prefixes | None
    ) -> list[Found]:
        """Extends prefixes, and puts them behind others that are not extended now."""
        generator = self.generator
        scores = generator.next_symbols(outputs)
        apply_rules(scores, prefixes, self.config, generator.context)
        extensions = self.strategy.extend(scores, prefixes).at_least(self.config.beam)
        num_found = self._finish(prefixes, extensions)
        chosen, totals = self._open(extensions)
        is_done = (num_found >= self.config.beam) | (prefixes.num_written >= prefixes.limits)
        is_done |= ~totals.isfinite().any(dim=1)
        new = replace(extended(prefixes, extensions, chosen, num_found), totals=totals)
        first = 0 if others is None else len(others)
        self.prefixes = new if others is None else others.followed_by(new)
        if not bool(is_done.any()):
            return []
        done = new.owners[is_done].tolist()
        self.strategy.remove(done)
        self._keep([*range(first), *((~is_done).nonzero()[:, 0] + first).tolist()])
        return [(number, self._result(number)) for number in done]

    def _finish(self, prefixes: Prefixes, extensions: Extensions) -> Tensor:
        """Takes the hypotheses that end here; returns how many each sentence has now."""
        beam = self.config.beam
        ends = extensions.symbols[:, :beam].eq(self.generator.context.eos_index)
        ends &= extensions.totals[:, :beam].isfinite()
        ends &= prefixes.num_found[:, None] + ends.cumsum(dim=1) <= beam
        rows, ranks = ends.nonzero(as_tuple=True)
        if not rows.numel():
            return prefixes.num_found
        origins = extensions.origins[rows, ranks]
        for number, length, given, tokens, scores, last, total in zip(
            prefixes.owners[rows].tolist(),
            prefixes.lengths[rows].tolist(),
            prefixes.given[rows].tolist(),
            prefixes.tokens[rows, origins].tolist(),
            prefixes.symbol_scores[rows, origins].tolist(),
            extensions.symbol_scores[rows, ranks].tolist(),
            extensions.totals[rows, ranks].tolist(),
            strict=True,
        ):
            score = total / (length - given + 1) ** self.config.lenpen  # eos counts
            written = [*scores[given:length], last]
            self.found[number].append(Hypothesis(tokens[given:length], score, written))
        return prefixes.num_found + ends.sum(dim=1)

    def _open(self, extensions: Extensions) -> tuple[Tensor, Tensor]:
        """Returns ranks and totals of the first extensions that go on, [sentences, beam]."""
        is_end = extensions.symbols.eq(self.generator.context.eos_index)
        number = is_end.size(1)
        ranks = torch.arange(number, device=is_end.device) + is_end * number
        chosen = ranks.topk(self.config.beam, dim=1, largest=False, sorted=True).values % number
        totals = extensions.totals.gather(1, chosen)
        # With few symbols there may be too few that go on.
        return chosen, totals.masked_fill(is_end.gather(1, chosen), NEVER)

    def _keep(self, kept: list[int]) -> None:
        """Drops the other sentences; the last ones take their places, so that few are moved."""
        if self.prefixes is None:
            return
        stay = {position for position in kept if position < len(kept)}
        movers = iter([position for position in kept if position >= len(kept)])
        order = [place if place in stay else next(movers) for place in range(len(kept))]
        positions = torch.tensor(order, dtype=torch.int64, device=self.prefixes.lengths.device)
        self.prefixes = self.prefixes.select(positions)
        for decoding in self.decodings:
            decoding.select(positions)
        if not kept:
            self.prefixes = None

    def _result(self, number: int) -> list[Hypothesis]:
        found = self.found.pop(number)
        if not found:
            raise NumericError(
                f"Sentence {number + 1} has no output of finite probability. Check that the "
                "model gives finite scores, and that generation.min_len, "
                "generation.no_repeat_ngram_size and demanded phrases leave a choice."
            )
        found.sort(key=lambda hypothesis: -hypothesis.score)
        return found[: self.config.nbest]


@contextmanager
def evaluating(models: Sequence[AutoregressiveModel], retain_dropout: bool) -> Iterator[None]:
    """Puts models into evaluation mode, and every module back into its own afterwards.

    Args:
        models: The models.
        retain_dropout: Leave dropout on.
    """
    with _in_evaluation(_modules(models), retain_dropout):
        yield


def _modules(models: Sequence[AutoregressiveModel]) -> list[nn.Module]:
    """Returns each module once, though a model may be there twice."""
    return list(dict.fromkeys(module for model in models for module in model.modules()))


@contextmanager
def _in_evaluation(modules: Sequence[nn.Module], retain_dropout: bool) -> Iterator[None]:
    """Does the same for modules that are listed already, at every symbol: only what differs."""
    changed = [
        module
        for module in modules
        if module.training != (retain_dropout and isinstance(module, Dropout))
    ]
    for module in changed:
        module.training = not module.training
    try:
        yield
    finally:
        for module in changed:
            module.training = not module.training
