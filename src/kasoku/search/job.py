"""What a sweep hands to the process of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader


@dataclass(frozen=True)
class Source:
    """How the configuration of a trial is composed: as Hydra composes that of the command."""

    loader: ConfigLoader
    name: str
    job: str
    hydra_overrides: tuple[str, ...]
    conf_dir: str


@dataclass(frozen=True)
class Job:
    """A trial to run. `metrics` are reported at each evaluation; `gpus` None leaves the machine's as they are."""

    number: int
    overrides: tuple[str, ...]
    parameters: Mapping[str, Any]
    directory: Path
    metrics: tuple[str, ...]
    threads: int
    gpus: tuple[str, ...] | None


def run(job: Job, source: Source, sweep: Connection) -> None:
    """The trial's process. What it imports is there already: see `kasoku.search.preload`."""
    from kasoku.search import trial

    trial.main(job, source, sweep)
