"""A signal ends a run at the end of its step, with a checkpoint saved."""

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from kasoku.faults import ConfigError
from kasoku.signals import ENDING, caught
from kasoku.training.checkpoints import read


class Interrupted(RuntimeError):
    """A signal ended the run; `signum` says which, the exit code is 128 + signum."""

    def __init__(self, signum: int):
        self.signum = signum
        super().__init__(f"interrupted by {signal.Signals(signum).name}")


class Interrupts(Callback):
    """Saves `checkpoint` and raises `Interrupted` at the end of the step after a signal. A second one kills at once.

    A step is all the batches that it accumulates. A validation is broken off: the resumed run makes it anew. With None
    for the checkpoint nothing is saved.

    Ranks agree on it at the steps that log and after validations, so that all of them stop at the same one.
    """

    def __init__(self, checkpoint: Path | None):
        self._checkpoint = checkpoint
        self._signum = 0

    def listening(self) -> AbstractContextManager[None]:
        """Catch the signals inside the block."""
        return caught(self._note)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take back from Lightning what it has since the set-up: SIGTERM, which ends, and SLURM's SIGUSR1."""
        if signal.getsignal(signal.SIGINT) == self._note:
            for signum in ENDING:
                if signal.getsignal(signum) != signal.SIG_IGN:
                    signal.signal(signum, self._note)
            trainer._signal_connector.received_sigterm = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self._signum = signum

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        is_due = trainer.world_size == 1 or trainer.global_step % trainer.log_every_n_steps == 0
        if is_due and not trainer.fit_loop._should_accumulate():
            self._end_if(trainer, self._agreed(trainer))

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.world_size == 1 and not trainer.sanity_checking:
            self._end_if(trainer, self._signum)

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if not trainer.sanity_checking and not trainer.fit_loop._should_accumulate():
            self._end_if(trainer, self._agreed(trainer))

    def _end_if(self, trainer: pl.Trainer, signum: int) -> None:
        if signum:
            if self._checkpoint and not self._has_step(trainer, self._checkpoint):
                trainer.save_checkpoint(self._checkpoint, weights_only=False)
            raise Interrupted(signum)

    @staticmethod
    def _has_step(trainer: pl.Trainer, checkpoint: Path) -> bool:
        """True if the checkpoint of this very step has been saved: what follows it is then made up from there."""
        try:
            step = read(checkpoint, "resume")["global_step"]
        except ConfigError:
            step = None
        return trainer.strategy.broadcast(step == trainer.global_step, 0)

    def _agreed(self, trainer: pl.Trainer) -> int:
        if trainer.world_size == 1:
            return self._signum
        stop = trainer.strategy.reduce_boolean_decision(bool(self._signum), all=False)
        return (self._signum or signal.SIGTERM) if stop else 0
