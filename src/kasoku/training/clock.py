"""The run's clock: how many optimizer steps it has, an epoch has, and what one of them consumes."""

import math
from typing import Any

import pytorch_lightning as pl

from kasoku.durations import Clock


def clock_of(trainer: pl.Trainer) -> Clock:
    """The clock of the fit that `trainer` is setting up; accumulation, devices and limits are counted in.

    The total is None where Lightning cannot know it: with max_time alone, or with data that has no length.
    """
    trainer.fit_loop.setup_data()  # Lightning does it here only where max_epochs is given, and knows no epoch before
    total = trainer.estimated_stepping_batches
    batches = trainer.num_training_batches
    data: Any = trainer.datamodule
    batch_size = getattr(data, "batch_size", None)
    samples = batch_size * trainer.world_size * trainer.accumulate_grad_batches if batch_size else None
    tokens_per_sample = getattr(data, "tokens_per_sample", None)
    return Clock(
        total=int(total) if 0 < total < math.inf else None,
        epoch=math.ceil(batches / trainer.accumulate_grad_batches) if batches < math.inf else None,
        samples=samples,
        tokens=samples * tokens_per_sample if samples and tokens_per_sample else None,
    )


def configure_optimizers(self: pl.LightningModule) -> dict[str, Any]:
    """For a LightningModule of one's own, in its body: `configure_optimizers = kasoku.configure_optimizers`.

    It needs `self.recipe`, a `kasoku.Recipe`; train.py sets it.
    """
    return self.recipe.configure(self, clock_of(self.trainer))  # type: ignore[operator, union-attr]
