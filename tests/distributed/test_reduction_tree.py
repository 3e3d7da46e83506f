from typing import Any

import pytest
import torch
from processes import ProcessFailedError, run_in_processes
from torch import Tensor, nn

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.reduction_tree import ReductionTree, TreeSum
from seqtrain.errors import ConfigError

SHAPES = {"table": (7, 5), "matrix": (5, 4), "bias": (4,), "unused": (3,)}


def pairwise(leaves: list[Tensor]) -> Tensor:
    """Returns the sum as the definition says it: neighbours first, level by level."""
    while len(leaves) > 1:
        pairs = [leaves[i : i + 2] for i in range(0, len(leaves), 2)]
        leaves = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return leaves[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 11, 16])
def test_leaves_are_added_pairwise_level_by_level(count: int) -> None:
    torch.manual_seed(count)
    leaves = [torch.randn(50) for _ in range(count)]
    tree = TreeSum()
    for leaf in leaves:
        tree.add([leaf.clone()])
    total = tree.finish()
    assert total is not None
    assert torch.equal(total[0], pairwise(leaves))
    assert tree.finish() is None


def gradient(index: int, name: str) -> Tensor:
    """Returns what a micro-batch gives: values of all sizes, so that grouping shows."""
    generator = torch.Generator().manual_seed(1000 * index + len(name))
    values = torch.randn(SHAPES[name], generator=generator)
    return values * 10.0 ** torch.randint(-4, 4, SHAPES[name], generator=generator)


def sums_of(collectives: Collectives, total: int, share: int, bucket_bytes: int) -> list[bytes]:
    module = nn.ParameterDict({name: torch.zeros(shape) for name, shape in SHAPES.items()})
    module["low"] = nn.Parameter(torch.zeros(6, dtype=torch.bfloat16))
    named = list(module.named_parameters())
    tree = ReductionTree(named, collectives, total, share, bucket_bytes)
    for _ in range(2):  # the second update begins from nothing
        for index in range(collectives.rank * share, (collectives.rank + 1) * share):
            for name, parameter in named:
                if name == "low":
                    parameter.grad = gradient(index, "bias")[:1].bfloat16().expand(6).clone()
                elif name != "unused":
                    parameter.grad = gradient(index, name)
            tree.take()
        tree.finish()
    gradients = [parameter.grad for _, parameter in named]
    return [g.view(torch.uint8).numpy().tobytes() for g in gradients if g is not None]


def all_sums(collectives: Collectives, cases: list[tuple[int, int, int]]) -> list[list[bytes]]:
    return [sums_of(collectives, *case) for case in cases]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_the_sums_have_the_same_bits_on_any_number_of_ranks(world_size: int) -> None:
    totals = [4, 5, 6, 8]
    shares = [1 << (-(-total // world_size) - 1).bit_length() for total in totals]
    cases = [(*pair, size) for pair in zip(totals, shares, strict=True) for size in (64, 10**6)]
    found = run_in_processes(all_sums, world_size, cases)
    alone = [sums_of(Collectives(), total, total, size) for total, _, size in cases]
    for rank in range(world_size):
        assert found[rank] == alone
    assert len(alone[0]) == len(SHAPES) + 1


def test_an_unused_parameter_has_the_gradient_zero() -> None:
    parameter = nn.Parameter(torch.ones(3))
    tree = ReductionTree([("p", parameter)], Collectives(), 2, 2)
    tree.take()
    tree.take()
    tree.finish()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [0.0, 0.0, 0.0]


def test_more_micro_batches_than_a_share_are_refused() -> None:
    tree = ReductionTree([("p", nn.Parameter(torch.ones(3)))], Collectives(), 1, 1)
    tree.take()
    with pytest.raises(ValueError, match="more than the 1 micro-batches"):
        tree.take()


def test_a_sparse_gradient_is_refused_by_name() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    tree = ReductionTree(table.named_parameters(), Collectives(), 1, 1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigError, match=r"gradient of weight is sparse, and distributed\."):
        tree.take()


def _other_weights(collectives: Collectives, what: str) -> Any:
    size = 3 + collectives.rank if what == "shape" else 3
    value = torch.full((size,), float(collectives.rank if what == "value" else 0))
    ReductionTree([("p", nn.Parameter(value))], collectives, 2, 1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("shape", r"disagree on the model's parameters \(shape, dtype\) at p.0.0. rank 0: 3; rank"),
        ("value", "the parameter p is not the same on all ranks"),
    ],
)
def test_ranks_that_begin_with_other_models_are_told_so(what: str, message: str) -> None:
    with pytest.raises(ProcessFailedError, match=message):
        run_in_processes(_other_weights, 2, what)
