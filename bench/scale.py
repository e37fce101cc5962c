"""A long run stays as it began: memory and time per step over 100,000 steps, and its metrics file is read in seconds.

A perceptron on the digits with a row of metrics.csv every tenth step. The baseline is the run's own first tenth.
"""

import csv
import logging
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from bench.runs import Built, quieten
from bench.timing import summary
from kasoku.training.metrics_file import MetricsFile

STEPS, PARTS, ROWS = 100_000, 20, 200_000
RUN = ("model=mlp", "data=digits", "optimizer=adamw", f"trainer.max_steps={STEPS}", "trainer.max_epochs=-1")
SELDOM = ("trainer.check_val_every_n_epoch=500", "callbacks.last.every_n_epochs=500")


def main() -> None:
    """Print the run's parts, then the time that a large metrics file takes."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.WARNING)
    samples = Samples(STEPS // PARTS)
    with tempfile.TemporaryDirectory() as folder:
        Built(*RUN, *SELDOM).fit(Path(folder), [samples])
    print(f"{STEPS} steps in {PARTS} parts   first    last   last / first   spread over the parts")
    show("CPU ms a step", samples.milliseconds)
    show("resident MB", samples.megabytes)
    metrics_file()


def show(name: str, values: list[float]) -> None:
    """First and last part; the first of all warms up and is not counted."""
    first, last = values[1], values[-1]
    _, low, high = summary(values[1:])
    print(f"{name:<25} {first:>8.3f} {last:>7.3f}   {last / first:>12.3f}   {low:.3f} to {high:.3f}")


class Samples(pl.Callback):
    """CPU time of each part of a run, and the memory at its end."""

    def __init__(self, every: int):
        self._every, self._since = every, time.process_time()
        self.milliseconds: list[float] = []
        self.megabytes: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step % self._every == 0:
            now = time.process_time()
            self.milliseconds.append(1000 * (now - self._since) / self._every)
            self.megabytes.append(resident())
            self._since = now


def resident() -> float:
    """Megabytes of this process in memory (the most so far, where the system does not tell the present number)."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def metrics_file() -> None:
    """Seconds to write, to read and to go on with a metrics file of ROWS rows."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        written = MetricsFile(Path(folder))
        for step in range(ROWS):
            written.log_metrics({"lr": 0.1, "train/loss": 1.0 / (step + 1), "epoch": step // 19}, step)
            written.save()
        state = written.state()
        written.finalize("success")
        wrote = time.process_time()
        with (Path(folder) / "metrics.csv").open(newline="") as file:
            rows = sum(1 for _ in csv.DictReader(file))
        read = time.process_time()
        MetricsFile(Path(folder)).go_on(state)
        print(f"metrics.csv of {rows} rows: written in {wrote - start:.2f} CPU s, read in {read - wrote:.2f}, ", end="")
        print(f"taken up by a resumed run in {time.process_time() - read:.2f}")


if __name__ == "__main__":
    main()
