import math
from typing import Any

import pytest
import torch
from processes import ProcessFailedError, run_in_processes

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError

VALUES: list[Any] = [
    None,
    [],
    "",
    {"b": [1, 2.5, True, None], "a": {"deep": ["x"]}},
    "Žluťoučký kůň 🐎 \ud800 \x00",
    "x" * 70_001,
    -(2**63),
    [0.1, 1e-320, -0.0],
]


def _talk(collectives: Collectives) -> dict[str, Any]:
    rank, last = collectives.rank, collectives.world_size - 1
    mine = [VALUES[rank:], "tail" * rank]
    ints = torch.arange(3) + rank
    transposed = torch.full((2, 3), float(rank + 1), dtype=torch.float64).t()
    found = {
        "gathered": collectives.gather_json(mine),
        "from_last": [
            collectives.broadcast_json(value if rank == last else "ignored", source=last)
            for value in VALUES
        ],
        "from_first": collectives.broadcast_json([rank, "first"]),
        "ints": collectives.all_reduce_sum(ints).tolist(),
        "transposed": collectives.all_reduce_sum(transposed).tolist(),
        "scalar": collectives.all_reduce_sum(torch.tensor(1.5)).item(),
        "empty": collectives.all_reduce_sum(torch.zeros(0)).tolist(),
        "any_of_none": collectives.any(False),
        "any_of_last": collectives.any(rank == last),
    }
    collectives.require_equal({"nan": math.nan, "list": [1, (2, 3)]}, "the same thing")
    collectives.barrier()
    return found


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_rank_hears_the_same(world_size: int) -> None:
    answers = run_in_processes(_talk, world_size)
    assert all(repr(answer) == repr(answers[0]) for answer in answers)
    total = sum(range(1, world_size + 1))
    assert answers[0] == {
        "gathered": [[VALUES[r:], "tail" * r] for r in range(world_size)],
        "from_last": VALUES,
        "from_first": [0, "first"],
        "ints": [(i + 1) * world_size + total - 2 * world_size for i in range(3)],
        "transposed": [[float(total)] * 2] * 3,
        "scalar": 1.5 * world_size,
        "empty": [],
        "any_of_none": False,
        "any_of_last": True,
    }


def test_alone_everything_is_the_identity_and_values_go_through_json() -> None:
    alone = Collectives()
    tensor = torch.ones(2)
    assert alone.is_first
    assert alone.all_reduce_sum(tensor) is tensor
    assert alone.gather_json({1: (2, 3)}) == [{"1": [2, 3]}]
    assert alone.broadcast_json((1, "a")) == [1, "a"]
    assert alone.any(True)
    assert not alone.any(False)
    alone.require_equal(3, "a number")
    alone.barrier()


def _message_of(collectives: Collectives, values: list[Any]) -> str:
    with pytest.raises(DistributedError) as raised:
        collectives.require_equal(values[collectives.rank], "the config")
    return str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [{"lr": 1, "seed": [1, 2]}, {"lr": 1, "seed": [1, 3]}],
            "The processes disagree on the config at seed.1. rank 0: 2; rank 1: 3.",
        ),
        (
            [{"lr": 1}, {"lr": 1, "seed": 2}],
            "The processes disagree on the config. "
            'rank 0: {"lr": 1}; rank 1: {"lr": 1, "seed": 2}.',
        ),
        ([1, 1.0], "The processes disagree on the config. rank 0: 1; rank 1: 1.0."),
    ],
)
def test_disagreement_names_the_place_the_ranks_and_both_sides(
    values: list[Any], message: str
) -> None:
    assert run_in_processes(_message_of, 2, values) == [message] * 2


def test_ranks_that_agree_with_one_another_are_named_together() -> None:
    values = [{"a": [1]}, {"a": [2]}, {"a": [1]}]
    expected = "The processes disagree on the config at a.0. ranks 0, 2: 1; rank 1: 2."
    assert run_in_processes(_message_of, 3, values) == [expected] * 3


def test_a_third_structure_does_not_hide_a_disagreement() -> None:
    messages = run_in_processes(_message_of, 3, [{"a": [1]}, {"a": [2]}, "x" * 300])
    assert len(set(messages)) == 1
    assert "rank 0: 1; rank 1: 2; rank 2: " in messages[0]
    assert "... (302 characters)" in messages[0]


def _leave_early(collectives: Collectives) -> None:
    if collectives.rank == 1:
        raise ValueError("out of work")
    collectives.gather_json("is anybody there?")


def test_a_rank_that_is_left_alone_says_where_it_waited() -> None:
    with pytest.raises(ProcessFailedError) as raised:
        run_in_processes(_leave_early, 2)
    assert "DistributedError: Rank 0 of 2 failed at gathering values over all ranks" in str(
        raised.value
    )
    assert "ValueError: out of work" in str(raised.value)
