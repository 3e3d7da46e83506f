"""Models of a class at each position for the tests of the contract, with batches they read."""

from collections.abc import Callable
from functools import partial

import torch

from seqtrain.batch import Batch
from seqtrain.models.base import MODELS, Model, ModelContext

HEADS = {"auxiliary_head": True, "presence_head": True}
FIELDS = {"dim": 4, "max_dim": 6, "num_levels": 2, "dropout": 0.0}


def build(rank: int) -> Model:
    """Returns a small model of sequences of symbols or of images, with all heads."""
    section = {"name": "conv_segmenter"} | FIELDS | HEADS
    inputs = {"num_channels": 2} if rank == 2 else {"source_vocab_size": 9}
    context = ModelContext(
        num_classes=3, padding_index=-1, labels_per_position=True, position_rank=rank, **inputs
    )
    model: Model = MODELS.get("conv_segmenter").cls.from_config(MODELS.parse(section), context)
    return model


def batches(rank: int) -> dict[str, Batch]:
    """Returns two examples of which one is padded, one example, and an empty batch."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 5)[2 - rank :]
    mask = torch.zeros(3, *shape, dtype=torch.bool)
    mask[1, ..., 3:] = True
    targets = torch.randint(3, mask.shape, generator=generator).masked_fill(mask, -1)
    inputs = {
        "values": torch.randn(*mask.shape, 2, generator=generator),
        "tokens": torch.randint(4, 9, mask.shape, generator=generator).masked_fill(mask, 1),
    }
    name = "values" if rank == 2 else "tokens"

    def batch(rows: slice, is_empty: bool = False) -> Batch:
        some = torch.full_like(targets[rows], -1) if is_empty else targets[rows]
        return Batch(
            inputs={name: inputs[name][rows], "padding_mask": mask[rows]},
            targets=some,
            ids=torch.arange(0 if is_empty else len(some)),
            num_targets=int(some.ne(-1).sum()),
        )

    return {
        "two rows": batch(slice(2)),
        "one row": batch(slice(2, 3)),
        "empty": batch(slice(1), is_empty=True),
    }


SEGMENTERS: dict[str, tuple[Callable[[], Model], Callable[[], dict[str, Batch]]]] = {
    "conv_segmenter": (partial(build, 2), partial(batches, 2)),
    "conv_segmenter of symbols": (partial(build, 1), partial(batches, 1)),
}
