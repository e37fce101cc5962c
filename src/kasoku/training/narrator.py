"""What a person sees while it trains: a bar on a terminal, a line for each evaluation in the log."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar

from kasoku.optim import groups
from kasoku.training.step_log import StepLog

log = logging.getLogger("kasoku")


class Bar(TQDMProgressBar):
    """Lightning's bar with the lr and the loss, redrawn by time and not by batches: drawing costs more than a step."""

    def __init__(self, steps: StepLog, every_seconds: float = 0.1):
        super().__init__()
        self._steps, self._every, self._drawn = steps, every_seconds, 0.0

    def _should_update(self, current: int, total: int | float) -> bool:
        now = time.monotonic()
        if now - self._drawn < self._every and current < total:
            return False
        self._drawn = now
        return self.is_enabled

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        shown = {"lr": "lr", "train/loss": "loss"}
        items |= {label: f"{self._steps.latest[key]:.3g}" for key, label in shown.items() if key in self._steps.latest}
        return items


class Narrator(Callback):
    """A line for each parameter group at the start, and for each evaluation: step, epoch, lr, losses, metrics."""

    def __init__(self, steps: StepLog):
        self._steps = steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for row in groups.table(module, trainer.optimizers[0].param_groups):
                size = f"{row.tensors} tensors  {row.parameters:,} parameters"
                log.info("group %s  %s  lr %g  weight decay %g", row.name, size, row.lr, row.weight_decay)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        values = {k: self._steps.latest[k] for k in ("lr", "train/loss") if k in self._steps.latest} | values
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("epoch %d  step %d  %s", trainer.current_epoch + 1, trainer.global_step, text)


def wants_bar() -> bool:
    return sys.stderr.isatty()
