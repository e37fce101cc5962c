"""Runs read back from their directories, those in progress too: plain data, no torch."""

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from kasoku import results
from kasoku.faults import ConfigError, Fault
from kasoku.results import Best, Result, Target

UNFINISHED = "unfinished"  # the status of a run that has left no result: it trains, or was killed
CLOSED = ("checkpoints", "wandb", "tensorboard", "__pycache__")  # folders of a run that hold no runs
HEAD = "# overrides: "
# Blocks of config.yaml that do not decide how a run trains: where it is logged, which sweep it is of, what is trusted.
ASIDE = {"seed", "logger", "sweeper", "search", "race", "launcher", "trial", "trust", "resume", "hydra", "mode"}
ASIDE |= {"tags", "verbosity", "export"}

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Found:
    """A run, and where it lies as seen from the folders that were asked for.

    `blocks`: the text of each part of its config.yaml that decides how it trains; empty where there is no such file.
    """

    path: Path
    directory: Path
    result: Result
    status: str
    blocks: Mapping[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, str]:
        """The overrides by their keys, the last of each; without the seed."""
        pairs = (override.lstrip("+~").partition("=") for override in self.result.overrides)
        return {key: value for key, _, value in pairs if key != "seed"}

    @property
    def value(self) -> float | None:
        return self.result.best.value if self.result.best else None


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


def find(*folders: Path) -> list[Found]:
    """Every run at or below `folders`, each once, by their paths. A result that cannot be read is passed over.

    Raises:
        ConfigError: there is no such folder, or no run in any of them.
    """
    if faults := [Fault("directory", folder, "no such directory") for folder in folders if not folder.is_dir()]:
        raise ConfigError(*faults)
    found: dict[Path, Found] = {}
    for folder in folders:
        for directory in directories(folder):
            shown = directory.relative_to(folder) if len(folders) == 1 else directory
            if directory.resolve() not in found and (run := read(directory, shown)):
                found[directory.resolve()] = run
    if not found:
        must = "no run has begun in it: there is no result.json, and no config.yaml with a metrics.csv"
        raise ConfigError(*(Fault("directory", folder, must) for folder in folders))
    return list(found.values())


def directories(folder: Path) -> Iterator[Path]:
    """The directories of runs at or below `folder`."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in CLOSED)
        if is_run(files):
            yield Path(path)


def is_run(files: Sequence[str]) -> bool:
    """True if a directory with these `files` is one of a run."""
    return "result.json" in files or {"config.yaml", "metrics.csv"} <= set(files)


def read(directory: Path, shown: Path | None = None) -> Found | None:
    """The run in `directory`, `shown` as given; None where its files cannot be read."""
    try:
        blocks, lines = _config(directory / "config.yaml")
        if (directory / "result.json").exists():
            result = results.read(directory)
            status: str = result.status
        else:
            result, status = _so_far(directory, blocks, lines), UNFINISHED
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    decisive = {name: text for name, text in blocks.items() if name not in ASIDE}
    return Found(shown or directory, directory, result, status, decisive)


def settings(blocks: Mapping[str, str], names: Sequence[str] | None = None) -> dict[str, Any]:
    """The values in these `blocks` of a configuration (of these `names`), by their dotted keys."""
    chosen = blocks if names is None else [name for name in names if name in blocks]
    return {key: value for name in chosen for key, value in _flat(blocks[name])}


def _config(path: Path) -> tuple[dict[str, str], list[str]]:
    """The blocks of a config.yaml by their names, and the overrides in its head; nothing where there is no file."""
    if not path.exists():
        return {}, []
    text = path.read_text()
    blocks = re.split(r"(?m)^(?=[A-Za-z_])", text)
    lines = [line for line in blocks[0].splitlines() if line.startswith(HEAD)]
    overrides = json.loads(lines[0].removeprefix(HEAD)) if lines else []
    return {block.partition(":")[0]: block for block in blocks[1:]}, overrides


@lru_cache(maxsize=4096)
def _flat(block: str) -> tuple[tuple[str, Any], ...]:
    return tuple(_leaves("", yaml.load(block, _Loader)))


def _leaves(prefix: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), value)
    else:
        yield prefix, json.dumps(node) if isinstance(node, list | dict) else node


def _so_far(directory: Path, blocks: Mapping[str, str], overrides: list[str]) -> Result:
    """The state of a run without a result, out of its metrics.csv."""
    said = settings(blocks, ["target", "seed"])
    result = Result(seed=int(said.get("seed") or 0), overrides=overrides)
    found, steps = metrics(directory), 0
    for row in _rows(directory / "metrics.csv"):
        steps = int(row["step"]) + 1
    result.steps = steps
    result.metrics = {name: column.last for name, column in found.items()}
    name, mode = said.get("target.metric"), said.get("target.mode")
    if name is None or mode not in ("min", "max"):
        return result
    result.target = Target(name, said.get("target.value"), mode, bool(said.get("target.stop")))
    if column := found.get(name):
        best = (column.least, column.least_step) if mode == "min" else (column.greatest, column.greatest_step)
        result.best = Best(name, best[0], best[1] + 1)
    return result


def metrics(directory: Path) -> dict[str, Column]:
    """The range of each metric in `directory`/metrics.csv; read row by row, however long it is."""
    columns: dict[str, Column] = {}
    for row in _rows(directory / "metrics.csv"):
        step = int(row["step"])
        for name, text in row.items():
            if text and name not in ("step", "epoch"):
                columns.setdefault(name, Column()).add(float(text), step)
    return columns


def curves(directory: Path, most: int = 200) -> dict[str, tuple[list[int], list[float]]]:
    """Optimizer steps done and values of each metric in metrics.csv, thinned to about `most` points, both ends kept."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in _rows(directory / "metrics.csv"):
        for name, text in row.items():
            if text and name not in ("step", "epoch"):
                steps, values = found.setdefault(name, ([], []))
                steps.append(int(row["step"]) + 1)
                values.append(float(text))
    return {name: (_thinned(steps, most), _thinned(values, most)) for name, (steps, values) in found.items()}


def _thinned(values: list[Any], most: int) -> list[Any]:
    last = len(values) - 1
    return values if last < most else [values[round(i * last / (most - 1))] for i in range(most)]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows that are whole: the last one of a run in progress may be cut."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if None not in row.values() and None not in row:
                yield row
