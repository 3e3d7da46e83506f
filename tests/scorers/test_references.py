import pytest

from seqtrain.errors import DataError
from seqtrain.scorers import bleu, chrf, error_rates  # noqa: F401 # they register their scorers
from seqtrain.scorers.base import SCORERS
from seqtrain.scorers.references import reference_documents


def test_examples_with_fewer_references_repeat_their_first() -> None:
    references = [["a", "b", "c"], ["d"], ["e", "f"]]
    assert reference_documents(references) == [["a", "d", "e"], ["b", "d", "f"], ["c", "d", "e"]]


@pytest.mark.parametrize("name", ["wer", "cer", "pronunciation", "bleu", "chrf"])
@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [], "1 hypotheses for 0 examples"),
        ([], [], "nothing to score"),
        (["a", "b"], [["a"], []], "Example 1 .* has no reference"),
    ],
)
def test_sides_that_do_not_fit_are_refused(
    name: str, hypotheses: list[str], references: list[list[str]], message: str
) -> None:
    scorer = SCORERS.get(name).cls(SCORERS.parse({"name": name}))
    with pytest.raises(DataError, match=message):
        scorer.score(hypotheses, references)
