"""A tokenizer as a JSON file: its config, and its state with tensors as base64."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqtrain.data.tokenizers.base import TOKENIZERS, Tokenizer
from seqtrain.errors import DataError
from seqtrain.files import write_atomically

DTYPES = ("uint8", "int32", "int64", "float32", "float64")
TENSOR_KEY = "$tensor"


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the file that `load_tokenizer` reads, in one step."""
    write_atomically(path, tokenizer_text(tokenizer).encode("utf-8"))


def tokenizer_text(tokenizer: Tokenizer) -> str:
    """Returns the content of the file."""
    content = {"config": asdict(tokenizer.config), "state": _to_plain(tokenizer.state_dict())}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def load_tokenizer(path: Path) -> Tokenizer:
    """Returns the tokenizer of a file; its class must be registered.

    Raises:
        DataError: The file is missing or not of this form.
        UnknownNameError: No tokenizer has its name: a plug-in is missing.
    """
    try:
        content = json.loads(path.read_bytes())
        section, state = content["config"], _from_plain(content["state"])
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Run seqtrain-preprocess.") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path}: not a tokenizer ({type(error).__name__}: {error}). "
            "Restore the file or run seqtrain-preprocess again."
        ) from error
    config = TOKENIZERS.parse(section)
    return TOKENIZERS.get(config.name).cls.from_state(config, state)


def _to_plain(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        array = tree.detach().cpu().numpy()
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
        return {TENSOR_KEY: {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}}
    if isinstance(tree, Mapping):
        return {name: _to_plain(item) for name, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [_to_plain(item) for item in tree]
    return tree


def _from_plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        if set(tree) == {TENSOR_KEY}:
            return _tensor(tree[TENSOR_KEY])
        return {name: _from_plain(item) for name, item in tree.items()}
    if isinstance(tree, list):
        return [_from_plain(item) for item in tree]
    return tree


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"a tensor of type {entry['dtype']!r}")
    try:
        data = base64.b64decode(entry["data"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"a tensor that is not base64: {error}") from error
    array = np.frombuffer(data, dtype=np.dtype(entry["dtype"]).newbyteorder("<"))
    return torch.from_numpy(array.reshape(entry["shape"]).copy())
