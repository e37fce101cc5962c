"""The data of report.html: what the page shows, as plain JSON values."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kasoku import home
from kasoku.report import runs as found_runs
from kasoku.report import studies
from kasoku.report.rows import Row, rows
from kasoku.report.runs import Found
from kasoku.report.studies import Study
from kasoku.results import finite

Data = dict[str, Any]

POINTS = 30_000  # of one metric over all runs: what keeps the page of 500 runs below 5 MB
MOST, LEAST = 200, 30  # points of a curve


def gather(folders: Sequence[Path]) -> Data:
    """The content of the page of the runs, sweeps and races in `folders`.

    Raises:
        ConfigError: there is no run in them.
    """
    runs = found_runs.find(*folders)
    table = rows(runs)
    found = studies.find(folders)
    trials = {(study.directory / str(t["number"])).resolve(): (study, t) for study in found for t in study.trials}
    ordered = [run for row in table for run in row.runs]
    most = min(MOST, max(LEAST, POINTS // len(runs)))
    number = {id(run): i for i, run in enumerate(ordered)}
    shown = [_run(run, trials.get(run.directory.resolve()), most) for run in ordered]
    asked = _further(found, table)
    of_each = [[shown[number[id(run)]] for run in row.runs] for row in table]
    cells = [
        row.cells() | _of_race(own, found) | _of_search(own, asked) for row, own in zip(table, of_each, strict=True)
    ]
    return finite(
        {
            "kind": "race" if any(s.race for s in found) else "sweep" if found else "runs",
            "folders": [str(folder) for folder in folders],
            "columns": list(cells[0]),
            "own": list(table[0].settings),
            "rows": [
                {"cells": own, "runs": [number[id(run)] for run in row.runs]}
                for own, row in zip(cells, table, strict=True)
            ],
            "runs": shown,
            "targets": _targets(ordered),
            "studies": [_study(study) for study in found],
            "notes": _notes(table),
        }
    )


def _run(run: Found, of_study: tuple[Study, Mapping[str, Any]] | None, most: int) -> Data:
    result, reached = run.result, run.result.time_to_target
    done = result.steps or 0
    study, trial = of_study or (None, {})
    parameters = trial.get("parameters") or {}
    race = study.race if study else None
    strategy = parameters.get("strategy") if race else None
    entered = (race or {}).get("strategies", {}).get(strategy, {})
    return {
        "path": str(run.path),
        "status": run.status,
        "seed": result.seed,
        "value": run.value,
        "at": result.best.step if result.best else None,
        "steps": result.steps,
        "train_seconds": result.train_seconds,
        "reached": {"steps": reached.steps, "seconds": reached.seconds} if reached else None,
        "command": home.typed(*result.overrides),
        "per_step": {
            "samples": result.samples / done if done and result.samples else None,
            "seconds": result.train_seconds / done if done and result.train_seconds else None,
        },
        "values": dict(zip(study.metrics, trial.get("values") or [], strict=False)) if study else {},
        "strategy": strategy,
        "phase": _phase(parameters, entered) if strategy else None,
        "tuning": entered.get("tuning_steps"),
        "curves": {name: [steps, _rounded(values)] for name, (steps, values) in _curves(run, most)},
    }


def _phase(parameters: Mapping[str, Any], entered: Mapping[str, Any]) -> str:
    """Confirmation for the runs that the verdict rests on alone: too short a length is confirmed once more, longer."""
    last = {lengths[-1] for lengths in entered.get("lengths") or [] if lengths}
    phase = str(parameters.get("phase"))
    is_early = phase == "confirmation" and last and parameters.get("trainer.max_steps") not in {None, *last}
    return "earlier confirmation" if is_early else phase


def _of_race(runs: Sequence[Data], found: Sequence[Study]) -> Data:
    """The strategy and the phase of a row, where there is a race: the most telling phase of its runs."""
    if not any(study.race for study in found):
        return {}
    phases = {run["phase"] for run in runs}
    telling = [phase for phase in ("confirmation", "earlier confirmation", "tuning") if phase in phases]
    return {"strategy": runs[0]["strategy"] or "", "phase": telling[0] if telling else ""}


def _further(found: Sequence[Study], table: Sequence[Row]) -> list[str]:
    """The objectives of sweeps for several, but for what the table has anyhow: the metric of all its targets."""
    asked = dict.fromkeys(metric for study in found if len(study.metrics) > 1 for metric in study.metrics)
    return [metric for metric in asked if {row.metric for row in table} != {metric}]


def _of_search(runs: Sequence[Data], asked: Sequence[str]) -> Data:
    """The values of a row where a sweep had several objectives: medians over its runs."""
    known = {name: [run["values"][name] for run in runs if run["values"].get(name) is not None] for name in asked}
    return {name: statistics.median(values) if values else None for name, values in known.items()}


def _curves(run: Found, most: int) -> Iterator[tuple[str, tuple[list[int], list[float]]]]:
    for name, curve in found_runs.curves(run.directory, most).items():
        if not name.startswith("test/"):  # a single figure, which the table of one run has
            yield name, curve


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _targets(runs: Sequence[Found]) -> Data:
    """The value asked of each metric and its direction, where all runs agree on them."""
    asked: dict[str, set[tuple[float | None, str]]] = {}
    for run in runs:
        if target := run.result.target:
            asked.setdefault(target.metric, set()).add((target.value, target.mode))
    agreed = {name: values.pop() for name, values in asked.items() if len(values) == 1}
    return {name: {"value": value, "mode": mode} for name, (value, mode) in agreed.items()}


def _study(study: Study) -> Data:
    from kasoku.report import search_figures  # with Optuna, which a page of runs alone has no need of

    kept = ("number", "state", "value", "values", "parameters")
    searched = search_figures.Searched(study.metrics, study.modes, study.trials)
    importance = dict(study.sweep.get("importance") or {})
    drawn = search_figures.race(searched) if study.race else search_figures.sweep(searched, importance)
    shared = {
        "name": study.directory.name,
        "metrics": study.metrics,
        "command": home.typed("-m", *(study.sweep.get("overrides") or [])),
        "trials": [{key: trial.get(key) for key in kept} for trial in study.trials],
        "again": [home.typed(*trial["overrides"]) for trial in study.trials],
        "figures": list(drawn),
    }
    return shared | (_race(study.race) if study.race else _sweep(study, importance))


def _sweep(study: Study, importance: Mapping[str, float]) -> Data:
    states = [trial["state"] for trial in study.trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    notes = [f"{len(states)} of {study.sweep.get('n_trials')} trials: {counted}"] if states else []
    pruned = states.count("pruned")
    notes += [f"{pruned} trials were ended early: their values are those they had by then"] if pruned else []
    is_over = "running" not in states and len(states) == study.sweep.get("n_trials")
    if is_over and not importance and len(study.metrics) == 1:
        notes.append("No importances: they need 4 whole trials whose values differ")
    return {
        "kind": "sweep",
        "best": study.bests,
        "importance": importance,
        "notes": notes,
    }


def _race(race: Mapping[str, Any]) -> Data:
    rules = (race.get("settings") or {}).get("rules") or {}
    return {
        "kind": "race",
        "rules": rules,
        "verdict": list(race.get("verdict") or []),
        "strategies": dict(race.get("strategies") or {}),
        "notes": list(_fairness(race, rules)),
    }


def _fairness(race: Mapping[str, Any], rules: Mapping[str, Any]) -> Iterator[str]:
    """Budgets, borders that tuning met, and seeds that missed."""
    cap, tuning = rules.get("cap"), rules.get("tuning")
    if race.get("stopped"):
        yield f"The race stopped: {race['stopped']}"
    elif not race.get("verdict"):
        yield "The race is not over: there is no verdict yet."
    if cap and tuning:
        yield f"No run was longer than {cap} steps; each strategy might spend {tuning * cap:g} steps on its tuning."
    for name, strategy in (race.get("strategies") or {}).items():
        yield f"{name}: tuned in {strategy.get('tuning_steps')} steps"
        for tuned in strategy.get("tuned") or []:
            yield from (f"{name}: {warning}" for warning in (tuned or {}).get("warnings") or [])
        times = [None if time is None or math.isinf(time) else time for time in strategy.get("times") or []]
        if missed := times.count(None):
            yield f"{name}: {missed} of {len(times)} seeds missed the target"


def _notes(table: Sequence[Row]) -> list[str]:
    """Notes to bear in mind when the rows are compared."""
    counts = sorted({len(row.runs) for row in table})
    notes = []
    if len(counts) > 1:
        notes.append(
            f"The rows rest on {', '.join(map(str, counts))} runs: a median of few says less than one of many."
        )
    if len({row.metric for row in table if row.metric}) > 1:
        notes.append("The runs are after different metrics, each ranked by its own.")
    ended = [run for row in table for run in row.runs]
    for status in ("failed", "diverged", "interrupted", found_runs.UNFINISHED):
        if count := sum(run.status == status for run in ended):
            notes.append(f"{count} of {len(ended)} runs: {status}.")
    return notes
