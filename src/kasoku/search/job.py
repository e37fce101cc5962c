"""Messages between a sweep and the process of a trial: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A trial to run. `metrics` are reported at each evaluation; `gpus` None leaves the machine's as they are.

    `scratch` is for its temporary files, and is removed once it has ended: it leaves without a word to its finalizers.
    """

    number: int
    overrides: tuple[str, ...]
    parameters: Mapping[str, Any]
    directory: Path
    metrics: tuple[str, ...]
    threads: int
    gpus: tuple[str, ...] | None
    scratch: Path


@dataclass(frozen=True)
class Start:
    """The start of a trial, as the study keeps it."""

    overrides: list[str]
    parameters: dict[str, Any]
    directory: str
    owner: str


@dataclass(frozen=True)
class End:
    """The end of a trial. `state` is a run's status, or lost; `values` are those of the objectives.

    `measures` are further figures that the sweep keeps of each trial.
    """

    state: str
    reason: str = ""
    values: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    measures: dict[str, float | None] = field(default_factory=dict)
