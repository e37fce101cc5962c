"""The screen of a sweep: a live table on a terminal, a line for each trial elsewhere."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kasoku.faults import show
from kasoku.search.agenda import END, START, counts
from kasoku.search.objective import Objective
from kasoku.search.record import best, row, tally
from kasoku.search.study import Book

TOP = 5  # trials in the table of the best
EVERY = 0.5  # seconds between two drawings


View = Callable[[Book], Sequence[RenderableType]]  # what is drawn of a sweep, above the trials that run


class Screen:
    """Says on stderr how a sweep goes."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        n_trials: int,
        workers: int,
        console: Console | None = None,
        view: View | None = None,
    ):
        self._objectives, self._n_trials, self._workers = objectives, n_trials, workers
        self._view = view or self._of_a_sweep
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._told: set[int] = set()  # trials whose line was printed
        self._drawn = 0.0

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def skip(self, book: Book) -> None:
        """Say nothing of the trials that have ended before."""
        self._told |= {trial.number for trial in _ended(book)}

    def draw(self, book: Book, now: bool = False) -> None:
        """Redraw the live table, or print a line for each trial that has ended, if it is due or must be `now`."""
        if not now and time.monotonic() - self._drawn < EVERY:
            return
        self._drawn = time.monotonic()
        if self._live is None:
            for trial in _ended(book):
                if trial.number not in self._told:
                    self._told.add(trial.number)
                    self.say(_line(trial))
        else:
            parts = [*self._view(book), self._running(book)]
            self._live.update(Group(*(part for part in parts if part is not None)), refresh=True)

    def _of_a_sweep(self, book: Book) -> list[RenderableType]:
        best = table(book, self._objectives, TOP)
        return [self._headline(book), *([best] if best else [])]

    def _headline(self, book: Book) -> Text:
        states = tally(book)
        counted = ", ".join(f"{count} {state}" for state, count in states.items())
        done = f"{sum(states.values())} of {self._n_trials} trials" + (f" ({counted})" if counted else "")
        return Text(done + self._time_left(book))

    def _time_left(self, book: Book) -> str:
        """An estimate from the mean time of the trials so far."""
        seconds = [row(trial)["seconds"] or 0.0 for trial in _ended(book)]
        if not seconds:
            return ""
        left = (self._n_trials - len(seconds)) * sum(seconds) / len(seconds) / self._workers
        return f", about {duration(max(0.0, left))} left"

    def _running(self, book: Book) -> Table | None:
        trials = [t for t in book.trials() if t.state is TrialState.RUNNING and START in t.user_attrs]
        if not trials:
            return None
        grid = Table("trial", "for", "evaluations", self._objectives[0].metric, "parameters", box=None)
        for trial in trials:
            seen = trial.intermediate_values
            latest = f"{abs(seen[max(seen)]):.5g}" if seen else ""
            age = time.time() - trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            shown = _shown(trial.user_attrs[START]["parameters"])
            grid.add_row(str(trial.number), duration(age), str(len(seen)), latest, shown)
        return grid


def _ended(book: Book) -> list[FrozenTrial]:
    return [trial for trial in book.trials() if END in trial.user_attrs and START in trial.user_attrs and counts(trial)]


def _line(trial: FrozenTrial) -> str:
    found = row(trial)
    worth = " ".join(_number(value) for value in found.get("values") or [found.get("value")])
    parts = [f"trial {trial.number}", found["state"], worth, f"{found['seconds']:.1f}s", _shown(found["parameters"])]
    return "  ".join(part for part in [*parts, found["reason"]] if part)


def table(book: Book, objectives: Sequence[Objective], top: int) -> Table | None:
    """The `top` best trials, best first; with several objectives, those of the Pareto front."""
    trials = best(book) if len(objectives) > 1 else ranked(book, objectives[0])[:top]
    if not trials:
        return None
    grid = Table("trial", *(objective.metric for objective in objectives), "state", "seconds", "parameters", box=None)
    for trial in trials:
        found = row(trial)
        values = found.get("values") or [found.get("value")]
        texts = [_number(value) for value in values]
        grid.add_row(str(trial.number), *texts, found["state"], f"{found['seconds']:.1f}", _shown(found["parameters"]))
    return grid


def ranked(book: Book, objective: Objective) -> list[FrozenTrial]:
    """The finished trials that have a value, best first; those that ran to their end before those that were pruned."""
    found = [t for t in book.trials() if counts(t) and START in t.user_attrs and END in t.user_attrs]
    found = [trial for trial in found if row(trial)["value"] is not None]
    sign = -1 if objective.mode == "max" else 1
    return sorted(found, key=lambda trial: (trial.user_attrs[END]["state"] == "pruned", sign * row(trial)["value"]))


def _number(value: float | None) -> str:
    return "-" if value is None else "never" if math.isinf(value) else f"{value:.5g}"


def _shown(parameters: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key}={f'{value:.4g}' if isinstance(value, float) else show(value)}" for key, value in parameters.items()
    )


def duration(seconds: float) -> str:
    """`seconds` in words: 1h05m, 2m10s, 7s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
