"""Minimum Bayes risk: which of the drawn outputs is chosen."""

import numpy as np
import pytest
import torch
from generation.search_cases import CONTEXT, SOURCES, batch_of, build

from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import AutoregressiveModel
from seqtrain.plugins import import_built_ins
from seqtrain.scorers.base import build_scorers
from seqtrain.tasks.minimum_risk import MinimumRisk, with_minimum_risk

import_built_ins()
LETTERS = "_____abcdefg"


def _text(hypothesis: Hypothesis) -> str:
    return "".join(f"{LETTERS[token + 2]} x{token} " for token in hypothesis.tokens)


def _generate(
    model: AutoregressiveModel, config: GenerationConfig, rows: list[list[int]], first_id: int = 0
) -> list[list[Hypothesis]]:
    generator = with_minimum_risk(
        config, _text, lambda options: build_search([model], options, CONTEXT)
    )
    return generator.generate(batch_of(rows, "source_tokens", first_id))


@pytest.mark.parametrize("scorer", ["chrf", "bleu"])
def test_the_output_with_the_largest_expected_similarity_is_chosen(scorer: str) -> None:
    model = build("transformer")
    drawn = GenerationConfig(sampling=True, beam=12, nbest=12, max_len_b=6)
    config = GenerationConfig(mbr_samples=12, mbr_scorer=scorer, nbest=2, max_len_b=6)
    (measure,) = build_scorers([scorer])
    everything = _generate(model, drawn, SOURCES)
    for samples, found in zip(everything, _generate(model, config, SOURCES), strict=True):
        texts = [_text(one) for one in samples]
        expected = {
            text: np.mean([measure.sentence_scores([text], [[other]]) for other in texts])
            for text in texts
        }
        best = sorted(expected.values(), reverse=True)[: len(found)]
        assert [one.score for one in found] == pytest.approx(best)
        assert [expected[_text(one)] for one in found] == pytest.approx(best)
        assert all(one.tokens in [sample.tokens for sample in samples] for one in found)


def test_a_text_that_is_drawn_often_outweighs_a_more_probable_one() -> None:
    often = Hypothesis([3, 4], -2.0, [-1.0, -1.0])
    once = Hypothesis([6, 6], -0.1, [-0.1, -0.1])
    risk = MinimumRisk(build_search([build("transformer")], GenerationConfig(), CONTEXT), _text,
                       build_scorers(["chrf"])[0], nbest=1)  # fmt: skip
    assert risk.best([once, often, often, often])[0].tokens == [3, 4]


def test_outputs_do_not_depend_on_the_batch() -> None:
    model, config = build("transformer"), GenerationConfig(mbr_samples=6, max_len_b=5)
    together = _generate(model, config, SOURCES)
    for index, row in enumerate(SOURCES):
        alone = _generate(model, config, [row], index)[0]
        assert [one.tokens for one in alone] == [one.tokens for one in together[index]]


def test_without_samples_it_is_the_search_itself() -> None:
    model, config = build("transformer"), GenerationConfig(beam=2, max_len_b=5)
    plain = build_search([model], config, CONTEXT).generate(batch_of(SOURCES, "source_tokens"))
    assert _generate(model, config, SOURCES) == plain
    assert torch.is_grad_enabled()
