"""The reports of a trial to its sweep while it trains, and the answer that it is to stop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from kasoku.faults import ConfigError, Fault, nearest
from kasoku.training.run import Pruned

Report = Callable[[int, Mapping[str, float]], bool]


class Reporter(Callback):
    """Reports the values of `metrics` at each evaluation, and ends the run if the answer is that it is pruned.

    Args:
        metrics: names of what the evaluations log.
        report: of the count of evaluations so far, from 1, and the values; answers whether the trial is to stop.
            None on the further ranks, which follow the first.

    Raises:
        Pruned: on all ranks at the same evaluation.
        ConfigError: the first evaluation logged none of that name.
    """

    def __init__(self, metrics: Sequence[str] = (), report: Report | None = None):
        self._metrics, self._report, self._evaluations = metrics, report, 0

    def on_sanity_check_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        there = sorted(trainer.callback_metrics)
        for name in self._metrics:
            if there and name not in there:
                must = f"no such metric, those of the model are: {' '.join(there)}"
                raise ConfigError(Fault("sweeper.metric", name, must, nearest(name, there)))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._evaluations += 1
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name in self._metrics}
        stop = bool(self._report and values and self._report(self._evaluations, values))
        if trainer.world_size > 1:
            stop = trainer.strategy.broadcast(stop, 0)
        if stop and not _is_over(trainer):
            raise Pruned(f"behind the other trials at evaluation {self._evaluations}")

    def state_dict(self) -> dict[str, Any]:
        return {"evaluations": self._evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._evaluations = state_dict["evaluations"]


def _is_over(trainer: pl.Trainer) -> bool:
    """True if this was the last evaluation: nothing would be saved by stopping here."""
    last_epoch = trainer.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= trainer.max_epochs
    at_its_end = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return trainer.should_stop or trainer.global_step == trainer.max_steps or bool(last_epoch and at_its_end)
