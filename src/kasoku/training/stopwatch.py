"""Seconds of training: optimizer steps alone, without evaluation, checkpoints and start-up."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


class Stopwatch(Callback):
    """Runs from a batch's start to an evaluation, a checkpoint or the epoch's end; must be the first of the callbacks.

    A GPU is waited for when the watch stops, and only then.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None
        self.has_begun = False  # in this process

    @property
    def seconds(self) -> float:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._before + running

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self._since is None:
            self._since, self.has_begun = time.perf_counter(), True

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.stop()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self.stop()

    def stop(self) -> None:
        if self._since is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._before, self._since = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._since = state_dict["seconds"], None
