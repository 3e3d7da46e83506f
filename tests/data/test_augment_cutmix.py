import pytest
import torch

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.data.labelled.cutmix import CutMix, OneOf
from seqtrain.data.labelled.mixup import Mixup
from seqtrain.errors import ConfigError

LENGTHS = [5, 2, 8, 1]
CUTMIX = CutMix(
    alpha=1.0, input_name="values", mask_name="padding_mask", num_classes=3, padding_index=-1
)
MIXUP = Mixup(
    alpha=0.5, input_name="values", mask_name="padding_mask", num_classes=3, padding_index=-1
)


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(8) >= torch.tensor(LENGTHS)[:, None]
    values = torch.randn(4, 8, 2, generator=generator) * ~mask[:, :, None]
    return Batch(
        inputs={"values": values, "padding_mask": mask},
        targets=torch.tensor([0, 2, 1, 2]),
        ids=torch.arange(4),
        num_targets=4,
    )


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_does_what_a_plain_loop_does(seed: int) -> None:
    batch = make_batch()
    rng.seed(seed)
    found = CUTMIX(batch)
    rng.seed(seed)
    one = torch.tensor(1.0, dtype=torch.float64)
    lam = float(torch.distributions.Beta(one, one).sample())
    place = float(torch.rand((), dtype=torch.float64))
    order = torch.randperm(4).tolist()
    for i, j in enumerate(order):
        common = min(LENGTHS[i], LENGTHS[j])
        size = round((1 - lam) * common)
        begin = min(int(place * (common - size + 1)), common - size)
        expected = batch.inputs["values"][i].clone()
        expected[begin : begin + size] = batch.inputs["values"][j, begin : begin + size]
        torch.testing.assert_close(found.inputs["values"][i], expected)
        soft = torch.zeros(3)
        soft[batch.targets[i]] += 1 - size / LENGTHS[i]
        soft[batch.targets[j]] += size / LENGTHS[i]
        torch.testing.assert_close(found.extras["soft_targets"][i], soft)
    assert torch.equal(found.inputs["padding_mask"], batch.inputs["padding_mask"])
    assert torch.equal(found.targets, batch.targets)


def test_mixup_of_sequences_is_as_long_as_the_longer_one() -> None:
    batch = make_batch()
    rng.seed(3)
    found = MIXUP(batch)
    rng.seed(3)
    alpha = torch.tensor(0.5, dtype=torch.float64)
    torch.distributions.Beta(alpha, alpha).sample()
    longest = [max(LENGTHS[i], LENGTHS[j]) for i, j in enumerate(torch.randperm(4).tolist())]
    assert (~found.inputs["padding_mask"]).sum(dim=1).tolist() == longest


def test_one_of_several_is_drawn_for_each_batch() -> None:
    kinds = set()
    for seed in range(20):
        rng.seed(seed)
        values = OneOf([MIXUP, CUTMIX])(make_batch()).inputs["values"]
        kinds.add(bool(torch.isin(values, make_batch().inputs["values"]).all()))
    assert kinds == {True, False}


def test_an_empty_batch_stays_without_targets() -> None:
    batch = Batch(
        inputs={
            "values": torch.zeros(1, 1, 2),
            "padding_mask": torch.zeros(1, 1, dtype=torch.bool),
        },
        targets=torch.tensor([-1]),
        ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
    )
    for change in (CUTMIX, MIXUP):
        assert not change(batch).extras["soft_targets"].any()


def test_alpha_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="cutmix needs a positive alpha, got 0"):
        CutMix(alpha=0.0, input_name="x", mask_name="m", num_classes=2, padding_index=-1)
