"""The schedule before it is trained: schedule.csv, schedule.png, a chart in the terminal, and the parameter groups."""

import contextlib
import warnings
from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.table import Table

from kasoku.optim.bridge import DrivenLR
from kasoku.optim.table import Row, named_groups
from kasoku.training.accumulation import says_the_horizon
from kasoku.training.clock import clock_of
from kasoku.training.narrator import group_rows, notes
from kasoku.training.pictures import chart, draw_schedule, write_columns
from kasoku.training.refusals import refusals
from kasoku.training.run import Run
from kasoku.training.step_log import drives_of, settings
from kasoku.training.takeover import check_heard, is_driven

UNBOUNDED = 1000  # steps drawn where the run has no horizon


class _Ready(Exception):
    """Everything is set up as for training; nothing is trained."""


class _StopBeforeTraining(Callback):
    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        raise _Ready


def preview(run: Run) -> None:
    """Write `schedule.csv` and `schedule.png` into the run's directory and print what they show.

    The values are those of the very optimizer and scheduler that training would use, moved from step to step. Schedules
    of the module's own are stepped as Lightning steps them; those that look at a metric, or that the module steps
    itself, are named and not drawn.
    """
    trainer = _set_up(run)
    check_heard(trainer, run.overrides)
    clock = clock_of(trainer)
    steps = clock.total or UNBOUNDED
    move, unseen = (_driven(trainer), []) if is_driven(trainer) else _own(trainer, clock.epoch)
    columns: dict[str, list[float]] = {}
    for step in range(steps):
        move(step)
        for name, value in settings(named_groups(run.module, trainer.optimizers), drives_of(trainer)).items():
            columns.setdefault(name, []).append(value)
    write_columns(run.directory / "schedule.csv", {"step": range(steps), **columns})
    if columns:
        draw_schedule(run.directory / "schedule.png", columns)
    console = Console(highlight=False)
    console.print(group_table(group_rows(trainer)))
    for line in [*notes(trainer), *(f"{name} cannot be drawn: it depends on the training" for name in unseen)]:
        console.print(line, markup=False)
    for name, values in columns.items():
        print(chart(name, values, width=min(72, console.width - 22)))
    print(f"{steps} steps; schedule.csv and schedule.png are in {run.directory}")


def _driven(trainer: pl.Trainer) -> Callable[[int], None]:
    schedulers = [c.scheduler for c in trainer.lr_scheduler_configs if isinstance(c.scheduler, DrivenLR)]

    def move(step: int) -> None:
        for scheduler in schedulers:
            scheduler.move_to(step)

    return move


def _own(trainer: pl.Trainer, epoch: int | None) -> tuple[Callable[[int], None], list[str]]:
    """A function that brings schedules of the module's own to the next step, and the names of those left out."""
    configs = trainer.lr_scheduler_configs
    by_hand = not trainer.lightning_module.automatic_optimization
    unseen = [c for c in configs if c.reduce_on_plateau or by_hand or not hasattr(c.scheduler, "get_last_lr")]

    def move(step: int) -> None:
        for config in (config for config in configs if config not in unseen and step):
            every = config.frequency * (1 if config.interval == "step" else epoch or UNBOUNDED)
            if step % every == 0:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that no optimizer step came before
                    config.scheduler.step()  # type: ignore[call-arg]

    return move, [type(config.scheduler).__name__ for config in unseen]


def _set_up(run: Run) -> pl.Trainer:
    with refusals(run):
        trainer = run.trainer(
            callbacks=[*filter(says_the_horizon, run.callbacks), _StopBeforeTraining()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=run.directory,
        )
        with contextlib.suppress(_Ready):
            trainer.fit(run.module, datamodule=run.data)
    return trainer


def group_table(rows: list[Row]) -> Table:
    """The parameter groups: name, tensors, parameters, base lr and weight decay."""
    columns = ("group", "tensors", "parameters", "lr", "weight decay")
    shown = Table(*columns, title="parameter groups", title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(row.name, str(row.tensors), f"{row.parameters:,}", f"{row.lr:g}", f"{row.weight_decay:g}")
    return shown
