"""Characters of Shakespeare: seconds to nanoGPT's validation loss, by its own recipe and by experiment=shakespeare.

Same net, batch and data; whole validation split; optimizer steps alone are timed (evaluation is not), in CPU seconds of
the process and by the wall clock. The baseline's time ends at the evaluation that first shows the loss, or at its end.
The text is looked for as `bench.runs.text_file` says; another one than tinyshakespeare.txt has another loss to reach.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

from bench.runs import Built, quieten, text_file
from bench.spent import Spent
from bench.timing import summary

GOAL = 1.92  # nats; nanoGPT's script ends there after its 2000 steps
SEEDS = range(5)


def main() -> None:
    """Print a line a run, then how many times faster the goal was reached."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.WARNING)
    print(f"{'recipe':<22} seed   steps   val/loss   CPU s   wall s   target: {GOAL} in a fifth of the baseline's time")
    baseline = measure("shakespeare_baseline", 0)
    runs = [measure("shakespeare", seed) for seed in SEEDS]
    reached = [run for run in runs if run.reached]
    print(f"{len(reached)} of {len(runs)} seeds reached {GOAL}")
    if len(reached) > 1:
        for unit in ("cpu", "wall"):
            faster = summary([getattr(baseline, unit) / getattr(run, unit) for run in reached])
            print(
                f"{faster.median:.2f} times faster in {unit} seconds ({faster.low:.2f} to {faster.high:.2f})",
                flush=True,
            )


@dataclass
class Reached:
    """Where a run was when it first showed the goal, or at its end."""

    steps: int
    loss: float
    cpu: float
    wall: float

    @property
    def reached(self) -> bool:
        return self.loss <= GOAL


def measure(experiment: str, seed: int) -> Reached:
    """Train by `experiment`; prints a line."""
    watch = Watch()
    given = (f"experiment={experiment}", f"data.path={text_file()}", f"seed={seed}")
    with tempfile.TemporaryDirectory() as folder:
        Built(*given).fit(Path(folder), [watch], "trainer.num_sanity_val_steps=0")
    found = next((point for point in watch.points if point.reached), watch.points[-1])
    print(
        f"{experiment:<22} {seed:>4} {found.steps:>7} {found.loss:>10.4f} {found.cpu:>7.1f} {found.wall:>8.1f}",
        flush=True,
    )
    return found


class Watch(Spent):
    """The seconds of training before each evaluation, and what that showed."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Reached] = []

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        self.points.append(Reached(trainer.global_step, loss, self.cpu, self.wall))
        super().on_validation_end(trainer, module)


if __name__ == "__main__":
    main()
