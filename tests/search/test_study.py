"""Tickets: exactly n_trials however many take part, and whatever becomes of them."""

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from kasoku.faults import ConfigError
from kasoku.search.agenda import OPEN, TICKET, Drawn, Ticket
from kasoku.search.objective import Objective
from kasoku.search.samplers import make_sampler, method_of
from kasoku.search.settings import Settings
from kasoku.search.space import Space, grid, parse
from kasoku.search.study import Book, End, Start, open_book, open_storage, open_study, without_password

SPACE = parse(["lr=tag(log,interval(1e-4,1))"], {}, {})[1]
OBJECTIVE = [Objective("val/acc", "max")]


def book(
    path: Path, n_trials: int, space: Space = SPACE, combinations: list[dict[str, str]] | None = None, seed: int = 0
) -> Book:
    study, _ = open_study("s", open_storage(str(path / "journal")), OBJECTIVE, ["a=1"])
    study.sampler = make_sampler("random", seed, space)
    return open_book(study, Drawn(n_trials, space, combinations or []))


def run_one(book: Book, value: float = 0.5, state: str = "completed") -> bool:
    asked = book.ask()
    if asked is None:
        return False
    trial, draft = asked
    book.start(trial, Start(list(draft.overrides), dict(draft.parameters), "", book.me))
    return book.end(trial, End(state, "", [value if state == "completed" else None]))


def test_two_that_share_a_study_end_with_its_trials_exactly(tmp_path: Path) -> None:
    books = [book(tmp_path, 7), book(tmp_path, 7, seed=1)]
    done = [sum(run_one(one) for one in books) for _ in range(10)]
    assert sum(done) == 7
    assert books[0].is_complete
    assert len({trial.params["lr"] for trial in books[1].finished()}) == 7


def test_failed_trials_count_and_lost_ones_do_not(tmp_path: Path) -> None:
    one = book(tmp_path, 3)
    for state in ("failed", "lost", "diverged", "interrupted"):
        run_one(one, state=state)
    assert len(one.finished()) == 2
    one.top_up()
    assert run_one(one)
    assert not run_one(one)


def test_every_point_of_a_grid_is_there_once(tmp_path: Path) -> None:
    space, points = grid(parse(["a=1,2", "b=x,y"], {}, {})[1])
    one = book(tmp_path, 4, space, points)
    run_one(one)
    run_one(one, state="lost")
    again = book(tmp_path, 4, space, points)
    while run_one(again):
        pass
    found = [tuple(trial.params.values()) for trial in again.finished()]
    assert sorted(found) == sorted(tuple(point.values()) for point in points)


def test_a_trial_whose_process_is_gone_is_lost_and_replaced(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    ).stdout
    one = book(tmp_path, 3)
    for owner in (f"{socket.gethostname()}:{gone.strip()}", one.me, "another-machine:1"):
        trial, _ = one.ask()  # type: ignore[misc]
        one.start(trial, Start([], {}, "", owner))
    assert one.give_up_lost(alive=[1]) == [0]
    assert [run_one(one), run_one(one)] == [True, False]
    assert one.give_up_lost() == [1]


def test_a_result_that_comes_after_its_trial_was_given_up_is_dropped(tmp_path: Path) -> None:
    one = book(tmp_path, 1)
    trial, _ = one.ask()  # type: ignore[misc]
    one.end(trial, End("lost"))
    assert not one.end(trial, End("completed", "", [1.0]))


def test_a_study_of_another_command_is_refused(tmp_path: Path) -> None:
    book(tmp_path, 1)
    storage = open_storage(str(tmp_path / "journal"))
    with pytest.raises(ConfigError, match="a=1 b=2"):
        open_study("s", storage, OBJECTIVE, ["b=2"])
    with pytest.raises(ConfigError, match="another command"):
        open_study("s", storage, [Objective("val/acc", "min")], ["a=1"])


def test_a_password_is_not_shown() -> None:
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert without_password("postgresql://host/db") == "postgresql://host/db"
    assert without_password("/shared/a@b") == "/shared/a@b"
    assert without_password("postgresql://host/db?user=me&password=secret&x=1").endswith("?user=me&password=***&x=1")


def test_bayes_takes_a_gaussian_process_for_numbers_and_tpe_otherwise() -> None:
    def method(*lines: str, n_trials: int = 50, pruner: Any = "none") -> str:
        space = parse(lines, {}, {})[1]
        return method_of(Settings("bayes", n_trials, 1, "a", None, pruner, None, None, None, 0), space)

    assert method("lr=interval(0,1)", "width=int(interval(1,9))") == "gp"
    assert method("lr=interval(0,1)", "net=a,b") == "tpe"
    assert method("lr=interval(0,1)", n_trials=5000) == "tpe"
    assert method("lr=interval(0,1)", pruner="asha") == "gp"


class OneByOne(Drawn):
    """Knows its next trial only once all others have ended, as a bracket does."""

    def missing(self, trials: Sequence[FrozenTrial]) -> list[Ticket]:
        busy = any(trial.state in OPEN for trial in trials)
        return [] if busy or len(trials) >= self.n_trials else [Ticket({}, {TICKET: True})]


def test_a_trial_that_is_known_only_now_is_written_and_run(tmp_path: Path) -> None:
    """Mutants: nothing written while nothing waits; written although something does."""
    study, _ = open_study("s", open_storage(str(tmp_path / "journal")), OBJECTIVE, ["a=1"])
    one = open_book(study, OneByOne(3, SPACE))
    for done in range(3):
        assert len(one.live()) == done + (done == 0)
        trial, _ = one.ask()  # type: ignore[misc]
        assert one.ask() is None
        one.end(trial, End("completed", "", [0.5]))
    assert (one.is_complete, len(one.finished()), one.ask()) == (True, 3, None)


def test_a_trial_that_never_began_is_silent_from_its_first_moment(tmp_path: Path) -> None:
    one = book(tmp_path, 2)
    one.ask()
    assert one.give_up_lost() == []  # it has two minutes
