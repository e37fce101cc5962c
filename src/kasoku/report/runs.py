"""Runs read back from their directories: plain data, no torch."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasoku.faults import ConfigError, Fault


@dataclass(frozen=True)
class Finished:
    """A run that left its result: where it lies below the folder that was asked for, and what `result.json` says."""

    path: Path
    result: dict[str, Any]

    @property
    def best(self) -> float | None:
        """The best value of the target's metric."""
        best = self.result.get("best")
        return best["value"] if best else None

    @property
    def seconds_to_target(self) -> float | None:
        reached = self.result.get("time_to_target")
        return reached["seconds"] if reached else None


@dataclass
class Column:
    """A metric over a run: number of values, least, greatest, last, and the steps of the least and greatest."""

    count: int = 0
    least: float = float("inf")
    greatest: float = float("-inf")
    last: float = float("nan")
    least_step: int = 0
    greatest_step: int = 0

    def add(self, value: float, step: int) -> None:
        self.count += 1
        self.last = value
        if value < self.least:
            self.least, self.least_step = value, step
        if value > self.greatest:
            self.greatest, self.greatest_step = value, step


def find(folder: Path) -> list[Finished]:
    """Every run at or below `folder`, in the order of their paths. A result that cannot be read is passed over.

    Raises:
        ConfigError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ConfigError(Fault("directory", folder, "no such directory"))
    found = [run for path in sorted(folder.rglob("result.json")) if (run := _read(path, folder))]
    if not found:
        raise ConfigError(Fault("directory", folder, "no run has ended in it: there is no result.json"))
    return found


def _read(path: Path, folder: Path) -> Finished | None:
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return (
        Finished(path.parent.relative_to(folder), result) if isinstance(result, dict) and "status" in result else None
    )


def metrics(directory: Path) -> dict[str, Column]:
    """What `directory`/metrics.csv says of each metric; read row by row, however long it is."""
    columns: dict[str, Column] = {}
    for row in _rows(directory / "metrics.csv"):
        step = int(row["step"])
        for name, text in row.items():
            if text and name not in ("step", "epoch"):
                columns.setdefault(name, Column()).add(float(text), step)
    return columns


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)
