"""Checks that hypotheses and references fit together."""

from collections.abc import Sequence

from seqtrain.errors import DataError


def check_references(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raises DataError unless there are examples, each with one hypothesis and some reference."""
    if len(hypotheses) != len(references):
        raise DataError(
            f"There are {len(hypotheses)} hypotheses for {len(references)} examples with "
            "references; both files need one line for each example, in the same order."
        )
    if not hypotheses:
        raise DataError("There is nothing to score: no hypothesis, no reference.")
    for index, texts in enumerate(references):
        if not texts:
            raise DataError(f"Example {index} (counted from 0) has no reference to score against.")


def reference_documents(references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Returns the references as sacrebleu takes them: the first of each example, the second, ...

    An example with fewer references than another gets its first one again, which changes neither
    BLEU nor chrF.
    """
    most = max(len(texts) for texts in references)
    return [[texts[k] if k < len(texts) else texts[0] for texts in references] for k in range(most)]
