"""Networks that fail in ways that trials do. `tests.search.nets.Net` is trusted through KASOKU_TRUST."""

import json
import os
import signal
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


class Note(Callback):
    """Writes down what each rank trains with."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        lr = trainer.optimizers[0].defaults["lr"]
        note = {"lr": lr, "world_size": trainer.world_size, "pid": os.getpid()}
        Path(trainer.default_root_dir, f"rank_{trainer.global_rank}.json").write_text(json.dumps(note))
