"""Faults of the callbacks of a run, said before its first batch."""

from collections.abc import Mapping

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateFinder,
    StochasticWeightAveraging,
    WeightAveraging,
)

from kasoku.faults import ConfigError, Fault, unknown
from kasoku.training.module import Module
from kasoku.training.run import Run
from kasoku.training.takeover import is_taken_over

AVERAGES = (WeightAveraging, StochasticWeightAveraging)


def faults_of(run: Run) -> list[Fault]:
    """Faults that show without the data.

    They are: two averages of the weights, each of which would save the other's; Lightning's search for an lr, which it
    writes into an attribute of the module, where the recipe does not look.
    """
    finders = [callback for callback in run.callbacks if isinstance(callback, LearningRateFinder)]
    if finders and is_taken_over(run.module):
        must = "sets an attribute of the module, and its lr is optimizer.lr"
        key = run.names.get(finders[0], "callbacks")
        return [Fault(key, "LearningRateFinder", must, "leave it out, and give optimizer.lr=auto")]
    averages = [callback for callback in run.callbacks if isinstance(callback, AVERAGES)]
    keys = [run.names.get(callback, "callbacks") for callback in averages]
    must = f"{' and '.join(keys)} average the weights, a run has one average"
    return [Fault("callbacks", type(averages[1]).__name__, must, "leave one out")] if len(averages) > 1 else []


class Monitors(Callback):
    """Looks whether validation logs what the callbacks monitor, which Lightning asks after the first epoch.

    A name that does not begin with val can be a metric of training, which shows later; it is asked for where the module
    is `Module`, which logs no such metric.

    Raises:
        ConfigError: a callback monitors a metric that nobody logs, or one of validation where there is none.
    """

    def __init__(self, names: Mapping[Callback, str]):
        self._names = names

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        there = trainer.callback_metrics
        what = "validation logs no such metric, but these"
        monitored = {callback: monitor for callback, monitor in _monitors(trainer) if monitor not in there}
        wrong = {callback: name for callback, name in monitored.items() if _is_of_validation(name, pl_module)}
        if there and wrong:
            raise ConfigError(
                *(unknown(self._key(callback), name, name, there, what) for callback, name in wrong.items())
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        strict = [] if trainer.enable_validation else [pair for pair in _monitors(trainer) if _must_be_there(pair[0])]
        must, fix = "is a metric of validation, and this run has none", "validate, or leave the callback out"
        wrong = [(callback, monitor) for callback, monitor in strict if _is_of_validation(monitor, pl_module)]
        if wrong:
            raise ConfigError(*(Fault(self._key(callback), monitor, must, fix) for callback, monitor in wrong))

    def _key(self, callback: Callback) -> str:
        return f"{self._names.get(callback, type(callback).__name__)}.monitor"


def _monitors(trainer: pl.Trainer) -> list[tuple[Callback, str]]:
    monitors = [(callback, getattr(callback, "monitor", None)) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    return [(callback, monitor) for callback, monitor in monitors if isinstance(monitor, str)]


def _must_be_there(callback: Callback) -> bool:
    return isinstance(callback, EarlyStopping) and callback.strict


def _is_of_validation(name: str, module: pl.LightningModule) -> bool:
    return name.lower().startswith("val") or (type(module) is Module and not name.lower().startswith("train"))
