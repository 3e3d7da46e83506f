import math
from typing import Any

import pytest
import torch
from distributed.processes import run_in_processes
from torch import Tensor

from seqtrain.distributed.collectives import Collectives
from seqtrain.metrics import Metrics
from seqtrain.tasks.class_metrics import Confusion, MacroF1, class_metrics

NUM_CLASSES = 7
IGNORED = -1


def examples(count: int = 60) -> tuple[Tensor, Tensor]:
    """Class 6 never occurs and is never predicted, class 5 is only predicted."""
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(0, 5, (count,), generator=generator)
    logits = torch.randn(count, NUM_CLASSES, generator=generator)
    logits[torch.arange(count), targets] += 1.0
    logits[:, 6] = -9.0
    targets[::7] = IGNORED
    return logits, targets


def real(logits: Tensor, targets: Tensor) -> tuple[list[int], list[int]]:
    kept = targets.ne(IGNORED)
    return targets[kept].tolist(), logits.argmax(dim=1)[kept].tolist()


def test_accuracy_f1_and_confusion_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, targets = examples()
    truth, guess = real(logits, targets)
    found = class_metrics(logits, targets, IGNORED)
    values = found.compute()
    assert values["accuracy"] == pytest.approx(100 * sklearn.accuracy_score(truth, guess))
    f1 = sklearn.f1_score(truth, guess, average="macro", zero_division=0.0)
    assert values["macro_f1"] == pytest.approx(100 * f1)
    expected = sklearn.confusion_matrix(truth, guess, labels=range(NUM_CLASSES))
    confusion = found["confusion"]
    assert isinstance(confusion, Confusion)
    assert confusion.rows() == expected.tolist()
    kept = targets.ne(IGNORED)
    top = sklearn.top_k_accuracy_score(
        targets[kept].numpy(), logits[kept].double().numpy(), k=5, labels=range(NUM_CLASSES)
    )
    assert values["top5_accuracy"] == pytest.approx(100 * top)


@pytest.mark.slow  # its import takes seconds
def test_accuracy_and_f1_are_those_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, targets = examples()
    values = class_metrics(logits, targets, IGNORED).compute()
    settings: dict[str, Any] = {"num_classes": NUM_CLASSES, "ignore_index": IGNORED}
    accuracy = functional.multiclass_accuracy(logits, targets, average="micro", **settings)
    assert values["accuracy"] == pytest.approx(100 * float(accuracy), rel=1e-6)
    f1 = functional.multiclass_f1_score(logits, targets, average=None, **settings)
    by_class, occurs = MacroF1(class_metrics(logits, targets, IGNORED)["macro_f1"].sums).by_class()
    torch.testing.assert_close(by_class[occurs].float(), f1[occurs])


def test_labels_of_positions_count_like_examples() -> None:
    logits, targets = examples()
    flat = class_metrics(logits, targets, IGNORED).compute()
    shaped = class_metrics(logits.view(4, 15, -1), targets.view(4, 15), IGNORED).compute()
    assert shaped == flat


def test_few_classes_have_no_top5() -> None:
    assert "top5_accuracy" not in class_metrics(torch.randn(2, 5), torch.tensor([0, 1]), IGNORED)


def test_nothing_counted_is_no_number() -> None:
    values = class_metrics(torch.randn(1, 7), torch.tensor([IGNORED]), IGNORED).compute()
    assert values.keys() == {"accuracy", "macro_f1", "top5_accuracy"}
    assert all(math.isnan(value) for value in values.values())


def share(collectives: Collectives) -> dict[str, float]:
    """Rank 0 has the first 41 examples in three batches, rank 1 the other 19 in one."""
    logits, targets = examples()
    cuts = [(0, 8), (8, 9), (9, 41)] if collectives.rank == 0 else [(41, 60)]
    metrics = Metrics()
    for begin, end in cuts:
        metrics.merge(class_metrics(logits[begin:end], targets[begin:end], IGNORED))
    packed = collectives.all_reduce_sum(metrics.pack(torch.device("cpu")))
    return metrics.unpack(packed).compute()


def test_two_ranks_with_uneven_shares_give_what_one_gives() -> None:
    expected = class_metrics(*examples(), IGNORED).compute()
    for found in run_in_processes(share, 2):
        assert found == expected
