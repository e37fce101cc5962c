"""The time that a run spends on optimizer steps."""

import time
from typing import Any

import pytorch_lightning as pl
import torch


class Spent(pl.Callback):
    """CPU and wall seconds of a fit without its evaluations. A GPU is waited for where the watch stops."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def on_train_start(self, *args: Any) -> None:
        self._begin()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._end()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._begin()

    def on_train_end(self, *args: Any) -> None:
        self._end()

    def _begin(self) -> None:
        self._since = time.process_time(), time.perf_counter()

    def _end(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.cpu += time.process_time() - self._since[0]
        self.wall += time.perf_counter() - self._since[1]
