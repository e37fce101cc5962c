"""The wall time of a run by its parts, and a hint where one part of it is large."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

PARTS = ("start-up", "data", "steps", "validation", "checkpoints", "test", "other")
HINTS = {  # part: the share of all but the start-up from which there is something to gain, and how
    "validation": (0.4, "validate less often: trainer.check_val_every_n_epoch=5"),
    "data": (0.4, "load in processes of its own: data.num_workers=2"),
    "checkpoints": (0.2, "save less often: callbacks.last.every_n_epochs=10"),
}
WORTH = 10.0  # seconds that a part takes at least for a hint


class Spent(Callback):
    """Measures the parts of a run in this process: seconds by the names of `PARTS`.

    Args:
        started: when the command began, by time.time().
    """

    def __init__(self, started: float):
        self._started, self._seconds = started, dict.fromkeys(PARTS, 0.0)
        self._since = 0.0  # of the present validation
        self.left: float | None = None  # when the last batch was done with, if the next one is waited for
        self.has_begun = False

    def parts(self, train_seconds: float) -> dict[str, float]:
        """The parts, which add up to all seconds so far; `train_seconds`: those from batch to batch, waits included."""
        found = dict(self._seconds)
        found["steps"] = max(0.0, train_seconds - found["data"])
        found["other"] = max(0.0, time.time() - self._started - sum(found.values()))
        return {name: round(seconds, 4) for name, seconds in found.items()}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not hasattr(trainer.save_checkpoint, "__wrapped__"):
            trainer.save_checkpoint = self._timed(trainer.save_checkpoint, "checkpoints")  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.left is not None:
            self._seconds["data"] += time.perf_counter() - self.left
            self.left = None
        elif not self.has_begun:
            self.has_begun, self._seconds["start-up"] = True, time.time() - self._started - self._seconds["validation"]

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since, self.left = time.perf_counter(), None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._seconds["validation"] += time.perf_counter() - self._since

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._seconds["test"] += time.perf_counter() - self._since

    def _timed(self, work: Callable[..., None], part: str) -> Callable[..., None]:
        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> None:
            start = time.perf_counter()
            work(*args, **kwargs)
            took = time.perf_counter() - start
            self._seconds[part] += took
            if self.left is not None:
                self.left += took

        return timed


class Left(Callback):
    """Tells `Spent` when all callbacks but those that save are done with a batch: the next one is waited for."""

    def __init__(self, spent: Spent):
        self._spent = spent

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._spent.left = time.perf_counter()


def lines(parts: Mapping[str, float]) -> Iterator[str]:
    """The time by its parts in a line, and a line for each part that is worth a change."""
    if not any(parts.values()):
        return
    shown = [f"{name} {seconds:.1f} s" for name, seconds in parts.items() if seconds]
    yield f"time: {'  '.join(shown)}"
    running = sum(parts.values()) - parts.get("start-up", 0.0)
    for name, (share, fix) in HINTS.items():
        if parts.get(name, 0.0) >= WORTH and parts[name] > share * running:
            yield f"{name} took {100 * parts[name] / running:.0f}% of it: {fix}"
