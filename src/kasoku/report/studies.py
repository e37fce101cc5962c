"""Races and sweeps read back from race.json and sweep.json: plain data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasoku.report.runs import CLOSED
from kasoku.results import is_cost

RACE, SWEEP = "race.json", "sweep.json"


@dataclass(frozen=True)
class Study:
    """A race or a sweep: its directory, sweep.json, and race.json where it is a race."""

    directory: Path
    sweep: Mapping[str, Any]
    race: Mapping[str, Any] | None = None

    @property
    def lines(self) -> list[str]:
        """The outcome in words: the verdict of a race, the best command of a sweep."""
        if self.race:
            stopped = [f"the race stopped: {self.race['stopped']}"] if self.race.get("stopped") else []
            verdict = [f"{v['strategy']} v {v['baseline']}: {v['sentence']}" for v in self.race.get("verdict") or []]
            return stopped or verdict or ["the race is not over"]
        return [f"best, trial {best['number']}{self._values(best)}: {best['command']}" for best in self.bests]

    @property
    def bests(self) -> list[Mapping[str, Any]]:
        """The best trial of a sweep; of several objectives, those that no other one beats in all of them."""
        return list(self.sweep.get("best") or [])

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        return list(self.sweep.get("trials") or [])

    @property
    def metrics(self) -> list[str]:
        """The objectives by their names."""
        metric = (self.sweep.get("settings") or {}).get("metric") or "value"
        return list(metric) if isinstance(metric, list) else [metric]

    @property
    def modes(self) -> list[str]:
        """The direction of each metric, min or max; by its name in a sweep.json that has none."""
        said = self.sweep.get("modes") or []
        metrics = self.metrics
        return list(said) if len(said) == len(metrics) else ["min" if is_cost(name) else "max" for name in metrics]

    def _values(self, best: Mapping[str, Any]) -> str:
        """The values of one of several objectives, without which none of the front could be chosen."""
        values = best.get("values") or []
        told = ", ".join(f"{name} {value:.5g}" for name, value in zip(self.metrics, values, strict=False))
        return f" ({told})" if told else ""


def find(folders: Sequence[Path]) -> list[Study]:
    """The races and sweeps at or below `folders`. A file that cannot be read is passed over."""
    found = {path.parent.resolve(): path.parent for folder in folders for path in _files(folder)}
    return [study for directory in found.values() if (study := read(directory))]


def read(directory: Path) -> Study | None:
    """The sweep in `directory`; None where there is none that can be read."""
    sweep, race = _content(directory / SWEEP), _content(directory / RACE)
    return Study(directory, sweep or {}, race) if sweep or race else None


def _files(folder: Path) -> Iterator[Path]:
    """A sweep lies at most a few levels up from its trials; the folders of runs are not gone into."""
    if (folder / SWEEP).exists() or (folder / RACE).exists():
        yield folder / SWEEP
        return
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        if child.is_dir() and child.name not in CLOSED and not (child / "config.yaml").exists():
            yield from _files(child)


def _content(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
