"""The learning rate and the training loss of every step: logged, shown, and watched for divergence."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from kasoku.optim.bridge import momentum_of


class Diverged(RuntimeError):
    """The training loss is not finite. `step` counts from 0, `lr` is the one used there."""

    def __init__(self, step: int, lr: float, loss: float):
        self.step, self.lr, self.loss = step, lr, loss
        super().__init__(f"the loss became {loss} at step {step} with lr {lr:g}; lower optimizer.lr or warm up longer")


class StepLog(Callback):
    """Logs `lr`, `train/loss` (mean since the last row) and what the schedule drives, every log_every_n_steps steps.

    The losses stay on the device until a row is due, so that a step waits for nothing; `self.log` would cost more than
    the step of a small net, and round the lr to float32. With several groups whose lr differ, `lr/<group>` follows.

    Raises:
        Diverged: at the next row or evaluation after a loss that is not finite, before a checkpoint is written.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.latest: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._steps: list[tuple[int, float]] = []
        self._settings: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        begin_loggers(trainer)

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        begin_loggers(trainer)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        self._settings = settings(optimizer, drives_of(trainer))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += _size(batch) * trainer.world_size
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        step = trainer.global_step
        if isinstance(loss, Tensor):
            self._losses.append(loss)
            self._steps.append((step - 1, self._settings.get("lr", 0.0)))
        if step % trainer.log_every_n_steps == 0 and not trainer.fit_loop._should_accumulate():
            self._write(trainer, step - 1)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mean_loss(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mean_loss(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.samples = state_dict["samples"]

    def _write(self, trainer: pl.Trainer, step: int) -> None:
        row = dict(self._settings)
        if self._losses:
            row["train/loss"] = self._mean_loss(trainer)
            trainer.callback_metrics["train/loss"] = torch.tensor(row["train/loss"])
        self.latest = row
        for logger in trainer.loggers:
            logger.log_metrics(row | {"epoch": trainer.current_epoch}, step)
            logger.save()

    def _mean_loss(self, trainer: pl.Trainer) -> float:
        """The mean of the losses since the last row, over all ranks; every one of them is looked at."""
        if not self._losses:
            return float("nan")
        # Lightning hands out the loss divided by the number of batches that are accumulated.
        losses = torch.stack(self._losses).float() * trainer.accumulate_grad_batches
        losses = trainer.strategy.reduce(losses, reduce_op="mean")
        if not torch.isfinite(losses).all():
            first = int((~torch.isfinite(losses)).nonzero()[0])
            step, lr = self._steps[first]
            raise Diverged(step, lr, float(losses[first]))
        self._losses.clear()
        self._steps.clear()
        return float(losses.mean())


def begin_loggers(trainer: pl.Trainer) -> None:
    """Tell the loggers that wait for it that the run is accepted and begins."""
    for logger in trainer.loggers:
        if hasattr(logger, "begin"):
            logger.begin()


def settings(optimizer: Optimizer, drives: Iterable[str] = ()) -> dict[str, float]:
    """lr as it is now (lr/<group> too where the groups differ), and what else the schedule `drives`."""
    groups = optimizer.param_groups
    row = {"lr": float(groups[0]["lr"])}
    if any(group["lr"] != groups[0]["lr"] for group in groups[1:]):
        row |= {f"lr/{group.get('name', i)}": float(group["lr"]) for i, group in enumerate(groups)}
    for name in drives:
        value = momentum_of(groups[0]) if name == "momentum" else groups[0].get(name)
        if value is not None:
            row[name] = float(value)
    return row


def drives_of(trainer: pl.Trainer) -> tuple[str, ...]:
    """The settings besides the lr that the run's schedule drives."""
    configs = trainer.lr_scheduler_configs
    return getattr(configs[0].scheduler, "drives", ()) if configs else ()


def _size(batch: Any) -> int:
    first = (
        next(iter(batch.values()))
        if isinstance(batch, dict)
        else batch[0]
        if isinstance(batch, list | tuple)
        else batch
    )
    return len(first) if isinstance(first, Tensor) and first.ndim else 1
