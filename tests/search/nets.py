"""Networks that fail in ways that trials do. `tests.search.nets.Net` is trusted through KASOKU_TRUST."""

import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn


class Net(nn.Module):
    """A linear classifier whose 5th training batch does what `how` says."""

    def __init__(self, how: str = "well", seconds: float = 0.0):
        super().__init__()
        self.linear, self.how, self.seconds, self.batches = nn.Linear(64, 10), how, seconds, 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches += self.training
        if self.training and self.batches == 5:
            self._fail()
        time.sleep(self.seconds if self.training else 0)
        return self.linear(x.flatten(1))

    def _fail(self) -> None:
        match self.how:
            case "raise":
                raise RuntimeError("the net is on fire")
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "leave":
                os._exit(7)
            case "diverge":
                with torch.no_grad():
                    self.linear.weight.fill_(float("nan"))


class Wavering(nn.Module):
    """A linear classifier that favours the first class in evaluations, the k-th time by the k-th of `favours`."""

    def __init__(self, favours: tuple[float, ...] = (0, 1, 3, 0, 2)):
        super().__init__()
        self.linear, self.favours, self.batches = nn.Linear(64, 10), favours, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.batches += 1
            return self.linear(x.flatten(1))
        return torch.eye(10)[0].expand(len(x), 10) * self.favours[self.batches]


class Hold(Callback):
    """Keeps the sweep's database, an SQLite file, to itself from the first evaluation to the end of the process.

    That comes after a minute at the latest.
    """

    def __init__(self, database: str):
        self.database, self.connection = database, None

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.connection is None:
            self.connection = sqlite3.connect(self.database, isolation_level=None)
            self.connection.execute("BEGIN EXCLUSIVE")
            patience = threading.Timer(60, os._exit, (7,))
            patience.daemon = True
            patience.start()


class Note(Callback):
    """Writes down what each rank trains with."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        lr = trainer.optimizers[0].defaults["lr"]
        note = {"lr": lr, "world_size": trainer.world_size, "pid": os.getpid()}
        Path(trainer.default_root_dir, f"rank_{trainer.global_rank}.json").write_text(json.dumps(note))
