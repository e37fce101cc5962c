"""A storage that goes away for a while: an SQLite database that another process has locked."""

import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.exceptions import StorageInternalError
from rich.console import Console

from kasoku.config.compose import Source
from kasoku.search import loop
from kasoku.search.agenda import Drawn
from kasoku.search.loop import Loop, Plan
from kasoku.search.record import Sheet
from kasoku.search.screen import Screen
from kasoku.search.study import Book, open_book, open_storage, open_study

from .conftest import Sweep
from .test_study import OBJECTIVE, SPACE, run_one

IMPATIENT = "?timeout=0.05"  # seconds that SQLite waits for a lock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


@pytest.fixture
def onlooker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Loop, Book, io.StringIO]:
    """The loop of a sweep of one trial that others run, its study, and what it says."""
    monkeypatch.setattr(loop, "RETRY", 0.0)
    monkeypatch.setattr(loop, "TICK", 0.0)
    storage = open_storage(f"sqlite:///{tmp_path}/study.db{IMPATIENT}")
    study, _ = open_study("s", storage, OBJECTIVE, ["a=1"])
    book, said = open_book(study, Drawn(1, SPACE, [])), io.StringIO()
    plan = Plan(Source(None, "", "", (), (), ()), [], OBJECTIVE, None, tmp_path, workers=0)  # type: ignore[arg-type]
    sheet = Sheet(tmp_path, [], {}, OBJECTIVE)
    return Loop(book, plan, sheet, Screen(OBJECTIVE, 1, 0, Console(file=said, width=200))), book, said


def test_an_outage_is_waited_for_and_said(onlooker: tuple[Loop, Book, io.StringIO], tmp_path: Path) -> None:
    """Mutants: `raise` at once; an outage taken for the sweep's end."""
    looking, book, said = onlooker
    assert not looking._turn()
    with locked(tmp_path / "study.db"):
        assert [looking._turn(), looking._turn()] == [False, False]
    assert (
        said.getvalue().splitlines()
        == ["the storage does not answer, trying again: (sqlite3.OperationalError) database is locked"] * 2
    )
    assert not looking._turn()
    run_one(book)
    assert looking._turn()


def test_an_outage_without_end_ends_the_sweep(
    onlooker: tuple[Loop, Book, io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour, by a clock of the test's own. Mutants: no end; an outage that begins anew with each try."""
    looking, now = onlooker[0], [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    with locked(tmp_path / "study.db"):
        for minute in range(31):
            now[0] = 1.0 + 60 * minute
            assert not looking._turn()
        now[0] += 1
        with pytest.raises(StorageInternalError):
            looking._turn()


def test_two_outages_are_not_one_long_one(
    onlooker: tuple[Loop, Book, io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: `_away_since` not put back once the storage answers."""
    looking, now = onlooker[0], [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    for start in (1.0, 1000.0, 2000.0):
        now[0] = start
        with locked(tmp_path / "study.db"):
            assert not looking._turn()
        assert not looking._turn()


def test_a_trial_that_reports_in_an_outage_goes_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the database itself until its process ends. Mutant: no answer, for which it would wait for ever."""
    monkeypatch.setattr(loop, "RETRY", 0.05)
    monkeypatch.setattr(loop, "OUTAGE", 30.0)
    hold = f"+callbacks.hold={{_target_:tests.search.nets.Hold,database:{tmp_path}/study.db}}"
    swept = sweep(
        "sweeper=random",
        "sweeper.pruner=asha",
        "sweeper.n_trials=1",
        "optimizer.lr=interval(0.01,0.1)",
        hold,
        f"sweeper.storage='sqlite:///{tmp_path}/study.db{IMPATIENT}'",
    )
    assert (swept.code, swept.states) == (0, ["completed"])
    assert "the storage does not answer, trying again" in swept.err
