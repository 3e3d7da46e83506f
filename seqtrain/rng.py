"""Randomness keyed by what it is for: seed, capture and restore every generator.

The state of a stream never matters for a result: the Trainer seeds all generators before each
micro-batch from (seed, update, micro-batch index), and datasets key each example. Streams are
saved all the same, for plugins that draw elsewhere.
"""

import hashlib
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def key(*parts: int | str) -> int:
    """Returns 32 well-mixed bits for a tuple of integers and names.

    torch's CPU generator uses only the low 32 bits of a seed, so neighbouring seeds must differ
    there. The hash is a keyed BLAKE2, the same on every machine and Python.
    """
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def seed(*parts: int | str) -> None:
    """Seeds Python's, numpy's and torch's generators on all devices from a key."""
    value = key(*parts)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 # plugins may use numpy's global generator
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(value)


def capture() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the state of every generator as tensors and as plain values."""
    version, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 # the global generator
    tensors = {"torch_cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"torch_cuda_{index}"] = state
    tensors["numpy"] = torch.from_numpy(legacy["state"]["key"].astype(np.int64))
    plain = {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": {
            "position": legacy["state"]["pos"],
            "has_gauss": legacy["has_gauss"],
            "gauss": legacy["gauss"],
        },
    }
    return tensors, plain


def restore(tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Restores what `capture` returned. Devices that are not here are passed over."""
    python, legacy = plain["python"], plain["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss"]))
    np.random.set_state(  # noqa: NPY002 # the global generator
        (
            "MT19937",
            tensors["numpy"].numpy().astype(np.uint32),
            legacy["position"],
            legacy["has_gauss"],
            legacy["gauss"],
        )
    )
    torch.set_rng_state(tensors["torch_cpu"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"torch_cuda_{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"torch_cuda_{index}"], index)
