import numpy as np
import pytest
from processes import run_in_processes
from strategy_runs import Sections, Trained, train_each
from toy_run import write_toy_text

NUM_UPDATES = 20
FSDP: Sections = {"distributed": {"strategy": "fsdp"}}
BF16: Sections = {"precision": {"dtype": "bf16"}}
LAYER_DROP: Sections = {"model": {"layer_drop": 0.4, "encoder_layers": 2}}
EXACT: dict[str, tuple[str, Sections]] = {
    "ddp": ("fp32", {}),
    "ddp, optimizer's state divided": ("fp32", {"distributed": {"shard_optimizer": True}}),
    "ddp, static graph": ("fp32", {"distributed": {"static_graph": True}}),
    "fsdp": ("fp32", FSDP),
    "fsdp, gathered once": (
        "fp32",
        {"distributed": {"strategy": "fsdp", "reshard_after_forward": False}},
    ),
    "fsdp, layers computed again": ("fp32", FSDP | {"model": {"checkpoint_activations": True}}),
    "fsdp, layers dropped": ("layer drop", FSDP | LAYER_DROP),
    "ddp, bf16": ("bf16", BF16),
    "fsdp, bf16": ("bf16", FSDP | BF16),
    "fsdp, gathered in bf16": (
        "bf16",
        BF16 | {"distributed": {"strategy": "fsdp", "gather_dtype": "bf16"}},
    ),
}
"""By name: which run of one process is the same, and the sections of the run of two."""
ALONE: dict[str, Sections] = {"fp32": {}, "bf16": BF16, "layer drop": LAYER_DROP}
COMPRESSED: Sections = {"distributed": {"compress_gradients": "bf16"}}

Runs = tuple[dict[str, Trained], list[dict[str, Trained]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The runs of one process, and those of each of two."""
    text = write_toy_text(tmp_path_factory.mktemp("runs") / "text")
    (alone,) = run_in_processes(
        train_each, 1, text, NUM_UPDATES, list(ALONE.values()), timeout_seconds=300.0
    )
    variants = [*(sections for _, sections in EXACT.values()), COMPRESSED]
    names = [*EXACT, "compressed"]
    both = run_in_processes(train_each, 2, text, NUM_UPDATES, variants, timeout_seconds=300.0)
    return dict(zip(ALONE, alone, strict=True)), [
        dict(zip(names, trained, strict=True)) for trained in both
    ]


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_train_to_the_same_bits_as_one_that_accumulates(
    runs: Runs, name: str
) -> None:
    alone, (first, second) = runs
    expected = alone[EXACT[name][0]]
    assert max(expected.norms) > 0.3, "clipping must take part"
    assert expected.weights != expected.average
    for rank in (first, second):
        assert rank[name].norms == expected.norms
        assert rank[name].losses == pytest.approx(expected.losses, rel=1e-12)
        assert rank[name].weights == expected.weights
        assert rank[name].average == expected.average


def test_fsdp_takes_the_fast_paths_of_one_process(runs: Runs) -> None:
    alone, (first, _) = runs
    fast = {"_FusedLinearBackward", "_LinearLossBackward", "_RearrangeBackward"}
    assert fast <= alone["fp32"].functions
    assert fast <= first["fsdp"].functions
    assert fast <= first["fsdp, gathered in bf16"].functions


def test_compressed_gradients_keep_the_processes_equal_and_the_training_close(runs: Runs) -> None:
    alone, (first, second) = runs
    assert first["compressed"].weights == second["compressed"].weights
    assert first["compressed"].weights != alone["fp32"].weights
    np.testing.assert_allclose(first["compressed"].losses, alone["fp32"].losses, rtol=1e-3)
