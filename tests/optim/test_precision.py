"""What is set for the products of a process."""

import os

import pytest
import torch

from seqtrain.optim.precision import PrecisionConfig, choose_cpu_products


def test_the_caches_of_products_are_small_unless_the_user_sets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_float32_matmul_precision()
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "to be deleted, and restored at the end")
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    choose_cpu_products(PrecisionConfig())
    torch.set_float32_matmul_precision(before)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    assert os.environ["LRU_CACHE_CAPACITY"] == "128"
