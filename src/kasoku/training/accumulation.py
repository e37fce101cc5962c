"""Gradients accumulated over several batches: their true mean, and the steps of a run where their number varies."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault
from kasoku.training.batches import size_of

HOOKS = ("on_train_batch_start", "on_before_backward", "on_before_optimizer_step")


class WindowMean(pl.Callback):
    """Makes the gradient of a step the mean over the samples that it has seen; idle where nothing is accumulated.

    Lightning divides the loss of each batch by the number N of batches that a step waits for. At the end of an epoch
    fewer may be left, and the last one may be smaller. With the mean loss L_i over the b_i samples of batch i, over all
    batches of the step on all devices,

        gradient = sum_i b_i grad L_i / sum_i b_i

    which is that of one large batch. Where a batch does not show its size, batches count alike.
    """

    def __init__(self) -> None:
        self._unit = 0.0  # the size of the first batch, the same on all devices
        self._size, self._seen = 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {"unit": self._unit, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._unit, self._seen = state_dict["unit"], state_dict["seen"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _accumulates(trainer, pl_module):
            for hook in HOOKS:
                setattr(self, hook, None)  # Lightning does not call it then

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._size = size_of(batch)
        self._unit = self._unit or _over_devices(trainer, self._size, "max")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        weight = self._size / self._unit
        self._seen += self._size
        if weight != 1 and loss.requires_grad:
            loss.register_hook(lambda gradient: gradient * weight)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        seen, self._seen = _over_devices(trainer, self._seen, "sum"), 0
        awaited = trainer.accumulate_grad_batches * self._unit * trainer.world_size
        if 0 < seen != awaited:
            parameters: Iterable[Tensor] = (p for group in optimizer.param_groups for p in group["params"])
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], awaited / seen)


class BatchSchedule(GradientAccumulationScheduler):
    """A batch that grows with the run: `samples` per optimizer step from some epochs on, by accumulation.

    The lr stays as the schedule has it. For SGD a batch b times larger does to the noise of the gradient what an lr b
    times smaller does, for Adam and its kin one sqrt(b) times smaller: with a batch that grows, the lr decays less.
    Source: S. L. Smith et al., "Don't decay the learning rate, increase the batch size", arXiv 1711.00489.

    Args:
        samples: of a step on all devices, each a multiple of data.batch_size x devices.
        epochs: from which on each of `samples` holds; the first is 0, each is above the one before it.

    Raises:
        ConfigError: they are none, or the data does not say its batch_size.
    """

    KEY = "callbacks.batch_schedule."

    def __init__(self, samples: Sequence[int], epochs: Sequence[int]):
        self.samples = list(samples)
        starts = list(epochs)
        if starts[:1] != [0] or starts != sorted(set(starts)) or len(starts) != len(self.samples):
            must = f"must begin with 0, rise, and be as many as the samples, {len(self.samples)}"
            raise ConfigError(Fault(f"{self.KEY}epochs", starts, must))
        if not all(isinstance(size, int) and size >= 1 for size in self.samples):
            raise ConfigError(Fault(f"{self.KEY}samples", self.samples, "must be whole numbers >= 1"))
        super().__init__(dict.fromkeys(starts, 1))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Count the batches that a step waits for, now that the data and the devices are known."""
        per_device = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
        if not isinstance(per_device, int):
            raise ConfigError(Fault(f"{self.KEY}samples", self.samples, "needs data that says its batch_size"))
        batch = per_device * trainer.world_size
        if any(size % batch for size in self.samples):
            must = f"must be multiples of {batch}: data.batch_size={per_device} on {trainer.world_size} device(s)"
            raise ConfigError(Fault(f"{self.KEY}samples", self.samples, must))
        self.scheduling = dict(zip(self.epochs, (size // batch for size in self.samples), strict=True))


def scheduler_of(trainer: pl.Trainer) -> GradientAccumulationScheduler | None:
    """The callback that says in which epoch a step waits for how many batches, if there is one."""
    return next((c for c in trainer.callbacks if says_the_horizon(c)), None)  # type: ignore[attr-defined]


def says_the_horizon(callback: pl.Callback) -> bool:
    """True if a run without `callback` would have another number of steps."""
    return isinstance(callback, GradientAccumulationScheduler)


def _accumulates(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    by_lightning = module.automatic_optimization and not trainer.strategy.handles_gradient_accumulation
    return by_lightning and (trainer.accumulate_grad_batches > 1 or scheduler_of(trainer) is not None)


def _over_devices(trainer: pl.Trainer, value: float, operation: str) -> float:
    if trainer.world_size == 1:
        return float(value)
    tensor = torch.tensor(float(value), device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(tensor, reduce_op=operation))
