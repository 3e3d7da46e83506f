from pathlib import Path

import numpy as np
import pytest
import torch
from processes import run_in_processes
from strategy_runs import WITH_EVERYTHING, Sections, Trained, build, merged, train
from toy_run import write_toy_text

from seqtrain.distributed.collectives import Collectives

FOUR_BY_SGD: Sections = {
    "optimizer": {"name": "sgd", "lr": 0.3},
    "dataset": {"max_tokens": 12},
    "optimization": {"micro_batches_per_update": 4},
}
"""Four micro-batches in an update, of unequal numbers of targets.

Adam would make the rounding of gradients that are truly zero grow.
"""
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-6}
CASES = [("ddp", torch.float64), ("ddp", torch.float32), ("fsdp", torch.float64)]

Runs = dict[tuple[str, torch.dtype], Trained]


def train_each(collectives: Collectives, text: Path) -> Runs:
    """Trains 20 updates with dropout, clipping, an average of the weights and tied embeddings."""
    found: Runs = {}
    for strategy, dtype in CASES:
        if strategy == "fsdp" and collectives.world_size == 1:
            continue  # nothing is divided there
        torch.set_default_dtype(dtype)
        sections: Sections = {"distributed": {"strategy": strategy}}
        run = build(collectives, text, merged(WITH_EVERYTHING, FOUR_BY_SGD, sections))
        assert {parameter.dtype for parameter in run.trainer.model.parameters()} == {dtype}
        found[strategy, dtype] = train(run, 20)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Runs]]:
    """By number of ranks, what each of them has trained."""
    text = write_toy_text(tmp_path_factory.mktemp("rounding") / "text")
    return {
        world_size: run_in_processes(train_each, world_size, text, timeout_seconds=300.0)
        for world_size in (1, 2, 4)
    }


@pytest.mark.parametrize(("strategy", "dtype"), CASES)
def test_without_the_tree_other_numbers_of_ranks_differ_by_rounding_alone(
    runs: dict[int, list[Runs]], strategy: str, dtype: torch.dtype
) -> None:
    (alone,) = runs[1]
    expected = alone["ddp", dtype]
    assert min(expected.norms) > 0.3, "clipping must take part"
    assert expected.losses[-1] < 0.8 * expected.losses[0]
    values = np.float64 if dtype is torch.float64 else np.float32
    for world_size in (2, 4):
        for rank in runs[world_size]:
            found = rank[strategy, dtype]
            assert found.losses == pytest.approx(expected.losses, rel=TOLERANCES[dtype])
            for part in ("weights", "average"):
                for name, content in getattr(expected, part).items():
                    np.testing.assert_allclose(
                        np.frombuffer(getattr(found, part)[name], values),
                        np.frombuffer(content, values),
                        rtol=0,
                        atol=TOLERANCES[dtype],
                        err_msg=f"{part} {name} on {world_size}",
                    )
