"""A model as transformers saves it: its config and its weights by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seqtrain.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """One model for transformers."""

    architecture: str
    """Class of transformers: "MarianMTModel"."""
    config: dict[str, Any]
    """What of config.json is of this architecture."""
    weights: dict[str, Tensor]
    """By name; weights that transformers ties are there once."""


def copy_linear(
    weights: dict[str, Tensor], state: Mapping[str, Tensor], name: str, theirs: str
) -> None:
    """Copies the weight and the bias of a linear layer or a normalisation.

    Args:
        weights: Takes them.
        state: State dict of our model.
        name: Of the layer in our model.
        theirs: Of the layer in theirs.
    """
    weights[f"{theirs}.weight"] = state[f"{name}.weight"]
    if f"{name}.bias" in state:
        weights[f"{theirs}.bias"] = state[f"{name}.bias"]


def no_layout(key: str, value: object, reason: str) -> ConfigError:
    """Returns the error for a model that transformers has no class for."""
    return ConfigError(
        f"format=huggingface: transformers has no model for model.{key}={value}: {reason}. Use "
        "format=safetensors, torch_export or onnx."
    )
