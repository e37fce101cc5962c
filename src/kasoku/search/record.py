"""sweep.json and what the end of a sweep says: plain data out of the study."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from kasoku import home
from kasoku.files import create_text, write_text
from kasoku.search.agenda import END, START, counts
from kasoku.search.objective import Objective
from kasoku.search.study import Book

FILE = "sweep.json"


@dataclass(frozen=True)
class Sheet:
    """The head of sweep.json, besides its trials, and what is written `also` whenever it is.

    A worker that was launched leaves the files to whoever launched it.
    """

    directory: Path
    overrides: Sequence[str]
    settings: dict[str, Any]
    objectives: Sequence[Objective]
    is_worker: bool = False
    also: Callable[[Book], None] | None = None

    def write(self, book: Book, at_end: bool = False) -> None:
        """Write sweep.json whole, with the parameters' importance once `at_end`."""
        if self.is_worker:
            return
        trials = [row(trial) for trial in book.trials() if START in trial.user_attrs]
        found = [self._best_row(trial) for trial in best(book)]
        content = {"n_trials": book.agenda.n_trials, "study": book.study.study_name, "trials": trials, "best": found}
        content["modes"] = [objective.mode for objective in self.objectives]
        write_text(self.directory / FILE, self._text(content | {"importance": importance(book) if at_end else {}}))
        if self.also:
            self.also(book)

    def write_first(self) -> None:
        """Write a sweep.json without trials, unless there is one.

        Raises:
            FileExistsError: there is.
        """
        create_text(self.directory / FILE, self._text({"trials": [], "best": []}))

    def _text(self, content: dict[str, Any]) -> str:
        head = {"overrides": list(self.overrides), "settings": self.settings}
        return json.dumps(head | content, indent=2) + "\n"

    def _best_row(self, trial: FrozenTrial) -> dict[str, Any]:
        start = trial.user_attrs[START]
        return {"number": trial.number, **_values(trial), "parameters": start["parameters"], "command": command(trial)}


def row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as sweep.json has it."""
    start, end = trial.user_attrs[START], trial.user_attrs.get(END, {})
    return {
        "number": trial.number,
        "state": end.get("state", "running"),
        **_values(trial),
        "reason": end.get("reason", ""),
        "seconds": end.get("seconds"),
        "steps": end.get("steps"),
        "parameters": start["parameters"],
        "overrides": start["overrides"],
        "directory": start["directory"],
    }


def _values(trial: FrozenTrial) -> dict[str, Any]:
    """`value`, or `values` where there are several objectives; null for none and for a target that was not reached."""
    values = [value if value is not None and math.isfinite(value) else None for value in _known(trial)]
    return {"values": values} if len(values) > 1 else {"value": values[0] if values else None}


def _known(trial: FrozenTrial) -> Sequence[float | None]:
    if trial.values is not None:
        return trial.values
    return trial.user_attrs.get(END, {}).get("values") or [None]


def best(book: Book) -> list[FrozenTrial]:
    """The best trial; with several objectives, those that no other one beats in all of them."""
    complete = [t for t in book.trials() if t.state is TrialState.COMPLETE and t.values and math.isfinite(t.values[0])]
    if not complete:
        return []
    if len(book.study.directions) > 1:
        return book.study.best_trials
    pick = max if book.study.direction.name == "MAXIMIZE" else min
    return [pick(complete, key=lambda trial: trial.values[0])]


def command(trial: FrozenTrial) -> str:
    """The command that runs this trial again."""
    return home.typed(*trial.user_attrs[START]["overrides"])


def importance(book: Book) -> dict[str, float]:
    """The share of each parameter in how much the trials differ; empty where too few trials or values tell nothing.

    Watanabe, Bansal, Hutter 2023, arXiv 2304.10255.
    """
    if len(book.study.directions) > 1:
        return {}
    complete = [t for t in book.trials() if t.state is TrialState.COMPLETE and t.values and math.isfinite(t.values[0])]
    if len(complete) < 4 or len({trial.values[0] for trial in complete}) < 2:
        return {}
    # Only here, at the end: it imports scikit-learn, three times as much as all else that a sweep imports.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    # Given whole: Optuna 5 made it the default, a later version may take another.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=0.1, region_quantile=1.0, evaluate_on_local=True)
    try:
        found = get_param_importances(book.study, evaluator=evaluator)
    except (ValueError, RuntimeError):
        return {}
    return {name: round(share, 4) for name, share in found.items()}


def tally(book: Book) -> dict[str, int]:
    """The number of trials in each state."""
    states = [t.user_attrs.get(END, {}).get("state", "") for t in book.trials() if counts(t)]
    return {state: states.count(state) for state in dict.fromkeys(states) if state}
