"""Models of numeric series for the tests of the contract, with batches that they read."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from seqtrain.batch import Batch
from seqtrain.models.base import MODELS, Model, ModelContext

CONTEXT = ModelContext(look_back=8, horizon=3, num_channels=2, num_time_features=1)
FIELDS: dict[str, dict[str, Any]] = {
    "repeat_last": {},
    "nlinear": {"individual": True},
    "dlinear": {"kernel_size": 3},
    "patch_tst": {"patch_size": 4, "stride": 2, "dim": 4, "num_heads": 2, "ffn_dim": 4},
    "itransformer": {"dim": 4, "num_heads": 2, "ffn_dim": 4},
    "series_transformer": {"dim": 4, "num_heads": 2, "ffn_dim": 4},
    "series_lstm": {"dim": 4},
}


def build(name: str, context: ModelContext = CONTEXT) -> Model:
    """Returns a small model with the rest of its options as they are by default."""
    config = MODELS.parse({"name": name} | FIELDS[name])
    model: Model = MODELS.get(name).cls.from_config(config, context)
    return model


def batches() -> dict[str, Batch]:
    """Returns two windows with a missing target, one window, and an empty batch."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 8, 2, generator=generator)
    times = torch.randn(3, 11, 1, generator=generator)
    targets = torch.randn(3, 3, 2, generator=generator)
    targets[0, 1, 1] = torch.nan

    def batch(rows: slice, is_empty: bool = False) -> Batch:
        some = torch.full_like(targets[rows], torch.nan) if is_empty else targets[rows]
        return Batch(
            inputs={"values": values[rows], "time_features": times[rows]},
            targets=some,
            ids=torch.arange(0 if is_empty else len(some)),
            num_targets=int(some.isfinite().sum()),
        )

    return {
        "two rows": batch(slice(2)),
        "one row": batch(slice(2, 3)),
        "empty": batch(slice(1), is_empty=True),
    }


SERIES: dict[str, tuple[Callable[[], Model], Callable[[], dict[str, Batch]]]] = {
    name: (partial(build, name), batches) for name in FIELDS
}
