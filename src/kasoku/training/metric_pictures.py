"""Metrics whose value is no number, a confusion matrix or a curve: a picture and the numbers in the run's directory."""

import inspect
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torchmetrics import Metric

from kasoku.files import write_text

log = logging.getLogger("kasoku")


class MetricPictures(Callback):
    """Leaves val_NAME.png and val_NAME.json of the last validation when the training ends, test_NAME.* of the test.

    What they show is in `Module.pictured`. A picture that cannot be drawn is no reason to end a run: that is said.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._leave(trainer, pl_module)

    def _leave(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pictured = getattr(pl_module, "pictured", None)
        if not isinstance(pictured, dict) or not trainer.is_global_zero:
            return
        classes = getattr(getattr(trainer, "datamodule", None), "classes", None)
        for name, (metric, value) in pictured.items():
            path = self._directory / f"{name.replace('/', '_')}.png"
            value = on_cpu(value)
            write_text(path.with_suffix(".json"), json.dumps(plain(value)) + "\n")
            draw(path, metric, value, classes)
        pictured.clear()


def draw(path: Path, metric: Metric, value: Any, classes: list[str] | None = None) -> None:
    """Draw `value` as `metric` itself does, the `classes` named where it takes names."""
    from matplotlib.figure import Figure  # slow to import

    settings: dict[str, Any] = {}
    is_named = isinstance(value, Tensor) and classes and len(classes) == len(value)
    if is_named and "labels" in inspect.signature(metric.plot).parameters:
        settings["labels"] = [str(name) for name in classes or ()]
    figure = Figure(figsize=(6, 5), layout="tight")
    try:
        metric.plot(value, ax=figure.subplots(), **settings)
        figure.savefig(path, dpi=120)
    except Exception as error:  # torchmetrics says nowhere which values it can draw
        reason = str(error) or type(error).__name__
        log.warning("%s is not drawn (%s); its numbers are in %s", path.stem, reason, path.with_suffix(".json").name)


def on_cpu(value: Any) -> Any:
    """`value` with every tensor in it on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return type(value)(map(on_cpu, value)) if isinstance(value, tuple | list) else value


def plain(value: Any) -> Any:
    """`value` as lists and numbers; null for what is not finite: JSON has no word for it."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
