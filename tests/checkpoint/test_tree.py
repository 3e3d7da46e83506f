import enum
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqtrain.checkpoint import strict_json
from seqtrain.checkpoint.tree import join, split
from seqtrain.errors import CheckpointError

dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
shapes = st.lists(st.integers(0, 3), max_size=3)
tensors = st.builds(lambda shape, dtype: torch.ones(shape).to(dtype), shapes, dtypes)
keys = st.text(max_size=4) | st.sampled_from(["$tensor", "$tuple", "$$x", "$", "a/b", "#2", "a"])
trees = st.recursive(
    tensors | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equality that looks at types, order of keys, and bits of tensors."""
    if type(left) is not type(right):
        return False
    if isinstance(left, Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and left.equal(right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right) and repr(left) == repr(right)


def through_json(tree: Any) -> Any:
    halves = split(tree, "part")
    plain = strict_json.parse(strict_json.dump(halves.plain, "x"), "x")
    return join(plain, halves.tensors, "x")


@given(trees)
@settings(max_examples=300)
def test_every_tree_comes_back_as_it_was(tree: Any) -> None:
    assert same(through_json(tree), tree)


def test_flat_dict_of_tensors_keeps_its_names() -> None:
    state = torch.nn.Linear(2, 3).state_dict()
    assert list(split(state, "model").tensors) == ["weight", "bias"]


def test_keys_that_give_one_path_do_not_collide() -> None:
    tree = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "a/b#2": torch.full((1,), 2.0)}
    assert len(split(tree, "part").tensors) == 3
    assert same(through_json(tree), tree)


def test_key_that_the_file_format_reserves_can_be_used() -> None:
    tree = {"__metadata__": torch.zeros(1)}
    assert "__metadata__" not in split(tree, "part").tensors
    assert same(through_json(tree), tree)


def test_tied_tensors_are_kept_once_and_tied_again() -> None:
    weight = torch.nn.Parameter(torch.randn(2, 2))
    halves = split({"a": weight, "b": [weight.detach()], "c": weight.detach().clone()}, "part")
    assert list(halves.tensors) == ["a", "c"]
    assert halves.aliases == {"b/0": "a"}
    joined = join(halves.plain, halves.tensors, "x")
    assert joined["a"] is joined["b"][0]
    assert joined["a"] is not joined["c"]


def test_views_of_one_storage_that_differ_are_not_tied() -> None:
    base = torch.arange(4.0)
    views = {"a": base[:2], "b": base[2:], "c": base.view(2, 2), "d": base.view(2, 2).t()}
    assert split(views, "part").aliases == {}
    assert same(through_json(views), views)


def test_subclasses_of_plain_types_become_plain() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Number(enum.IntEnum):
        ONE = 1

    assert same(through_json([Colour.RED, Number.ONE]), ["red", 1])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [object()]}, "Part x/a/0: a object is neither"),
        ({"a": {3: 1}}, "Part x/a: keys must be str, got 3"),
        ({"a": {1, 2}}, "Part x/a: a set is neither"),
        ("\ud800", "not valid Unicode"),
        (torch.empty(2, device="meta"), "only dense tensors"),
        (torch.eye(2).to_sparse(), "only dense tensors"),
    ],
)
def test_leaf_that_cannot_be_saved_is_refused_with_its_place(tree: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        split(tree, "x")


@pytest.mark.parametrize("wrap", [lambda t: [t], lambda t: (t,), lambda t: {"k": t}])
def test_what_is_too_deep_to_be_read_is_refused_when_it_is_written(wrap: Any) -> None:
    tree: Any = torch.zeros(1)
    for _ in range(30):
        tree = wrap(tree)
    for depth in range(30, 100):
        tree = wrap(tree)
        if not can_be_split(tree):
            assert depth in (31, 63)
            return
        through_json(tree)
    pytest.fail("a depth of 100 was accepted")


def can_be_split(tree: Any) -> bool:
    try:
        split(tree, "x")
    except CheckpointError as error:
        return "levels deep" not in str(error)
    return True


@pytest.mark.parametrize(
    "plain",
    [
        {"$tensor": "other"},
        {"$tensor": ["a"]},
        {"$float": "1"},
        {"$float": []},
        {"$tuple": "a"},
        {"$unknown": 1},
        {"$tensor": "a", "b": 1},
        {"b": 1},
    ],
)
def test_references_that_do_not_fit_are_refused(plain: Any) -> None:
    with pytest.raises(CheckpointError, match="^file: "):
        join(plain, {"a": torch.zeros(1)}, "file")
