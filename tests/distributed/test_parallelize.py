import numpy as np
import pytest
import torch
from processes import ProcessFailedError, run_in_processes
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.parallelize import gradient_sync, wrap_data_parallel

VOCAB, DIM, NUM_UPDATES = 31, 16, 10


class TiedModel(nn.Module):
    """An embedding that is the output layer too, and two layers between; gives a summed loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.layers = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))
        self.norm = nn.LayerNorm(DIM)
        self.register_buffer("counter", torch.zeros(1))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(tokens)
        logits = F.linear(self.norm(x + self.layers(x)), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def _micro_batch(update: int, index: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * update + index)
    shape = (3, 4 + index)  # micro-batches of unequal numbers of targets
    tokens = torch.randint(VOCAB, (2, *shape), generator=generator)
    return tokens[0], tokens[1]


def _train(collectives: Collectives, num_micro_batches: int) -> list[bytes]:
    """Returns the parameters after some updates on micro-batches that the ranks share out."""
    torch.manual_seed(collectives.rank)  # the wrapper has to make the copies equal
    model = TiedModel()
    module = wrap_data_parallel(model, collectives, DistributedConfig())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    mine = num_micro_batches // collectives.world_size
    for update in range(NUM_UPDATES):
        optimizer.zero_grad()
        num_targets = torch.zeros(1)
        for i in range(mine):
            tokens, targets = _micro_batch(update, collectives.rank * mine + i)
            num_targets += targets.numel()
            with gradient_sync(module, enabled=i == mine - 1):
                module(tokens, targets).backward()
        total = collectives.all_reduce_sum(num_targets).item()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(collectives.world_size / total)
        optimizer.step()
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def test_two_ranks_train_to_the_same_bits_as_one_that_accumulates() -> None:
    first, second = run_in_processes(_train, 2, 2)
    assert first == second == run_in_processes(_train, 1, 2)[0]


def test_two_ranks_that_accumulate_train_as_one_up_to_rounding() -> None:
    first, second = run_in_processes(_train, 2, 4)
    assert first == second
    for ours, alone in zip(first, run_in_processes(_train, 1, 4)[0], strict=True):
        np.testing.assert_allclose(
            np.frombuffer(ours, np.float32), np.frombuffer(alone, np.float32), rtol=1e-3, atol=1e-4
        )


def _build_other_models(collectives: Collectives) -> None:
    wrap_data_parallel(nn.Linear(2, 3 + collectives.rank), collectives, DistributedConfig())


def test_ranks_with_other_models_are_told_which_parameter_differs() -> None:
    with pytest.raises(ProcessFailedError) as raised:
        run_in_processes(_build_other_models, 2)
    text = str(raised.value)
    assert "disagree on the model's parameters (shape, dtype, trained) at bias.0.0." in text
    assert "rank 0: 3; rank 1: 4." in text


def test_alone_the_module_itself_comes_back() -> None:
    module = nn.Linear(1, 1)
    assert wrap_data_parallel(module, Collectives(), DistributedConfig()) is module
    with gradient_sync(module, enabled=False):
        module(torch.ones(1, 1)).sum().backward()
    assert module.weight.grad is not None
