import random

import pytest
import torch
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.tasks.label_spans import SpanScheme, boundary_f1, listed_spans, span_f1

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def tagged(rows: list[list[str]], classes: list[str]) -> tuple[Tensor, Tensor]:
    """Returns padded labels, and where they are real."""
    time = max(map(len, rows))
    labels = torch.full((len(rows), time), -1)
    for labels_of_row, row in zip(labels, rows, strict=True):
        labels_of_row[: len(row)] = torch.tensor([classes.index(tag) for tag in row])
    return labels, labels.ne(-1)


def random_rows(generator: random.Random, tags: list[str]) -> list[list[str]]:
    return [generator.choices(tags, k=generator.randint(1, 12)) for _ in range(50)]


def test_span_scores_of_random_tags_are_those_of_seqeval() -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    generator = random.Random(1)
    true_rows = random_rows(generator, TAGS)
    found_rows = [
        [tag if generator.random() < 0.7 else generator.choice(TAGS) for tag in row]
        for row in true_rows
    ]
    scheme = SpanScheme.of_classes("bio", TAGS)
    labels, is_real = tagged(true_rows, TAGS)
    guesses, _ = tagged(found_rows, TAGS)
    f1 = span_f1(scheme.marks(labels, is_real), scheme.marks(guesses, is_real)).details()
    assert f1["_f1"] == pytest.approx(100 * metrics.f1_score(true_rows, found_rows))
    assert f1["_precision"] == pytest.approx(100 * metrics.precision_score(true_rows, found_rows))
    assert f1["_recall"] == pytest.approx(100 * metrics.recall_score(true_rows, found_rows))


def words(row: list[str]) -> list[tuple[int, int]]:
    begins = [place for place, tag in enumerate(row) if tag == "B" or place == 0]
    return list(zip(begins, [*begins[1:], len(row)], strict=True))


def test_word_and_boundary_scores_are_those_of_a_plain_loop() -> None:
    generator = random.Random(2)
    true_rows = random_rows(generator, ["B", "I", "I"])
    found_rows = [
        [tag if generator.random() < 0.8 else generator.choice("BI") for tag in row]
        for row in true_rows
    ]
    scheme = SpanScheme.of_classes("bio", ["B", "I"])
    labels, is_real = tagged(true_rows, ["B", "I"])
    true, found = scheme.marks(labels, is_real), scheme.marks(
        tagged(found_rows, ["B", "I"])[0], is_real
    )  # fmt: skip
    pairs = list(zip(true_rows, found_rows, strict=True))
    right = sum(len(set(words(a)) & set(words(b))) for a, b in pairs)
    total = sum(len(words(a)) + len(words(b)) for a, b in pairs)
    assert span_f1(true, found).compute() == pytest.approx(200 * right / total)
    both = sum(a == b == "B" for x, y in pairs for a, b in zip(x[1:], y[1:], strict=True))
    count = sum(x[1:].count("B") + y[1:].count("B") for x, y in pairs)
    assert boundary_f1(true, found, is_real).compute() == pytest.approx(200 * both / count)


def test_runs_are_spans_of_one_class_each() -> None:
    scheme = SpanScheme.of_classes("runs", ["a", "b"])
    labels, is_real = tagged([list("aabba")], ["a", "b"])
    marks = scheme.marks(labels, is_real)
    assert listed_spans(marks, 0, scheme.names) == [
        {"begin": 0, "end": 2, "kind": "a"},
        {"begin": 2, "end": 4, "kind": "b"},
        {"begin": 4, "end": 5, "kind": "a"},
    ]


def test_what_is_ignored_ends_a_span_and_counts_nowhere() -> None:
    scheme = SpanScheme.of_classes("bio", ["B", "I"])
    is_real = torch.tensor([[True, True, False, True, True]])
    marks = scheme.marks(torch.tensor([[0, 1, -1, 1, 1]]), is_real)
    assert [span["begin"] for span in listed_spans(marks, 0, scheme.names)] == [0, 3]
    assert boundary_f1(marks, marks, is_real).sums.tolist() == [0, 0, 0]


def test_classes_that_are_no_bio_tags_are_named() -> None:
    with pytest.raises(ConfigError, match=r"task\.spans=bio.*'name'"):
        SpanScheme.of_classes("bio", ["B", "I", "name"])
