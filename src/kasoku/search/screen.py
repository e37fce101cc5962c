"""What a person sees of a sweep: a live table on a terminal, a line for each trial elsewhere."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kasoku.faults import show
from kasoku.search.objective import Objective
from kasoku.search.record import best, row, tally
from kasoku.search.study import END, START, Book, End, counts

TOP = 5  # trials in the table of the best
EVERY = 0.5  # seconds between two drawings


class Screen:
    """Says on stderr how a sweep goes."""

    def __init__(self, objectives: Sequence[Objective], n_trials: int, workers: int, console: Console | None = None):
        self._objectives, self._n_trials, self._workers = objectives, n_trials, workers
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._running: dict[int, _Line] = {}
        self._seconds: list[float] = []
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

    def started(self, number: int, parameters: Mapping[str, Any]) -> None:
        self._running[number] = _Line(parameters)

    def reported(self, number: int, count: int, values: Mapping[str, float]) -> None:
        self._running[number].evaluations = count
        self._running[number].latest = next(iter(values.values()), None)

    def ended(self, number: int, end: End, parameters: Mapping[str, Any]) -> None:
        self._running.pop(number, None)
        self._seconds.append(end.seconds)
        if self._live is None:
            worth = " ".join(_number(value) for value in end.values) if end.values else ""
            parts = [f"trial {number}", end.state, worth, f"{end.seconds:.1f}s", _shown(parameters), end.reason]
            self.say("  ".join(part for part in parts if part))

    def draw(self, book: Book) -> None:
        """Redraw the live table, if there is one and it is due."""
        if self._live is None or time.monotonic() - self._drawn < EVERY:
            return
        self._drawn = time.monotonic()
        parts = [self._headline(book), self._running_table(), table(book, self._objectives, TOP)]
        self._live.update(Group(*(part for part in parts if part is not None)), refresh=True)

    def _headline(self, book: Book) -> Text:
        states = tally(book)
        done = sum(states.values())
        counted = ", ".join(f"{count} {state}" for state, count in states.items())
        return Text(f"{done} of {self._n_trials} trials" + (f" ({counted})" if counted else "") + self.time_left(done))

    def time_left(self, done: int) -> str:
        """An estimate from the mean time of the trials so far."""
        if not self._seconds or not self._workers:
            return ""
        left = (self._n_trials - done) * sum(self._seconds) / len(self._seconds) / self._workers
        return f", about {_duration(left)} left"

    def _running_table(self) -> Table | None:
        if not self._running:
            return None
        grid = Table("trial", "for", "evaluations", self._objectives[0].metric, "parameters", box=None)
        for number, line in sorted(self._running.items()):
            latest = "" if line.latest is None else _number(line.latest)
            grid.add_row(str(number), _duration(line.seconds), str(line.evaluations), latest, _shown(line.parameters))
        return grid


class _Line:
    """A running trial."""

    def __init__(self, parameters: Mapping[str, Any]):
        self.parameters, self.began = parameters, time.monotonic()
        self.evaluations, self.latest = 0, None

    evaluations: int
    latest: float | None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
