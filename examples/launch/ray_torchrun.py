"""Starts torchrun with a training run on each node of a Ray cluster, and waits for all.

Run on the cluster: python ray_torchrun.py --nodes 2 --processes 8 --gpus 8 KEY=VALUE ...
What follows the options is the command line of seqtrain-train.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

PORT = 29_400


def torchrun_words(
    nodes: int, processes: int, index: int, address: str, words: Sequence[str]
) -> list[str]:
    """Returns the command of one node.

    Args:
        nodes: Number of nodes.
        processes: On each node.
        index: Of this node, from 0.
        address: Of the first node.
        words: Command line of seqtrain-train.
    """
    return [
        # With a shared store, a node that is started again would not find the others.
        *("env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"),
        *(sys.executable, "-m", "torch.distributed.run"),
        *(f"--nnodes={nodes}", f"--nproc-per-node={processes}", "--max-restarts=100"),
        *("--rdzv-backend=c10d", "--rdzv-id=seqtrain", f"--rdzv-endpoint={address}:{PORT}"),
        f"--rdzv-conf=is_host={int(index == 0)}",
        *("-m", "seqtrain_cli.train", *words),
    ]


def main() -> int:
    """Runs to the end and returns the largest exit code of the nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=0)
    options, words = parser.parse_known_args()

    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init()
    bundle = {"CPU": 1, "GPU": options.gpus} if options.gpus else {"CPU": 1}
    spread = "STRICT_SPREAD" if options.nodes > 1 else "PACK"
    group = placement_group([bundle] * options.nodes, strategy=spread)
    ray.get(group.ready())

    def on_node(index: int, function: "ray.remote_function.RemoteFunction") -> object:
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        return function.options(
            num_cpus=1, num_gpus=options.gpus, scheduling_strategy=place, max_retries=100
        )

    address = ray.get(on_node(0, ray.remote(ray.util.get_node_ip_address)).remote())
    commands = [
        torchrun_words(options.nodes, options.processes, index, address, words)
        for index in range(options.nodes)
    ]
    running = [
        on_node(index, ray.remote(subprocess.call)).remote(command)
        for index, command in enumerate(commands)
    ]
    return max(ray.get(running))


if __name__ == "__main__":
    sys.exit(main())
