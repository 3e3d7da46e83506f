"""One process under each strategy: with gloo on a CPU, with nccl on a GPU (`pytest -m gpu`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from processes import run_in_processes
from strategy_runs import WITH_EVERYTHING, Sections, Trained, build, merged, train
from toy_run import final_state, toy_config, write_toy_text

from seqtrain import pipeline
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.training.build import choose_device
from seqtrain.training.resume import first_difference

NUM_UPDATES = 20
BF16: Sections = {"precision": {"dtype": "bf16"}}
FSDP: Sections = {"distributed": {"strategy": "fsdp"}}
LAYER_DROP: Sections = {"model": {"layer_drop": 0.4, "encoder_layers": 2}}
PLAIN: dict[str, Sections] = {"usual": {}, "layers dropped": LAYER_DROP}
VARIANTS: dict[str, tuple[str, Sections]] = {
    "ddp": ("usual", {}),
    "ddp, layers dropped": ("layers dropped", LAYER_DROP),
    "ddp, optimizer's state divided": ("usual", {"distributed": {"shard_optimizer": True}}),
    "fsdp": ("usual", FSDP),
    "fsdp, gathered in bf16": (
        "usual",
        merged(FSDP, {"distributed": {"gather_dtype": "bf16"}}),
    ),
}
"""By name: which run without a strategy it is like, and its sections."""
ON_GPU_ALONE: dict[str, tuple[str, Sections]] = {
    "fsdp, parameters with the CPU": (
        "usual",
        merged(FSDP, {"distributed": {"cpu_offload": True}}),
    ),
}
WRAPPERS = {"ddp": "DistributedDataParallel", "fsdp": "FSDPLossModule"}
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
        ],
    ),
]


@dataclass(frozen=True)
class Found:
    """What came of a run under a strategy."""

    wrapper: str
    backend: str
    straight: Trained
    resumed: Trained
    """Saved and loaded in the middle."""


@contextmanager
def connection(device: str) -> Iterator[Collectives]:
    """Connects this one process with itself."""
    config = DistributedConfig(in_one_process=True)
    with DistributedContext().connected(config, choose_device(device)) as collectives:
        yield collectives


def make_deterministic(device: str) -> None:
    """Without this, sums on a GPU have no fixed order."""
    if device == "cuda":
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True, warn_only=True)


def under_strategy(text: Path, folder: Path, device: str, sections: Sections) -> Found:
    sections = merged(WITH_EVERYTHING, BF16, sections)
    with connection(device) as collectives:
        first = build(collectives, text, sections, device)
        halfway = build(collectives, text, sections, device)
        train(halfway, NUM_UPDATES // 2)
        halfway.trainer.save_checkpoint(folder, {"data": halfway.iterator.state_dict()}, {})
        halfway.trainer.finish_save()
        second = build(collectives, text, sections, device)
        loaded = second.trainer.load_checkpoint(folder, print, lambda _: None)
        assert loaded is not None
        second.iterator.load_state_dict(loaded.parts["data"])
        wrapper = type(first.trainer.loss_module).__name__
        return Found(
            wrapper, dist.get_backend(), train(first, NUM_UPDATES), train(second, NUM_UPDATES)
        )


def under_each(
    _: Collectives, text: Path, folder: Path, device: str
) -> tuple[dict[str, Trained], dict[str, Found]]:
    make_deterministic(device)
    plain = {}
    for name, sections in PLAIN.items():
        run = build(Collectives(), text, merged(WITH_EVERYTHING, BF16, sections), device)
        plain[name] = train(run, NUM_UPDATES)
    variants = VARIANTS | (ON_GPU_ALONE if device == "cuda" else {})
    return plain, {
        name: under_strategy(text, folder / name, device, sections)
        for name, (_, sections) in variants.items()
    }


@dataclass(frozen=True)
class OnDevice:
    """The runs on a device."""

    device: str
    plain: dict[str, Trained]
    found: dict[str, Found]


@pytest.fixture(scope="module", params=DEVICES)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OnDevice:
    folder = tmp_path_factory.mktemp("runs")
    text = write_toy_text(folder / "text")
    given = (text, folder / "checkpoints", request.param)
    [(plain, found)] = run_in_processes(under_each, 1, *given, timeout_seconds=300.0)
    return OnDevice(request.param, plain, found)


def test_one_process_really_takes_the_wrapper_and_the_backend(runs: OnDevice) -> None:
    for name, found in runs.found.items():
        assert found.wrapper == WRAPPERS[name.partition(",")[0]]
        assert found.backend == BACKENDS[runs.device]


def test_one_process_under_a_strategy_trains_like_one_without(runs: OnDevice) -> None:
    for name, found in runs.found.items():
        plain = runs.plain[(VARIANTS | ON_GPU_ALONE)[name][0]]
        assert max(plain.norms) > 0.3, "clipping must take part"
        if runs.device == "cpu":
            assert found.straight.norms == plain.norms, name
            assert found.straight.weights == plain.weights, name
            assert found.straight.average == plain.average, name
        assert found.straight.losses == pytest.approx(plain.losses, rel=1e-2), name


def test_a_run_under_a_strategy_that_was_saved_and_loaded_ends_with_the_same_bytes(
    runs: OnDevice,
) -> None:
    for name, found in runs.found.items():
        assert found.resumed.norms == found.straight.norms[NUM_UPDATES // 2 :], name
        assert found.resumed.weights == found.straight.weights, name
        assert found.resumed.average == found.straight.average, name


def train_whole_runs(_: Collectives, text: Path, folder: Path, device: str) -> str:
    """Returns where a run that changes its strategy in the middle ends otherwise."""
    make_deterministic(device)

    def run(name: str, max_update: int, **distributed: object) -> None:
        sections = {
            "model": WITH_EVERYTHING["model"],
            "optimization": {"max_update": max_update, "max_epoch": 0},
            "validation": {"generate": True},
            "distributed": distributed,
        }
        pipeline.train(toy_config(text, folder / name, **sections) | {"device": device})

    run("plain", 6)
    run("changing", 3, in_one_process=True, strategy="fsdp")
    pieces = folder / "changing/checkpoints/step-0000000003/model-rank-00000.safetensors"
    assert pieces.exists()
    run("changing", 6, in_one_process=True)
    if device == "cuda":  # where the order of sums may differ between strategies
        return ""
    ends = [final_state(folder / name) for name in ("plain", "changing")]
    return first_difference(*ends, "state")


@pytest.mark.parametrize("device", DEVICES)
def test_a_whole_run_of_one_process_goes_from_strategy_to_strategy(
    tmp_path: Path, device: str
) -> None:
    text = write_toy_text(tmp_path / "text")
    given = (text, tmp_path, device)
    assert run_in_processes(train_whole_runs, 1, *given, timeout_seconds=300.0) == [""]
