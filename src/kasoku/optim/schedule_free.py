"""Schedule-free optimizers: which weights train, which are evaluated and saved.

Such an optimizer takes gradients at y, a mix of the iterate z and the running average x, and x is the answer. The net
holds y in training and x at validation, at test and in checkpoints. A. Defazio et al. 2024, arXiv 2405.15682.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

TRAIN_STATE = "schedule_free_train_state"


def is_schedule_free(optimizer: object) -> bool:
    """Whether `optimizer` has a train and an eval mode, as the schedule-free ones do."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def has_batch_norm(net: nn.Module) -> bool:
    """Whether `net` keeps running statistics of its batches."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in net.modules())


@torch.no_grad()
def refresh_batch_norm(net: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Set the running statistics of the batch norms to the mean over `inputs` at the present weights.

    The other layers stay in the mode they are in. Raises ValueError if there are no inputs.
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
            net(x)
    finally:
        for norm, momentum, training in before:
            norm.momentum = momentum
            norm.train(training)
    if not seen:
        raise ValueError("no batch to take the batch-norm statistics from")


class ScheduleFree(pl.Callback):
    """Shows x to validation, test and checkpoints, y to training; does nothing for other optimizers.

    A checkpoint's `state_dict` is x with fresh statistics. One that was saved while the net held y also holds y, so
    that a resumed run goes on bit for bit.

    Args:
        batches: training batches that the batch-norm statistics are taken from at x.
    """

    def __init__(self, batches: int = 50):
        self.batches = batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for optimizer in _at(trainer, training=False):
            optimizer.train()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        optimizers = _at(trainer, training=True)
        if not optimizers:
            return
        checkpoint[TRAIN_STATE] = _copied(pl_module)
        self._average(trainer, pl_module)
        checkpoint["state_dict"] = _copied(pl_module)
        # Back by copying: train() after eval() would round, and the run would differ from one that saved nothing here.
        pl_module.load_state_dict(checkpoint[TRAIN_STATE])
        _mark(optimizers, training=True)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if TRAIN_STATE in checkpoint and trainer.state.fn == "fit":
            pl_module.load_state_dict(checkpoint[TRAIN_STATE])

    def _average(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        optimizers = _at(trainer, training=True)
        for optimizer in optimizers:
            optimizer.eval()
        if optimizers and has_batch_norm(pl_module):
            with isolate_rng(), trainer.precision_plugin.forward_context():
                refresh_batch_norm(pl_module, training_inputs(trainer, self.batches))


def _at(trainer: pl.Trainer, training: bool) -> list[Any]:
    """The schedule-free optimizers that are in train mode, or that are not."""
    free = [optimizer for optimizer in trainer.optimizers if is_schedule_free(optimizer)]
    return [optimizer for optimizer in free if optimizer.param_groups[0]["train_mode"] == training]


def _mark(optimizers: Iterable[Optimizer], training: bool) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["train_mode"] = training


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def training_inputs(trainer: pl.Trainer, count: int) -> Iterator[Tensor]:
    """The inputs of `count` training batches, chosen by the epoch at most, without moving the training loader on."""
    strategy = trainer.strategy
    for batch in itertools.islice(_batches(trainer.train_dataloader, count), count):
        batch = strategy.batch_to_device(batch)
        yield batch[0] if isinstance(batch, list | tuple) else batch


def _batches(loader: Any, count: int) -> Iterable[Any]:
    if hasattr(loader, "first"):
        return loader.first(count)
    if not isinstance(loader, DataLoader) or not loader.batch_size or isinstance(loader.dataset, IterableDataset):
        return loader  # iterated anew: its order cannot be fixed from here
    size = len(loader.dataset)  # type: ignore[arg-type]
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0)).tolist()
    return DataLoader(
        loader.dataset, loader.batch_size, sampler=order, collate_fn=loader.collate_fn, drop_last=loader.drop_last
    )
