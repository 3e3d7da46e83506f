"""Models of labelled sequences for the contract tests, with a class an example or a position."""

from collections.abc import Callable
from typing import Any

import torch

from seqtrain.batch import Batch
from seqtrain.models.base import MODELS, Model, ModelContext

FIELDS: dict[str, dict[str, Any]] = {
    "patch_transformer": {
        "dim": 8,
        "ffn_dim": 8,
        "num_heads": 2,
        "patch_length": 2,
        "drop_path": 0.5,
    },
    "conv_classifier": {"dim": 8, "num_layers": 2, "kernel_size": 3, "drop_path": 0.5},
    "lstm_classifier": {"dim": 8},
}
LENGTHS = torch.tensor([4, 2, 3])


def build(name: str, per_position: bool) -> Model:
    context = ModelContext(
        num_channels=2,
        num_classes=3,
        padding_index=-1,
        max_source_positions=4,
        labels_per_position=per_position,
    )
    section = MODELS.parse({"name": name} | FIELDS[name])
    return MODELS.get(name).cls.from_config(section, context)


def batches(per_position: bool) -> dict[str, Batch]:
    mask = torch.arange(4) >= LENGTHS[:, None]
    values = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)) * ~mask[:, :, None]
    targets = torch.tensor([0, 2, 1])
    if per_position:
        targets = torch.tensor([[0, 2, -1, 1], [1, 1, -1, -1], [2, 2, 0, -1]])

    def batch(rows: slice) -> Batch:
        return Batch(
            inputs={"values": values[rows], "padding_mask": mask[rows]},
            targets=targets[rows],
            ids=torch.arange(len(targets[rows])),
            num_targets=int(targets[rows].ne(-1).sum()),
        )

    empty = Batch(
        inputs={"values": values[:1, :1], "padding_mask": mask[:1, :1]},
        targets=torch.full((1, 1) if per_position else (1,), -1),
        ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
    )
    return {"two rows": batch(slice(2)), "one row": batch(slice(2, 3)), "empty": empty}


CLASSIFIERS: dict[str, tuple[Callable[[], Model], Callable[[], dict[str, Batch]]]] = {
    name + (" per position" if per_position else ""): (
        lambda name=name, per_position=per_position: build(name, per_position),
        lambda per_position=per_position: batches(per_position),
    )
    for name in FIELDS
    for per_position in (False, True)
}
