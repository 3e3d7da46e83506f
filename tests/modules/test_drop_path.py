import pytest
import torch

from seqtrain.modules.drop_path import DropPath, drop_path_rates


def test_whole_examples_lose_what_the_block_adds_and_the_mean_stays() -> None:
    drop_path = DropPath(0.25)
    x, added = torch.full((4000, 3), 2.0), torch.ones(4000, 3)
    torch.manual_seed(0)
    found = drop_path(x, x + added)
    kept = found[:, 0] > 2.0
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 2.0 + 1 / 0.75))
    torch.testing.assert_close(found[~kept], x[~kept])
    assert float(found.mean()) == pytest.approx(3.0, abs=0.03)


def test_nothing_is_dropped_or_drawn_in_evaluation_or_without_a_probability() -> None:
    x, block = torch.randn(3, 2), torch.randn(3, 2)
    before = torch.get_rng_state()
    assert DropPath(0.5).eval()(x, block) is block
    assert DropPath(0.0)(x, block) is block
    assert torch.equal(torch.get_rng_state(), before)


def test_rates_rise_linearly_to_the_last_layer() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_a_probability_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"below 1, got 1\.0"):
        DropPath(1.0)
