"""Fully sharded training (FSDP2): parameters, gradients and optimizer states are split over the devices."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


class FSDP2(ModelParallelStrategy):
    """All devices share the data and the parameters. Checkpoints are one file with whole tensors, as with any strategy.

    Lightning's strategy of the older FSDP refuses the CPU; its ModelParallelStrategy, which this is, leaves the
    sharding to the module: see `shard`.
    """

    def __init__(self, **settings: Any):
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False, **settings)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Split the parameters of `net` over `mesh`, each of its blocks a unit of communication. Once."""
    if isinstance(net, FSDPModule):
        return
    for block in blocks(net):
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)


def blocks(net: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists and sequences of `net` that have parameters."""
    for child in net.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from blocks(child)


def load_whole(module: nn.Module, state: dict[str, Any]) -> None:
    """Give a sharded `module` its part of each tensor of `state`."""
    set_model_state_dict(module, state, options=StateDictOptions(full_state_dict=True))
