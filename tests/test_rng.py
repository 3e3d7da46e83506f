import random

import numpy as np
import torch

from seqtrain import rng


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_the_same_key_gives_the_same_numbers_in_every_generator() -> None:
    rng.seed(1, "update", 5, 0)
    first = draw()
    rng.seed(1, "update", 5, 0)
    assert draw() == first


def test_neighbouring_keys_do_not_share_streams() -> None:
    # fairseq seeds with seed + update, so that (1, 2) and (2, 1) are one stream.
    keys = {
        rng.key(seed, "update", update, index)
        for seed in range(10)
        for update in range(10)
        for index in range(10)
    }
    assert len(keys) == 1000
    assert all(0 <= key < 2**32 for key in keys)


def test_restoring_continues_every_stream_where_it_was_captured() -> None:
    rng.seed(3)
    draw()
    tensors, plain = rng.capture()
    expected = draw()
    draw()
    rng.restore(tensors, plain)
    assert draw() == expected
