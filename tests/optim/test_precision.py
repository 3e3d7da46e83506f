"""What is set for the products of a process."""

import os

import pytest

from seqtrain.optim.precision import keep_few_products


def test_the_caches_of_products_are_small_unless_the_user_sets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "to be deleted, and restored at the end")
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    keep_few_products()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    assert os.environ["LRU_CACHE_CAPACITY"] == "128"
