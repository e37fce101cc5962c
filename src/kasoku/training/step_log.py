"""The learning rate and the training loss of every step: logged, shown, and watched for divergence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from kasoku.optim.bridge import momentum_of
from kasoku.optim.table import named_groups
from kasoku.training import ranks
from kasoku.training.batches import size_of
from kasoku.training.clock import rows_of
from kasoku.training.divergence import Diverged


class StepLog(Callback):
    """Logs `lr`, `train/loss` (mean since the last row) and what the schedule drives, every log_every_n_steps steps.

    The losses stay on the device until a row is due, so that a step waits for nothing; `self.log` would cost more than
    the step of a small net, and round the lr to float32. With several groups whose lr differ, `lr/<group>` follows.

    Args:
        skip: leave losses that are not finite out of the means, as their steps are left out of the training.

    Raises:
        Diverged: at the next row or evaluation after a loss that is not finite.
    """

    def __init__(self, skip: bool = False) -> None:
        self._skip = skip
        self.samples = 0
        self.latest: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._steps: list[tuple[int, float]] = []
        self._settings: dict[str, float] = {}
        self._names: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        begin_loggers(trainer)

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        begin_loggers(trainer)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        self._settings = settings(self._groups(trainer, module), drives_of(trainer))

    def _groups(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[dict[str, Any]]:
        """The groups of all optimizers; with several they are given names, which takes a look at all parameters."""
        if len(trainer.optimizers) == 1:
            return trainer.optimizers[0].param_groups
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if len(self._names) != len(groups):
            self._names = [group["name"] for group in named_groups(module, trainer.optimizers)]
        return [{**group, "name": name} for group, name in zip(groups, self._names, strict=True)]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += size_of(batch) * trainer.world_size
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        step = rows_of(trainer)
        if isinstance(loss, Tensor):
            self._losses.append(loss)
            self._steps.append((step - 1, self._settings.get("lr", 0.0)))
        if step % trainer.log_every_n_steps == 0 and not trainer.fit_loop._should_accumulate():
            self._write(trainer, step - 1)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mean_loss(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for logger in [] if trainer.sanity_checking else trainer.loggers:
            if hasattr(logger, "note_validation"):
                logger.note_validation(logged_by_validation(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mean_loss(trainer)

    def state_dict(self) -> dict[str, Any]:
        losses = ranks.of_all(torch.stack(self._losses).cpu() if self._losses else torch.empty(0))
        return {"samples": self.samples, "losses": losses, "steps": self._steps, "settings": self._settings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.samples, self._settings = state_dict["samples"], state_dict["settings"]
        self._losses = list(ranks.own(state_dict["losses"]))
        self._steps = [(step, lr) for step, lr in state_dict["steps"]]

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
        device = self._losses[-1].device  # those of a resumed run's checkpoint lie on the CPU
        losses = torch.stack([loss.to(device) for loss in self._losses]).float() * trainer.accumulate_grad_batches
        losses = trainer.strategy.reduce(losses, reduce_op="mean")
        if self._skip:
            losses = losses[torch.isfinite(losses)]
        elif not torch.isfinite(losses).all():
            first = int((~torch.isfinite(losses)).nonzero()[0])
            step, lr = self._steps[first]
            raise Diverged(f"the loss became {float(losses[first])}", step, lr)
        self._losses.clear()
        self._steps.clear()
        return float(losses.mean())


def logged_by_validation(trainer: pl.Trainer) -> dict[str, float]:
    """The metrics of the validation that ends, under whatever names; those of training are not among them."""
    metrics = trainer._logger_connector.metrics["callback"]
    return {name: float(value) for name, value in metrics.items() if torch.as_tensor(value).numel() == 1}


def begin_loggers(trainer: pl.Trainer) -> None:
    """Tell the loggers that wait for it that the run is accepted and begins."""
    for logger in trainer.loggers:
        if hasattr(logger, "begin"):
            logger.begin()


def settings(groups: Sequence[Mapping[str, Any]], drives: Iterable[str] = ()) -> dict[str, float]:
    """lr as it is now (lr/<group> too where the groups differ), and what else the schedule `drives`."""
    if not groups or "lr" not in groups[0]:
        return {}
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
