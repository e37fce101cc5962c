"""What a run leaves for people and programs: `result.json`. Plain data, no torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kasoku.files import write_text

Status = Literal["completed", "reached_target", "interrupted", "diverged", "failed", "pruned"]


@dataclass
class Best:
    """The best value of the target's metric, and the number of optimizer steps after which it was measured."""

    metric: str
    value: float
    step: int


@dataclass
class TimeToTarget:
    """When the target was reached first: optimizer steps, samples and seconds of training before that evaluation."""

    metric: str
    value: float
    steps: int
    samples: int
    seconds: float


@dataclass
class Result:
    """The content of `result.json`.

    `steps` are optimizer steps, `samples` training samples over all devices, `train_seconds` the time spent in
    optimizer steps alone, `total_seconds` everything from the command's start; `parameters` are the trainable ones.
    """

    status: Status = "failed"
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

    def write(self, directory: Path) -> None:
        """Write `directory`/result.json. A number that is not finite is written as null: JSON has no word for it."""
        write_text(directory / "result.json", json.dumps(_finite(asdict(self)), indent=2) + "\n")


def read(directory: Path) -> dict[str, Any]:
    """The content of `directory`/result.json.

    Raises:
        FileNotFoundError: no run ended there.
    """
    return json.loads((directory / "result.json").read_text())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
