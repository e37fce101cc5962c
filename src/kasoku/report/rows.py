"""Runs that differ in the seed alone, brought together in one row, best first."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kasoku.faults import ConfigError, unknown
from kasoku.report.runs import Found, settings

Cells = dict[str, Any]

EVALUATION = {"trainer.num_sanity_val_steps", "trainer.val_check_interval", "trainer.check_val_every_n_epoch"}
DEFAULT = "default"  # the word for a group of the configuration that a run did not choose


@dataclass(frozen=True)
class Row:
    """The runs of one configuration, the best first. `settings`: its values of what differs between the rows."""

    runs: Sequence[Found]
    settings: Mapping[str, str]

    @property
    def metric(self) -> str:
        best = self.runs[0].result.best
        return best.metric if best else ""

    @property
    def values(self) -> list[float]:
        return [run.value for run in self.runs if run.value is not None and math.isfinite(run.value)]

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds, None with fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def hits(self) -> int | None:
        """The number of runs that reached the target; None where it has no value."""
        asked = [run for run in self.runs if run.result.target and run.result.target.value is not None]
        return sum(run.result.time_to_target is not None for run in asked) if asked else None

    @property
    def seconds_to_target(self) -> float | None:
        """The median, a run that missed counting as infinite."""
        times = [t.seconds if (t := run.result.time_to_target) else math.inf for run in self.runs]
        return None if self.hits is None and not any(map(math.isfinite, times)) else statistics.median(times)

    @property
    def status(self) -> str:
        counts = Counter(run.status for run in self.runs)
        return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {word}" for word, n in counts.items())

    def cells(self) -> Cells:
        """Every column by its name; None for what is not known."""
        return {
            "run": str(self.runs[0].path),
            "n": len(self.runs),
            "status": self.status,
            "metric": self.metric,
            "median": self.median,
            "spread": self.spread,
            "best": self.runs[0].value,
            "hits": self.hits,
            "steps": _median([run.result.steps for run in self.runs]),
            "train_seconds": _median([run.result.train_seconds for run in self.runs]),
            "seconds_to_target": self.seconds_to_target,
            **self.settings,
        }


def rows(runs: Sequence[Found]) -> list[Row]:
    """`runs` by their configurations, best first by the median and the target's own direction, metric by metric."""
    groups: dict[Any, list[Found]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    leaders = [group[0] for group in groups.values()]
    found = [Row(sorted(g, key=_rank), own) for g, own in zip(groups.values(), differing(leaders), strict=True)]
    return sorted(found, key=_row_rank)


def by_columns(found: Sequence[Row], names: Sequence[str] | None = None, sort: str = "") -> list[Cells]:
    """The cells of the rows: all or those of `names`, in the given order or by the column `sort`, "-" before it: down.

    Raises:
        ConfigError: no such column.
    """
    cells = [row.cells() for row in found]
    known = list(cells[0])
    faults = [_unknown("--columns", name, known) for name in names or () if name not in known]
    by = sort.removeprefix("-")
    if by and by not in known:
        faults.append(_unknown("--sort", by, known))
    if faults:
        raise ConfigError(*faults)
    if by:
        cells = _sorted(cells, by, down=sort.startswith("-"))
    return [{name: line[name] for name in names or known} for line in cells]


def differing(runs: Sequence[Found]) -> list[dict[str, str]]:
    """For each run its values of what differs between `runs`, by the keys that a command would give.

    A choice (optimizer=adamw) stands for all the keys that it decides; of keys that no command gave, those that follow
    from the ones that were given are left out, and of those that say when to evaluate, where they tell nothing apart.
    """
    flat = [settings(run.blocks, sorted(_differing_blocks(runs))) for run in runs]
    differ = [key for key in _keys(flat) if len({repr(values.get(key)) for values in flat}) > 1]
    lines = [run.overrides for run in runs]
    said = [key for key in _keys(lines) if _matters(key, runs, differ, lines)]
    columns: dict[str, list[str]] = {key: [_said(key, o, f) for o, f in zip(lines, flat, strict=True)] for key in said}
    for key in differ:
        if not any(key == name or key.startswith(f"{name}.") for name in said):
            values = [_text(f.get(key)) for f in flat]
            if not _follows(values, list(columns.values())):
                columns[key] = values
    for key in EVALUATION & columns.keys():
        if _follows(columns[key], [column for other, column in columns.items() if other != key]):
            del columns[key]
    return [{key: column[i] for key, column in columns.items()} for i in range(len(runs))]


def _matters(key: str, runs: Sequence[Found], differ: Sequence[str], lines: Sequence[Mapping[str, str]]) -> bool:
    """True if the override `key` makes a difference: in the configurations, or, where a run has none, as it is said."""
    if len({line.get(key) for line in lines}) == 1:
        return False
    decided = any(other == key or other.startswith(f"{key}.") for other in differ)
    return decided or key == "experiment" or not all(run.blocks for run in runs)


def _differing_blocks(runs: Sequence[Found]) -> set[str]:
    names = {name for run in runs for name in run.blocks}
    return {name for name in names if len({run.blocks.get(name) for run in runs}) > 1}


def _said(key: str, overrides: Mapping[str, str], flat: Mapping[str, Any]) -> str:
    """The value of `key`: as the command gave it, else as the configuration has it."""
    if key in overrides:
        return overrides[key]
    if key in flat:
        return _text(flat[key])
    target = flat.get(f"{key}._target_")
    return str(target).rpartition(".")[2] if target else DEFAULT


def _follows(values: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """True if what stands in `columns` decides `values`."""
    given = list(zip(*columns, strict=True))
    decided = dict(zip(given, values, strict=False))
    return bool(columns) and all(decided[key] == value for key, value in zip(given, values, strict=True))


def _keys(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _identity(run: Found) -> Any:
    """The same for runs that differ in the seed alone."""
    if run.blocks:
        return tuple(sorted(run.blocks.items()))
    return tuple(sorted(line for line in run.result.overrides if not line.lstrip("+").startswith("seed=")))


def _rank(run: Found) -> tuple[bool, float]:
    """Best first, by the target's own direction; runs without a value, or that do not say their target, last."""
    value, target = run.value, run.result.target
    if value is None or target is None or math.isnan(value):
        return True, 0.0
    return False, value if target.mode == "min" else -value


def _row_rank(row: Row) -> tuple[bool, str, float]:
    target = row.runs[0].result.target
    if row.median is None or target is None:
        return True, "", 0.0
    return False, row.metric, row.median if target.mode == "min" else -row.median


def _sorted(cells: list[Cells], by: str, down: bool) -> list[Cells]:
    """By numbers where all are some, else by texts; what is not known comes last either way."""
    known = [line for line in cells if line[by] not in (None, "")]
    others = [line for line in cells if line[by] in (None, "")]
    numeric = all(is_number(line[by]) for line in known)
    known.sort(key=lambda line: float(line[by]) if numeric else str(line[by]), reverse=down)
    return known + others


def is_number(value: object) -> bool:
    """True for a number, or a text that reads as one."""
    try:
        return not math.isnan(float(str(value)))
    except ValueError:
        return False


def _unknown(option: str, name: str, known: Sequence[str]) -> Any:
    return unknown(option, name, name, known, "no such column, the columns are")


def _median(numbers: Sequence[float]) -> float:
    return statistics.median(numbers)


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
