"""The result that a run leaves for people and programs, `result.json`. Plain data, no torch."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from kasoku.files import write_text

Status = Literal["completed", "reached_target", "interrupted", "diverged", "failed", "pruned"]

COSTS = {"error", "err", "mse", "mae", "rmse", "mape", "msle", "nll", "perplexity", "ppl", "wer", "cer", "fid", "brier"}
GAINS = {"acc", "accuracy", "f1", "auroc", "auc", "precision", "recall", "r2", "iou", "dice", "map", "bleu", "mcc"}

Mode = Literal["min", "max"]


def better(mode: str, value: float, than: float) -> bool:
    """True if `value` is greater than `than`, or less with the mode min. Any number is better than nan."""
    if math.isnan(than):
        return not math.isnan(value)
    return value > than if mode == "max" else value < than


@dataclass(frozen=True)
class Target:
    """The goal of a run: `metric` at least `value` (at most, with mode min). With `stop` the run ends there."""

    metric: str
    value: float | None = None
    mode: Mode = "max"
    stop: bool = False

    def better(self, value: float, than: float) -> bool:
        return better(self.mode, value, than)

    def reached(self, value: float) -> bool:
        return self.value is not None and (value == self.value or self.better(value, self.value))


@dataclass
class Best:
    """The best value of the target's metric, and the number of optimizer steps after which it was measured."""

    metric: str
    value: float
    step: int


@dataclass
class TimeToTarget:
    """The moment the target was reached: optimizer steps, samples, seconds of training.

    It lies between two evaluations, where the straight line between their values meets the target, so that steps have
    fractions. `confirmed`: the evaluation after it found the target reached as well; there is none if the run ended.
    """

    metric: str
    value: float
    steps: float
    samples: int
    seconds: float
    confirmed: bool = False


@dataclass
class Result:
    """The content of `result.json`.

    `steps` are optimizer steps, `samples` training samples over all devices, `train_seconds` the time spent in
    optimizer steps alone, `total_seconds` everything from the command's start; `parameters` are the trainable ones.
    `spent` splits the seconds since the start of the process that ended the run.
    """

    status: Status = "failed"
    target: Target | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    steps: int = 0
    epochs: float = 0.0
    samples: int = 0
    train_seconds: float = 0.0
    total_seconds: float = 0.0
    time_to_target: TimeToTarget | None = None
    seed: int = 0
    overrides: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    parameters: int = 0
    spent: dict[str, float] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write `directory`/result.json. A number that is not finite is written as null: JSON has no word for it."""
        write_text(directory / "result.json", json.dumps(finite(asdict(self)), indent=2) + "\n")


def is_cost(metric: str) -> bool:
    """True if the name of a metric says that less of it is better: val/loss, val_rmse, perplexity, ..."""
    return "loss" in metric or not COSTS.isdisjoint(re.split(r"[^a-z]+", metric.lower()))


def contradicts(metric: str, mode: str) -> bool:
    """True if the name of a metric says the opposite of `mode`: val/loss with max, val/acc with min."""
    if mode == "max":
        return is_cost(metric)
    return not is_cost(metric) and not GAINS.isdisjoint(re.split(r"[^a-z0-9]+", metric.lower()))


def read(directory: Path) -> Result:
    """The result in `directory`. A field that the file lacks has its default; one that is not known is left out.

    Raises:
        FileNotFoundError: no run ended there.
        ValueError: the file is no result.
    """
    content = json.loads((directory / "result.json").read_text())
    if not isinstance(content, dict) or "status" not in content:
        raise ValueError(f"{directory / 'result.json'} is no result of a run")
    names = {field.name for field in fields(Result)}
    values = {name: value for name, value in content.items() if name in names}
    parts = {"target": Target, "best": Best, "time_to_target": TimeToTarget}
    made = {name: part(**values[name]) for name, part in parts.items() if values.get(name)}
    return Result(**values | made)


def has_ended(directory: Path) -> bool:
    """True if the run in `directory` came to its own end, its test included."""
    try:
        return read(directory).status in ("completed", "reached_target")
    except (OSError, ValueError):
        return False


def finite(value: Any) -> Any:
    """`value` with null for every number in it that is not finite: JSON has no word for it."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
