"""The schedule before it is trained: schedule.csv, schedule.png, a chart in the terminal, and the parameter groups."""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer

from kasoku.optim import groups
from kasoku.training.clock import clock_of
from kasoku.training.run import Run
from kasoku.training.step_log import drives_of, settings

UNBOUNDED = 1000  # steps drawn where the run has no horizon
BLOCKS = " ▁▂▃▄▅▆▇█"


class _Ready(Exception):
    """Everything is set up as for training; nothing is trained."""


class _StopBeforeTraining(Callback):
    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        raise _Ready


def preview(run: Run) -> None:
    """Write `schedule.csv` and `schedule.png` into the run's directory and print what they show.

    The values are those of the very optimizer and scheduler that training would use, moved from step to step.
    """
    trainer = _set_up(run)
    optimizer, scheduler = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
    steps = clock_of(trainer).total or UNBOUNDED
    columns: dict[str, list[float]] = {}
    for step in range(steps):
        scheduler.move_to(step)  # type: ignore[union-attr]
        for name, value in settings(optimizer, drives_of(trainer)).items():
            columns.setdefault(name, []).append(value)
    _write(run.directory / "schedule.csv", columns)
    draw(run.directory / "schedule.png", columns)
    console = Console(highlight=False)
    console.print(group_table(run.module, optimizer))
    for name, values in columns.items():
        print(chart(name, values, width=min(72, console.width - 22)))
    print(f"{steps} steps; schedule.csv and schedule.png lie in {run.directory}")


def _set_up(run: Run) -> pl.Trainer:
    trainer = run.trainer(
        callbacks=[_StopBeforeTraining()],
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


def _write(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *columns])
        writer.writerows([step, *row] for step, row in enumerate(zip(*columns.values(), strict=True)))


def draw(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """One panel a setting, over the optimizer steps."""
    figure, panels = _pyplot().subplots(len(columns), 1, sharex=True, squeeze=False, figsize=(7, 1 + 2 * len(columns)))
    for panel, (name, values) in zip(panels[:, 0], columns.items(), strict=True):
        panel.plot(values, linewidth=1.5, color="#2563eb")
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0 if name.startswith("lr") else None)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("optimizer step")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    _pyplot().close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def chart(name: str, values: Sequence[float], width: int = 72, height: int = 8) -> str:
    """`values` as a small chart of block characters, the y axis from 0 (or the least value) to the greatest."""
    columns = [values[i * len(values) // width] for i in range(width)] if len(values) > width else list(values)
    top, bottom = max(columns), min(0.0, *columns) if name.startswith("lr") else min(columns)
    span = (top - bottom) or 1.0
    eighths = [round((value - bottom) / span * height * 8) for value in columns]
    rows = []
    for row in range(height, 0, -1):
        label = top if row == height else bottom if row == 1 else None
        cells = "".join(BLOCKS[min(max(level - (row - 1) * 8, 0), 8)] for level in eighths)
        rows.append(f"{name if row == height else '':>10} {'' if label is None else f'{label:.3g}':>9} |{cells}")
    return "\n".join(rows)


def group_table(module: pl.LightningModule, optimizer: Optimizer) -> Table:
    """The parameter groups: name, tensors, parameters, base lr and weight decay."""
    columns = ("group", "tensors", "parameters", "lr", "weight decay")
    shown = Table(*columns, title="parameter groups", title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in groups.table(module, optimizer.param_groups):
        shown.add_row(row.name, str(row.tensors), f"{row.parameters:,}", f"{row.lr:g}", f"{row.weight_decay:g}")
    return shown
