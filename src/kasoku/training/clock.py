"""The run's clock: how many optimizer steps it has, an epoch has, and what one of them consumes."""

import math
from typing import Any

import pytorch_lightning as pl

from kasoku.durations import Clock
from kasoku.faults import ConfigError, Fault
from kasoku.recipe import Recipe
from kasoku.training.batch_norm import training_batches
from kasoku.training.loops import FitLoop, accumulated, accumulation_varies
from kasoku.training.observe import flow_of, materialise, uninitialised
from kasoku.training.position import Position


def clock_of(trainer: pl.Trainer) -> Clock:
    """The clock of the fit that `trainer` is setting up; accumulation, devices and limits are counted in.

    The total of a resumed run is what it has done and what is left as it is configured now. It is None where nobody can
    know it: with max_time alone, or with data that has no length. An epoch, and what a step consumes, are None where
    epochs differ in the batches that a step accumulates. A module that optimizes by hand takes any number of optimizer
    steps in a batch: there a step of the clock is a batch, or a step of any of the optimizers where trainer.max_steps
    ends the run.

    Raises:
        ConfigError: such a module's run has both trainer.max_steps and trainer.max_epochs: its end is not known.
    """
    trainer.fit_loop.setup_data()  # Lightning does it here only where max_epochs is given, and knows no epoch before
    if _counts_by_hand(trainer):
        return Clock(total=_total_by_hand(trainer))
    batches = trainer.num_training_batches
    data: Any = trainer.datamodule
    batch_size = None if accumulation_varies(trainer) else getattr(data, "batch_size", None)
    samples = batch_size * trainer.world_size * trainer.accumulate_grad_batches if batch_size else None
    tokens_per_sample = getattr(data, "tokens_per_sample", None)
    return Clock(
        total=_total(trainer, batches),
        epoch=None if accumulation_varies(trainer) or batches == math.inf else _steps(trainer, 0, batches),
        samples=samples,
        tokens=samples * tokens_per_sample if samples and tokens_per_sample else None,
        has_length=batches < math.inf,
    )


def _total(trainer: pl.Trainer, batches: int | float) -> int | None:
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs not in (None, -1) and batches < math.inf:
        limits.append(_steps_of_epochs(trainer, batches))
    return min(limits, default=None)


def _total_by_hand(trainer: pl.Trainer) -> int:
    if trainer.max_epochs not in (None, -1):
        must = "counts the steps of all optimizers of a module that optimizes by hand; which limit comes first is open"
        fix = "leave it out, or trainer.max_epochs"
        raise ConfigError(Fault("trainer.max_steps", trainer.max_steps, must, fix))
    return trainer.max_steps


def _steps_of_epochs(trainer: pl.Trainer, batches: int | float) -> int:
    """The steps that are done, and those up to the end of max_epochs."""
    loop = trainer.fit_loop
    start = loop.start if isinstance(loop, FitLoop) else Position()
    first, steps = start.epochs, start.steps if trainer.lightning_module.automatic_optimization else start.rows
    left = range(first, trainer.max_epochs)
    if accumulation_varies(trainer):
        steps += sum(_steps(trainer, epoch, batches) for epoch in left)
    else:
        steps += len(left) * _steps(trainer, first, batches)
    begun = loop.batches_done if isinstance(loop, FitLoop) and loop.start.inside else 0
    return steps - (_steps(trainer, first, begun) if begun == batches else begun // accumulated(trainer, first))


def _steps(trainer: pl.Trainer, epoch: int, batches: int | float) -> int:
    """The steps of `batches` batches that an epoch ends with."""
    return math.ceil(batches / accumulated(trainer, epoch))


def steps_of(trainer: pl.Trainer) -> int:
    """The steps done so far, as the run's clock counts them."""
    return trainer.global_step if _counts_by_hand(trainer) else rows_of(trainer)


def rows_of(trainer: pl.Trainer) -> int:
    """The steps done so far as loggers count them: of the optimizer; batches where the module optimizes by hand."""
    automatic = trainer.lightning_module.automatic_optimization
    return trainer.global_step if automatic else trainer.fit_loop.epoch_loop.batch_progress.total.processed


def _counts_by_hand(trainer: pl.Trainer) -> bool:
    return not trainer.lightning_module.automatic_optimization and trainer.max_steps > 0


def recipe_of(module: pl.LightningModule) -> Recipe:
    """The recipe of `module`.

    Raises:
        ConfigError: it has none.
    """
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        fix = "set it before trainer.fit: module.recipe = kasoku.Recipe(partial(torch.optim.AdamW, lr=0.001))"
        raise ConfigError(Fault("model", type(module).__qualname__, "has no recipe to be trained by", fix))
    return recipe


def configure_optimizers(self: pl.LightningModule) -> dict[str, Any]:
    """For a LightningModule of one's own, in its body: `configure_optimizers = kasoku.configure_optimizers`.

    It needs `self.recipe`, a `kasoku.Recipe`; the command sets it.

    Raises:
        ConfigError: there is none, or it does not fit the module or the run.
    """
    recipe = recipe_of(self)
    clock = clock_of(self.trainer)
    if uninitialised(self):
        materialise(self, next(iter(training_batches(self.trainer, 1))))
    return recipe.configure(self, clock, flow_of(self.trainer, self) if recipe.needs_flow else None)
