"""A race on the screen: how far it is with each strategy, and about how long it will take."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kasoku.search.agenda import END
from kasoku.search.race import outcome
from kasoku.search.race.agenda import RaceAgenda
from kasoku.search.race.plan import Contest, Plan
from kasoku.search.screen import duration
from kasoku.search.study import Book


def writer(agenda: RaceAgenda, directory: Path, settings: dict[str, Any]) -> Callable[[Book], None]:
    """The writer of race.json, as far as the race has come."""
    return lambda book: outcome.write(directory, agenda.plan(book.live()), settings)


def view(agenda: RaceAgenda, workers: int) -> Callable[[Book], Sequence[RenderableType]]:
    """A picture of the race in the terminal: a headline, and a row for each strategy."""

    def draw(book: Book) -> list[RenderableType]:
        race = agenda.plan(book.live())
        return [Text(headline(race, book, workers)), table(race)]

    return draw


def headline(race: Plan, book: Book, workers: int) -> str:
    """The number of runs so far, and the time that those which are left may take."""
    ends = [trial.user_attrs[END] for trial in book.finished() if END in trial.user_attrs]
    steps = sum(end["steps"] for end in ends)
    text = f"race: {len(ends)} runs have ended"
    if race.cap is None or not steps:
        return text
    left = race.steps_left * sum(end["seconds"] for end in ends) / steps / workers
    return f"{text}, at most about {duration(left)} left"


def table(race: Plan) -> Table:
    grid = Table("strategy", "phase", "runs", "caps of tuning", "nearest to the target", box=None)
    for contest in race.contests:
        work = contest.work
        finals = [done.final for _, done in work.made if done.final is not None]
        best = max(finals, key=race.rules.excess, default=None)
        runs = len(work.made) + sum(bool(done) for attempt in contest.attempts for _, done in attempt)
        spent = f"{work.spent / work.cap:.1f} of {race.rules.tuning:g}"
        grid.add_row(contest.strategy.name, _phase(contest), str(runs), spent, "-" if best is None else f"{best:.5g}")
    return grid


def _phase(contest: Contest) -> str:
    if contest.has_failed:
        return "failed"
    if contest.attempts:
        return f"confirmation, {len(contest.confirmed)} of {len(contest.attempts[-1])}"
    return "tuned" if contest.is_tuned else "tuning"
