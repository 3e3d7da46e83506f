"""Weights of a fairseq model, under the names and in the layout of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import CheckpointError

_IGNORED = re.compile(
    r"(encoder|decoder)\.(version|embed_positions\._float_tensor)"
    r"|encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)"
)
"""Names that carry no weight of their own: a marker, a fixed table, and the copies that encoder
layers of fairseq 0.12 keep for a fused kernel."""


@dataclass(frozen=True)
class ConvertedModel:
    """A model of ours with the weights of a foreign one."""

    section: dict[str, Any]
    """The section `model` of a run."""
    weights: dict[str, Tensor]
    """The state dict, in float32; tied weights are one tensor."""


class ForeignTensors:
    """The tensors of a fairseq model that are not used yet, in float32.

    Args:
        tensors: fairseq's state dict.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.left = {
            name: tensor.float() for name, tensor in tensors.items() if not _IGNORED.fullmatch(name)
        }

    def take(self, name: str) -> Tensor:
        """Returns a tensor, which is used with that.

        Raises:
            CheckpointError: There is none.
        """
        if name not in self.left:
            raise CheckpointError(
                f"fairseq's tensor {name!r} is missing: the checkpoint uses an option that is not "
                "imported, or is not of a Transformer or LSTM for translation."
            )
        return self.left.pop(name)

    def rename(self, pattern: str, replacement: str) -> None:
        """Renames the tensors whose whole names match."""
        self.left = {
            re.sub(f"^{pattern}$", replacement, name): value for name, value in self.left.items()
        }

    def num_layers(self, prefix: str) -> int:
        """Returns one more than the highest number after a prefix such as "encoder.layers."."""
        found = (re.match(rf"{re.escape(prefix)}(\d+)[._]", f"{name}.") for name in self.left)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    def take_embeddings(self) -> tuple[str, dict[str, Tensor]]:
        """Returns what `model.share_embeddings` is, and the three weights over symbols.

        Weights that are equal in the checkpoint were one, and are one again.
        """
        source = self.take("encoder.embed_tokens.weight")
        target = self.take("decoder.embed_tokens.weight")
        output = self.left.pop("decoder.output_projection.weight", target)
        sharing = "none"
        if torch.equal(output, target):
            output, sharing = target, "decoder"
            if torch.equal(source, target):
                source, sharing = target, "all"
        return sharing, {
            "encoder.embed_tokens.weight": source,
            "decoder.embed_tokens.weight": target,
            "decoder.output_projection.weight": output,
        }

    def require_none_left(self, model: str) -> None:
        """Raises CheckpointError if a tensor has found no place in the model of that name."""
        if self.left:
            raise CheckpointError(
                f"fairseq's tensor {min(self.left)!r} has no place in model={model}: the "
                "checkpoint uses an option that is not imported."
            )
