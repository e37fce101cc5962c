"""SIGINT and SIGTERM end a run at the next batch, with a checkpoint saved."""

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from kasoku.signals import caught


class Interrupted(RuntimeError):
    """A signal ended the run; `signum` says which, the exit code is 128 + signum."""

    def __init__(self, signum: int):
        self.signum = signum
        super().__init__(f"interrupted by {signal.Signals(signum).name}")


class Interrupts(Callback):
    """Saves `checkpoint` and raises `Interrupted` at the first batch end after a signal. A second signal kills at once.

    With None for the checkpoint nothing is saved.

    Ranks agree on it at the steps that log, so that all of them stop at the same one.
    """

    def __init__(self, checkpoint: Path | None):
        self._checkpoint = checkpoint
        self._signum = 0

    def listening(self) -> AbstractContextManager[None]:
        """Catch the signals inside the block."""
        return caught(self._note)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take SIGTERM back from Lightning, whose handler ends the run with exit code 0 and no checkpoint."""
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self._signum = signum

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        signum = self._agreed(trainer)
        if signum:
            self._end(trainer, signum)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._signum and trainer.world_size == 1 and not trainer.sanity_checking:
            self._end(trainer, self._signum)

    def _end(self, trainer: pl.Trainer, signum: int) -> None:
        if self._checkpoint:
            trainer.save_checkpoint(self._checkpoint)
        raise Interrupted(signum)

    def _agreed(self, trainer: pl.Trainer) -> int:
        if trainer.world_size == 1:
            return self._signum
        if trainer.global_step % trainer.log_every_n_steps:
            return 0
        stop = trainer.strategy.reduce_boolean_decision(bool(self._signum), all=False)
        return (self._signum or signal.SIGTERM) if stop else 0
