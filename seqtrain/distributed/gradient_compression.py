"""Gradients sent in bfloat16: half the bytes, added in float32."""

import torch
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.futures import Future

from seqtrain.distributed.collectives import Collectives


def average_in_bf16(collectives: Collectives, bucket: GradBucket) -> Future[Tensor]:
    """Averages a bucket of gradients over ranks; a communication hook of torch's DDP.

    Each rank adds one part of the bucket for all. A value is rounded twice, before it is sent and
    after the sum, whatever the number of ranks, and all ranks get the same bits.

    Args:
        collectives: Connected to the other ranks.
        bucket: What DDP has collected; float32.
    """
    gradients = bucket.buffer()
    summed = _sum_in_bf16(collectives, gradients.div(collectives.world_size))
    gradients.copy_(summed)
    done: Future[Tensor] = Future()
    done.set_result(gradients)
    return done


def _sum_in_bf16(collectives: Collectives, values: Tensor) -> Tensor:
    """Returns the sum over ranks of one-dimensional tensors, rounded to bfloat16."""
    world_size, length = collectives.world_size, values.numel()
    width = -(-length // world_size)
    padded = torch.nn.functional.pad(values.bfloat16(), (0, width * world_size - length))
    rows = collectives.exchange_rows(padded.view(world_size, width))
    total = rows.float().sum(dim=0).bfloat16()
    return collectives.gather_rows(total).view(-1)[:length]
