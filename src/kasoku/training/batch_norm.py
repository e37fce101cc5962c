"""Batch-norm statistics taken anew, for weights that no training batch has passed through."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, IterableDataset

from kasoku.training.batches import Batch, Inputs


def has_batch_norm(net: nn.Module) -> bool:
    """True if `net` keeps running statistics of its batches."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in net.modules())


@torch.no_grad()
def refresh_batch_norm(net: nn.Module, inputs: Iterable[Any]) -> None:
    """Set the running statistics of the batch norms to the mean over `inputs` at the present weights.

    The inputs are tensors, or `Inputs`. The other layers stay in their modes. Raises ValueError if there are no inputs.
    """
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm, norm.momentum, norm.training) for norm in norms]
    seen = 0
    try:
        for seen, x in enumerate(inputs, start=1):
            if seen == 1:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.train()
                    norm.momentum = None  # the plain mean over all batches
            net(*x.args, **x.named) if isinstance(x, Inputs) else net(x)
    finally:
        for norm, momentum, training in before:
            norm.momentum = momentum
            norm.train(training)
    if not seen:
        raise ValueError("no batch to take the batch-norm statistics from")


def training_inputs(trainer: pl.Trainer, count: int) -> Iterator[Any]:
    """Inputs of the net in `count` training batches; see `training_batches`."""
    module = trainer.lightning_module
    for batch in training_batches(trainer, count):
        if isinstance(description := getattr(module, "batch", None), Batch):
            yield description.split(batch, module.net)[0]  # type: ignore[arg-type]
        else:
            yield batch[0] if isinstance(batch, list | tuple) else batch


def can_look_ahead(loader: Any) -> bool:
    """True if batches of `loader` can be had without taking them from the training."""
    return hasattr(loader, "first") or _is_map_style(loader)


def training_batches(trainer: pl.Trainer, count: int) -> Iterator[Any]:
    """`count` training batches on the device, by the epoch at most, without moving the training loader on."""
    for batch in itertools.islice(first_batches(trainer.train_dataloader, count), count):
        yield trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))


def first_batches(loader: Any, count: int) -> Iterable[Any]:
    """At least `count` batches of a `loader`, without moving it on where that can be."""
    if hasattr(loader, "first"):
        return loader.first(count)
    if not _is_map_style(loader):
        return loader  # iterated anew: its order cannot be fixed from here
    size = len(loader.dataset)  # type: ignore[arg-type]
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0)).tolist()
    return DataLoader(
        loader.dataset, loader.batch_size, sampler=order, collate_fn=loader.collate_fn, drop_last=loader.drop_last
    )


def _is_map_style(loader: Any) -> bool:
    is_plain = isinstance(loader, DataLoader) and bool(loader.batch_size)
    return is_plain and not isinstance(loader.dataset, IterableDataset)
