from dataclasses import replace

import pytest
import torch

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.data.labelled.mixup import Mixup
from seqtrain.errors import ConfigError

MIXUP = Mixup(alpha=0.4, input_name="image", num_classes=3, padding_index=-1)


def make_batch(rows: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        inputs={"image": torch.rand(rows, 2, 4, generator=generator), "other": torch.ones(rows)},
        targets=torch.randint(3, (rows,), generator=generator),
        ids=torch.arange(rows),
        num_targets=rows,
    )


def mixed(batch: Batch, *key: int) -> Batch:
    rng.seed(*key)
    return MIXUP(batch)


def test_inputs_and_classes_are_blended_with_one_weight_and_one_permutation() -> None:
    batch = make_batch()
    found = mixed(batch, 3)
    rng.seed(3)
    alpha = torch.tensor(0.4, dtype=torch.float64)
    lam, order = float(torch.distributions.Beta(alpha, alpha).sample()), torch.randperm(6)
    for i, j in enumerate(order.tolist()):
        image = lam * batch.inputs["image"][i] + (1 - lam) * batch.inputs["image"][j]
        torch.testing.assert_close(found.inputs["image"][i], image)
        soft = torch.zeros(3)
        soft[batch.targets[i]] += lam
        soft[batch.targets[j]] += 1 - lam
        torch.testing.assert_close(found.extras["soft_targets"][i], soft)


def test_targets_counts_and_other_inputs_stay() -> None:
    batch = make_batch()
    found = mixed(batch, 3)
    assert torch.equal(found.targets, batch.targets)
    assert found.inputs["other"] is batch.inputs["other"]
    assert found.num_targets == 6


def test_the_blend_is_a_function_of_the_seed_alone() -> None:
    batch = make_batch()
    first, again, other = (mixed(batch, key).inputs["image"] for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_empty_batch_passes_with_distributions_of_zero() -> None:
    empty = replace(
        make_batch(1), targets=torch.tensor([-1]), ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
    )  # fmt: skip
    assert not mixed(empty, 1).extras["soft_targets"].any()


def test_an_impossible_alpha_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive alpha"):
        replace(MIXUP, alpha=0.0)
