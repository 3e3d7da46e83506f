"""Minimum Bayes risk: the output that is most similar to what else the model would write."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.scorers.base import Scorer, build_scorers


def with_minimum_risk(
    config: GenerationConfig,
    decode: Callable[[Hypothesis], str],
    build: Callable[[GenerationConfig], Generator],
) -> Generator:
    """Returns the search that `build` makes, or with generation.mbr_samples one that uses it.

    Args:
        config: Options of the search.
        decode: Gives the text of an output.
        build: Makes a search from options.
    """
    if not config.mbr_samples:
        return build(config)
    count = config.mbr_samples
    drawn = replace(config, sampling=True, beam=count, nbest=count, mbr_samples=0)
    (scorer,) = build_scorers([config.mbr_scorer])
    return MinimumRisk(build(drawn), decode, scorer, config.nbest)


class MinimumRisk(Generator):
    """Draws outputs and returns those with the largest expected similarity to a drawn one.

    Kumar and Byrne (2004); with samples as in Eikema and Aziz (2020). An output's score is the
    expected similarity, 0 to 100; its token scores are the model's. Outputs of one text count as
    often as they were drawn and are returned once, so there may be fewer than generation.nbest.

    Args:
        generator: Draws outputs.
        decode: Gives the text of an output.
        scorer: Tells similarities.
        nbest: Outputs to return of each example.
    """

    def __init__(
        self,
        generator: Generator,
        decode: Callable[[Hypothesis], str],
        scorer: Scorer,
        nbest: int,
    ) -> None:
        self.generator = generator
        self.decode = decode
        self.scorer = scorer
        self.nbest = nbest

    @override
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        return [self.best(drawn) for drawn in self.generator.generate(batch)]

    @override
    def stream(self, batches: Iterable[Batch]) -> Iterator[tuple[int, list[Hypothesis]]]:
        for index, drawn in self.generator.stream(batches):
            yield index, self.best(drawn)

    def best(self, drawn: list[Hypothesis]) -> list[Hypothesis]:
        """Returns the nbest of some outputs of one example, with their expected similarity."""
        by_text: dict[str, Hypothesis] = {}
        texts = [self.decode(hypothesis) for hypothesis in drawn]
        for text, hypothesis in zip(texts, drawn, strict=True):  # the most probable one of a text
            by_text.setdefault(text, hypothesis)
        counts = Counter(texts)
        rated = [
            replace(hypothesis, score=self._similarity(text, counts))
            for text, hypothesis in by_text.items()
        ]
        return sorted(rated, key=lambda hypothesis: -hypothesis.score)[: self.nbest]

    def _similarity(self, text: str, counts: Counter[str]) -> float:
        scores = self.scorer.sentence_scores([text] * len(counts), [[other] for other in counts])
        pairs = zip(scores, counts.values(), strict=True)
        return sum(score * count for score, count in pairs) / counts.total()
