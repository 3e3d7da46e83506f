import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.checkpoint.pieces import Own, Piece, divide, merge
from seqtrain.checkpoint.tree import join, split, trees_equal
from seqtrain.errors import CheckpointError

WHOLE = torch.arange(12.0).view(4, 3)


def piece(begin: int, end: int, shape: tuple[int, ...] = (4, 3)) -> Piece:
    return Piece(WHOLE[begin:end], shape, (begin, 0))


@given(cuts=st.lists(st.integers(0, 4), max_size=4), replicas=st.integers(1, 2))
def test_parts_that_ranks_have_divided_are_the_same_tree_again(
    cuts: list[int], replicas: int
) -> None:
    edges = [0, *sorted(cuts), 4]
    trees = []
    for begin, end in pairwise(edges):
        block = piece(begin, end)
        slots = {"weight": {"step": 3, "mean": block}}
        tree = {"a": block, "tied": block, "same": WHOLE[0], "members": [{"slots": slots}, {}]}
        trees += [tree] * replicas
    written = [divide({"part": tree}, rank) for rank, tree in enumerate(trees)]
    assert list(written[0]) == ["part", "part-rank-00000"]
    assert all(list(parts) == [f"part-rank-{r:05d}"] for r, parts in enumerate(written) if r)
    through_files = []
    for parts in written:
        for name, tree in parts.items():
            halves = split(tree, name)
            plain = json.loads(json.dumps(halves.plain))
            through_files.append(join(plain, halves.tensors, name))
    found = merge(through_files, "part")
    slots = {"weight": {"step": 3, "mean": WHOLE}}
    expected = {"a": WHOLE, "tied": WHOLE, "same": WHOLE[0], "members": [{"slots": slots}, {}]}
    assert trees_equal(found, expected)
    assert found["a"] is found["tied"] is found["members"][0]["slots"]["weight"]["mean"]


def test_branches_that_one_rank_alone_has_are_put_together() -> None:
    first = divide({"part": {"slots": {"a": Own({"n": 1})}, "names": ["a", "b"]}}, 0)
    second = divide({"part": {"slots": {"b": Own({"n": 2})}, "names": ["a", "b"]}}, 1)
    assert first["part"] == {"slots": {}, "names": ["a", "b"]}
    found = merge([first["part"], first["part-rank-00000"], second["part-rank-00001"]], "part")
    assert found == {"slots": {"a": {"n": 1}, "b": {"n": 2}}, "names": ["a", "b"]}


def test_a_tree_without_pieces_is_one_part() -> None:
    tree = {"a": WHOLE}
    assert divide({"part": tree}, 0) == {"part": tree}
    assert divide({"part": tree}, 1) == {}


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ([piece(0, 2), piece(3, 4)], r"part/a: the pieces are not as large as the tensor \[4, 3\]"),
        ([piece(0, 3), piece(2, 3)], "part/a: two pieces overlap"),
        ([piece(0, 2), piece(2, 4, (5, 3))], "a piece is not one of a tensor of"),
        ([piece(0, 2), Piece(WHOLE[2:].double(), (4, 3), (2, 0))], "a piece is not one of"),
        ([Piece(WHOLE, (4, 3), (1, 0))], "a piece is not one of"),
        ([Piece(WHOLE, (4, 3), (0,))], "a piece is not one of"),
        ([Piece(WHOLE, (10**9, 10**9), (0, 0))], "the pieces are not as large"),
        ([piece(0, 4), Piece(WHOLE + 1, (4, 3), (0, 0))], "different copies of a piece"),
        ([piece(0, 4), 3], "what the ranks have written does not fit together"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(leaves: list[Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        merge([{}, *({"a": leaf} for leaf in leaves)], "part")


@pytest.mark.parametrize(
    "plain",
    [
        {"$piece": [{"$tensor": "a"}, [4, 3]]},
        {"$piece": [{"$tensor": "a"}, [4, 3], [-1, 0]]},
        {"$piece": [{"$tensor": "a"}, [4, True], [0, 0]]},
        {"$piece": [7, [4, 3], [0, 0]]},
        {"$piece": 7},
    ],
)
def test_a_piece_that_is_none_is_refused(plain: Any) -> None:
    with pytest.raises(CheckpointError, match=r"\$piece has no meaning here"):
        join(plain, {"a": WHOLE}, "file")


def test_pieces_without_the_common_part_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 1, {"model-rank-00000": {"a": piece(0, 4)}}, {})
    with pytest.raises(CheckpointError, match="the part model is there only in pieces"):
        read_checkpoint(path)


def test_a_rank_writes_no_pieces_of_another(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not one for rank 0 to write"):
        write_checkpoint(tmp_path, 1, {"model-rank-00001": {"a": piece(0, 4)}}, {})
