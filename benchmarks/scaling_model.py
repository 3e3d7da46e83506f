"""What an update costs on many GPUs, by a model of a few numbers; the tables of docs/scaling.md.

Run: python benchmarks/scaling_model.py

Every GPU computes as much as before when more are added. The gradients of an update go round in a
ring, while the backward pass goes on; the sums of what is logged, and the bucket that is ready
last, wait for its end. The time of the slowest GPU counts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A model in training, on one GPU."""

    name: str
    parameters: float
    update_seconds: float
    """To compute an update, without any exchange."""
    bytes_a_gradient: int = 4
    slowest: float = 1.05
    """Time of the slowest of many micro-batches over the mean."""


@dataclass(frozen=True)
class Network:
    """What lies between GPUs: about half of what makers say. Nothing of it was measured here."""

    gpus_a_machine: int = 8
    inside: float = 200e9
    """Bytes a second of a GPU to the others of its machine."""
    between: float = 20e9
    """Bytes a second of a GPU to another machine, with a network card of its own."""
    hop_seconds: float = 10e-6
    """Latency of one step of a collective."""


@dataclass(frozen=True)
class Prediction:
    """Of one update."""

    sent: float
    """Bytes that each GPU sends."""
    exchange_seconds: float
    """Of all gradients, were nothing computed meanwhile."""
    exposed_seconds: float
    """Of it, what computing does not hide, with the sums of what is logged."""
    efficiency: float


BUCKET_BYTES = 25 * 2**20
BACKWARD = 2 / 3
"""Share of an update during which gradients become ready."""


def predict(job: Job, network: Network, world_size: int) -> Prediction:
    """Returns what an update costs on so many GPUs."""
    gradients = job.parameters * job.bytes_a_gradient
    sent = 2 * (world_size - 1) / world_size * gradients
    is_one_machine = world_size <= network.gpus_a_machine
    rate = network.inside if is_one_machine else network.between
    num_buckets = max(1, math.ceil(gradients / BUCKET_BYTES))
    # Large collectives go by trees, with a latency that grows with the logarithm.
    latency = 2 * math.ceil(math.log2(max(world_size, 2))) * network.hop_seconds
    exchange = sent / rate + num_buckets * latency
    last_bucket = exchange / num_buckets
    hidden = min(exchange - last_bucket, BACKWARD * job.update_seconds)
    exposed = exchange - hidden + latency
    slowest = job.slowest * job.update_seconds
    return Prediction(sent, exchange, exposed, job.update_seconds / (slowest + exposed))


JOBS = (
    Job("60 M, 16,000 tokens a GPU", 60e6, 0.025),
    Job("1 B, 16,000 tokens a GPU", 1e9, 0.32),
    Job("1 B, gradients in bf16", 1e9, 0.32, bytes_a_gradient=2),
)
"""Computing: 6 x parameters x tokens at 300 TFLOP/s; less for the small model, which cannot fill
the GPU."""


def table() -> Iterator[str]:
    """Yields a table in Markdown."""
    yield "| model | GPUs | MB sent | ms to exchange | ms not hidden | efficiency |"
    yield "| --- | --: | --: | --: | --: | --: |"
    for job in JOBS:
        for world_size in (8, 64, 1024):
            found = predict(job, Network(), world_size)
            cells = (
                job.name,
                f"{world_size:,}",
                f"{found.sent / 1e6:,.0f}",
                f"{1e3 * found.exchange_seconds:.1f}",
                f"{1e3 * found.exposed_seconds:.1f}",
                f"{100 * found.efficiency:.0f} %",
            )
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        print(line)
