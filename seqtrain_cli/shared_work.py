"""Work in pieces that several processes share; what comes out is in the order of the pieces."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.distributed.launch import launch, must_launch
from seqtrain.training.build import choose_device


@contextmanager
def working_processes(module: str, num_processes: int, device: str) -> Iterator[Collectives]:
    """Starts the processes and waits for them, or gives one of them its connection.

    Args:
        module: What they run, with the words of this command line.
        num_processes: How many the command is to start; 1 for none.
        device: auto, cpu or cuda.
    """
    context = DistributedContext.from_environment()
    config = DistributedConfig(num_processes=num_processes)
    if must_launch(config, context):
        sys.exit(launch([module, *sys.argv[1:]], num_processes))
    where = choose_device(device, context.local_rank)
    with context.connected(config, where) as collectives:
        yield collectives


def in_order(
    pieces: Iterable[Any], work: Callable[[Any], Any], collectives: Collectives
) -> Iterator[Any]:
    """Yields on the first rank the result of each piece, in order; the others only work.

    Args:
        pieces: Plain values for JSON. Those of the first rank count.
        work: Makes plain values of a piece, and nothing else decides about them.
        collectives: Of the processes, all of which call this.
    """
    source = iter(pieces if collectives.is_first else ())
    while given := collectives.broadcast_json(list(islice(source, collectives.world_size))):
        own = given[collectives.rank : collectives.rank + 1]
        for results in collectives.gather_json([work(piece) for piece in own]):
            if collectives.is_first:
                yield from results
