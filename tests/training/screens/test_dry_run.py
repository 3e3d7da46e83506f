from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, MachineError
from seqtrain.models.base import MODELS, Model, ModelContext
from seqtrain.pipeline import train
from seqtrain.plugins import import_built_ins, load_plugins
from seqtrain.training.build import build_task, build_trainer
from seqtrain.training.run_config import RunConfig
from seqtrain.training.screens import predicted_memory
from seqtrain.training.screens.predicted_memory import predict_memory, size


def config(tmp_path: Path, **sections: Any) -> RunConfig:
    load_plugins([])
    text = write_toy_text(tmp_path / "text", num_train=8, num_valid=2)
    return RunConfig.parse(toy_config(text, tmp_path / "run", **sections))


def num_bytes(tensors: list[torch.Tensor]) -> int:
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [
        ({"name": "adam"}, 2), ({"name": "lion"}, 1), ({"name": "sgd", "momentum": 0.9}, 1),
        ({"name": "adagrad"}, 1),
    ],
)  # fmt: skip
def test_memory_is_predicted_as_it_will_be(
    tmp_path: Path, optimizer: dict[str, Any], moments: int
) -> None:
    run = config(tmp_path, ema={"kind": "ema"})
    run = RunConfig.parse(run.to_container() | {"optimizer": optimizer})
    task = build_task(run)
    found = predict_memory(run, task.context)
    assert found is not None
    trainer = build_trainer(run, task.context, torch.device("cpu"), Collectives())
    parameters = [*trainer.model.parameters(), *trainer.criterion.parameters()]
    assert found.num_parameters == sum(p.numel() for p in parameters)
    assert found.weights == num_bytes([*parameters, *trainer.model.buffers()])
    assert found.gradients == num_bytes(parameters)
    assert found.optimizer == moments * found.gradients
    saved = num_bytes([
        tensor
        for module in (trainer.model, trainer.criterion)
        for tensor in module.state_dict(keep_vars=True).values()
    ])  # fmt: skip
    assert found.copies == saved + (2 * saved + found.optimizer)


def test_a_dry_run_tells_sizes_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(tmp_path, dry_run=True))
    out = capsys.readouterr().out
    labels = [line[:10].strip() for line in out.splitlines()]
    assert [label for label in labels if label] == [
        "memory", "device", "data", "batches", "model", "optimizer", "training", "one batch",
        "dry run",
    ]  # fmt: skip
    for text in ("predicted (weights", "8 pairs", "1,6", "kept for its gradients", "updates like"):
        assert text in out
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused_before_it_is_built(tmp_path: Path) -> None:
    model = {"dim": 65_536, "ffn_dim": 65_536, "encoder_layers": 2}
    with pytest.raises(MachineError, match="The run needs .* GiB for its weights"):
        train(config(tmp_path, dry_run=True, model=model))


def test_memory_that_is_not_known_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predicted_memory, "MEMORY_TABLE", tmp_path / "none")
    train(config(tmp_path, dry_run=True))
    assert "nothing was written" in capsys.readouterr().out


def test_sizes_have_the_unit_that_suits_them() -> None:
    assert [size(n) for n in (0, 2048, 3 << 20, 5 << 30)] == [
        "0 bytes", "2.0 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip


SEQUENCES: dict[str, Any] = {
    "shared_vocab": True,
    "source_vocab_size": 9, "target_vocab_size": 9, "max_source_positions": 8, "num_channels": 3,
    "max_target_positions": 8, "num_classes": 4, "position_rank": 1, "horizon": 8, "look_back": 336,
}  # fmt: skip
VALUES = SEQUENCES | {"source_vocab_size": 0, "shared_vocab": False}
CONTEXTS = [SEQUENCES, VALUES, VALUES | {"labels_per_position": True, "position_rank": 2}]


def built_without_memory(name: str) -> Model | None:
    entry = MODELS.get(name)
    for context in CONTEXTS:
        with suppress(ConfigError), torch.device("meta"):
            return entry.cls.from_config(entry.config(name=name), ModelContext(**context))
    return None


def test_every_model_can_be_built_without_memory() -> None:
    import_built_ins()
    for name in MODELS.names():
        entry = MODELS.get(name)
        if entry.cls.__module__.startswith("seqtrain."):
            model = built_without_memory(name)
            assert model is not None, f"no context here suits {name}"
            assert all(tensor.is_meta for tensor in model.parameters()), name
