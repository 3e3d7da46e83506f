import math

import pytest
import torch
from distributed.processes import run_in_processes
from torch import Tensor

from seqtrain.distributed.collectives import Collectives
from seqtrain.metrics import Metrics
from seqtrain.tasks.segmentation_metrics import segmentation_metrics

CLASSES = ["a", "b", "c c", "never"]


def labelled(count: int = 300) -> tuple[Tensor, Tensor]:
    """Returns guesses and targets of three of the four classes, some of them ignored."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(3, (count,), generator=generator)
    guesses = targets.where(torch.rand(count, generator=generator) < 0.7, torch.tensor(1))
    targets[torch.rand(count, generator=generator) < 0.2] = -1
    return guesses, targets


def test_scores_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    guesses, targets = labelled()
    found = segmentation_metrics(guesses, targets, -1, CLASSES).compute()
    true, guess = targets[targets != -1].numpy(), guesses[targets != -1].numpy()
    iou = sklearn.jaccard_score(true, guess, average=None)
    assert found["miou"] == pytest.approx(100 * iou.mean())
    assert [found[n] for n in ("iou_a", "iou_b", "iou_c_c")] == pytest.approx((100 * iou).tolist())
    assert found["pixel_accuracy"] == pytest.approx(100 * sklearn.accuracy_score(true, guess))
    assert found["macro_f1"] == pytest.approx(100 * sklearn.f1_score(true, guess, average="macro"))
    assert found["pixacc_miou"] == pytest.approx((found["pixel_accuracy"] + found["miou"]) / 2)


def test_mean_iou_without_absent_classes_is_that_of_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.functional.classification")
    guesses, targets = labelled()
    expected = classification.multiclass_jaccard_index(guesses, targets, 4, ignore_index=-1)
    found = segmentation_metrics(guesses, targets, -1, CLASSES).compute()
    assert found["miou"] == pytest.approx(100 * float(expected))


def test_an_absent_class_counts_as_nothing_or_as_zero() -> None:
    guesses, targets = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    skip = segmentation_metrics(guesses, targets, -1, ["a", "b", "c"]).compute()
    zero = segmentation_metrics(guesses, targets, -1, ["a", "b", "c"], "zero").compute()
    assert skip["miou"] == pytest.approx(50.0)
    assert zero["miou"] == pytest.approx(100 / 3)
    assert zero["pixacc_miou"] == pytest.approx((200 / 3 + 100 / 3) / 2)
    assert math.isnan(skip["iou_c"])


def test_a_class_that_is_only_predicted_is_not_absent() -> None:
    found = segmentation_metrics(torch.tensor([0, 1]), torch.tensor([0, 0]), -1, ["a", "b"])
    assert found["miou"].compute() == pytest.approx(25.0)


def test_without_targets_nothing_is_known() -> None:
    nothing = torch.full((1, 2), -1)
    found = segmentation_metrics(nothing.clamp(min=0), nothing, -1, CLASSES).compute()
    assert all(math.isnan(value) for value in found.values())


def share_of(collectives: Collectives) -> dict[str, float]:
    guesses, targets = labelled()
    parts = [slice(0, 220), slice(220, 300)]
    mine = parts[collectives.rank] if collectives.world_size > 1 else slice(0, 300)
    metrics = Metrics()
    metrics.merge(segmentation_metrics(guesses[mine], targets[mine], -1, CLASSES))
    packed = collectives.all_reduce_sum(metrics.pack(torch.device("cpu")))
    return metrics.unpack(packed).compute()


def test_two_ranks_with_uneven_shares_find_what_one_finds() -> None:
    first, second = run_in_processes(share_of, 2)
    alone = share_of(Collectives())
    for found in (first, second):
        assert found == pytest.approx(alone, nan_ok=True, rel=1e-12)
