"""Ranks in a grid: rows share the matrix products of a layer, columns divide the data.

Imported only by runs that use it: torch's distributed tensors take long to import.
"""

import logging

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from seqtrain.distributed.collectives import Collectives


class Meshes:
    """The two dimensions of the grid, as torch knows them.

    Args:
        device_type: Where parameters are: cpu or cuda.
        collectives: Connected to the other ranks.
        tensor_parallel: Neighbouring ranks in a row.
    """

    def __init__(self, device_type: str, collectives: Collectives, tensor_parallel: int) -> None:
        data_size = collectives.world_size // tensor_parallel
        if tensor_parallel == 1:
            self.data: DeviceMesh = init_device_mesh(
                device_type, (data_size,), mesh_dim_names=("data",)
            )
            return
        # A warning at each gathering of a tensor that both dimensions divide, which has to be.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        grid = init_device_mesh(
            device_type, (data_size, tensor_parallel), mesh_dim_names=("data", "tensor")
        )
        self.data = grid["data"]
        self.tensor: DeviceMesh = grid["tensor"]

    def sum_over_data(self, tensor: Tensor) -> Tensor:
        """Returns the sum over the ranks that hold the same part of each layer."""
        if self.data.size() > 1:
            dist.all_reduce(tensor, group=self.data.get_group())
        return tensor
