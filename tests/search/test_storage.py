"""Where a study is kept: journals and databases, who made it, and what its values become."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError

from kasoku.faults import ConfigError, masked
from kasoku.files import is_running
from kasoku.search import study
from kasoku.search.agenda import Drawn, suggest
from kasoku.search.job import End, Start
from kasoku.search.objective import Objective
from kasoku.search.space import parse
from kasoku.search.study import open_book, open_storage, open_study

from .test_study import OBJECTIVE, SPACE, book, run_one


def test_a_path_is_a_journal_whose_folder_is_made(tmp_path: Path) -> None:
    for _ in range(2):
        assert isinstance(open_storage(str(tmp_path / "new" / "folder" / "study.journal")), JournalStorage)
    assert isinstance(open_storage(str(tmp_path / "a:b")), JournalStorage)


def test_a_url_is_a_database_whose_connections_are_few_and_tried_before_use(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    assert isinstance(storage, RDBStorage)
    pool: Any = storage.engine.pool
    assert (pool.size(), pool._pre_ping) == (2, True)


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("postgresql://me:secret@host/db", "postgresql+psycopg://me:secret@host/db"),
        ("postgres://host/a://b", "postgresql+psycopg://host/a://b"),
        ("postgresql+psycopg2://host/db", "postgresql+psycopg2://host/db"),
        ("mysql://host/db", "mysql://host/db"),
    ],
)
def test_postgresql_has_its_present_driver(monkeypatch: pytest.MonkeyPatch, url: str, opened: str) -> None:
    monkeypatch.setattr(study, "RDBStorage", lambda url, **settings: url)
    assert open_storage(url) == opened


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("nosuch://me:secret@host/db", "nosuch://me@host/db: cannot be opened: Can't load plugin: sqlalchemy.dialects"),
        (
            "sqlite:////nowhere/study.db",
            "sqlite:////nowhere/study.db: cannot be opened: .*unable to open database file$",
        ),
        ("/proc/version/study", "/proc/version/study: cannot be opened: .*(File exists|Not a directory)"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(address: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"sweeper.storage={text}"):
        open_storage(address)


def test_a_drivers_error_that_holds_the_password_is_shown_without_it() -> None:
    """As typed, percent-encoded, or in the query."""
    with pytest.raises(ConfigError):
        open_storage("nosuch://me:hunter%402two@host/db?password=swordfish&x=1")
    told = masked("connection to me:hunter@2two@host or me:hunter%402two@host?password=swordfish failed")
    assert told == "connection to me:***@host or me:***@host?password=*** failed"


def test_an_error_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(address: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr(study, "JournalFileBackend", fail)
    with pytest.raises(ConfigError, match=r"cannot be opened: NotImplementedError$"):
        open_storage(str(tmp_path / "journal"))


@pytest.mark.parametrize("error", [IntegrityError, ProgrammingError])
@pytest.mark.parametrize("failures", [0, 1, 4, 5])
def test_who_is_in_anothers_way_tries_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: int, error: type[Exception]
) -> None:
    """Two that make the tables at one moment. Mutants: no second try, no end to them, no wait."""
    waits: list[float] = []
    left = iter([error("create table", {}, Exception("there is one"))] * failures)  # type: ignore[call-arg]

    def opened(*args: Any, **settings: Any) -> RDBStorage:
        for failure in left:
            raise failure
        return RDBStorage(*args, **settings)

    monkeypatch.setattr(study, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(study, "RDBStorage", opened)
    if failures < 5:
        pool = open_storage(f"sqlite:///{tmp_path}/study.db").engine.pool  # type: ignore[attr-defined]
        assert (pool.size(), pool._pre_ping) == (2, True)
    else:
        with pytest.raises(ConfigError, match="there is one"):
            open_storage(f"sqlite:///{tmp_path}/study.db")
    assert waits == [0.5, 1, 2, 4][:failures]


def test_what_a_study_holds_has_the_names_that_other_versions_read(tmp_path: Path) -> None:
    one = book(tmp_path, 1)
    run_one(one)
    one.halt("token")
    [trial] = one.trials()
    assert set(trial.user_attrs) == {"ticket", "beat", "start", "end"}
    assert trial.user_attrs["end"] == {
        "state": "completed",
        "reason": "",
        "values": [0.5],
        "seconds": 0.0,
        "steps": 0,
        "measures": {},
    }
    assert set(trial.user_attrs["start"]) == {"overrides", "parameters", "directory", "owner"}
    assert one.study.user_attrs == {"identity": ["a=1"], "ready": True, "halt": "token"}
    assert one.study.metric_names == ["val/acc"]
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_workers_are_halted_by_their_own_token_alone(tmp_path: Path) -> None:
    one = book(tmp_path, 1)
    assert not any(one.is_halted(token) for token in ("", "mine"))
    one.halt("mine")
    assert [one.is_halted(token) for token in ("", "mine", "another")] == [False, True, False]
    one.halt("")
    assert not one.is_halted("")


def test_several_objectives_have_their_directions_and_names(tmp_path: Path) -> None:
    storage, both = open_storage(str(tmp_path / "journal")), [Objective("val/acc", "max"), Objective("steps", "min")]
    made, is_new = open_study("s", storage, both, ["b=2", "a=1"])
    open_book(made, Drawn(1, SPACE, []))
    assert (is_new, [d.name for d in made.directions], made.metric_names) == (
        True, ["MAXIMIZE", "MINIMIZE"], ["val/acc", "steps"]
    )  # fmt: skip
    again, is_new = open_study("s", storage, both, ["b=2", "a=1"])
    assert (is_new, again.study_name) == (False, "s")
    with pytest.raises(ConfigError) as caught:
        open_study("s", storage, both[::-1], ["b=2", "a=1"])
    assert str(caught.value.faults[0]) == (
        "sweeper.study=s: is the study of another command, which differs in sweeper.mode maximize minimize; "
        "give the same command, or another study"
    )
    with pytest.raises(ConfigError, match=r"which differs in a=1 c=3 d=4; give"):
        open_study("s", storage, both, ["d=4", "b=2", "c=3"])


def test_who_finds_a_study_that_nobody_finishes_making_waits_a_while_and_takes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Mutants: no wait, one without end, one for a study that is ready."""
    storage, now = open_storage(str(tmp_path / "journal")), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(study, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0], time=study.time.time))
    open_study("s", storage, OBJECTIVE, ["a=1"])
    taken, _ = open_study("s", storage, OBJECTIVE, ["a=1"])
    assert now[0] == pytest.approx(5, abs=0.2)
    now[0] = 0.0
    open_book(taken, Drawn(1, SPACE, []))
    open_study("s", storage, OBJECTIVE, ["a=1"])
    assert now[0] == 0


PRUNED = {1: 0.5}


@pytest.mark.parametrize(
    ("end", "reports", "state", "values"),
    [
        (End("completed", "", [0.5]), {}, TrialState.COMPLETE, [0.5]),
        (End("reached_target", "", [0.5]), PRUNED, TrialState.COMPLETE, [0.5]),
        (End("completed", "", [0.0]), {}, TrialState.COMPLETE, [0.0]),
        (End("completed", "", [None]), PRUNED, TrialState.FAIL, None),
        (End("completed"), {}, TrialState.FAIL, None),
        (End("pruned", "", [0.5]), PRUNED, TrialState.PRUNED, None),
        (End("pruned", "", [0.5]), {}, TrialState.FAIL, None),
        (End("failed", "", [0.5]), PRUNED, TrialState.FAIL, None),
        (End("diverged", "", [0.5]), PRUNED, TrialState.FAIL, None),
    ],
)
def test_what_an_end_is_to_optuna(
    tmp_path: Path, end: End, reports: dict[int, float], state: TrialState, values: list[float] | None
) -> None:
    one = book(tmp_path, 1)
    trial, _ = one.ask()  # type: ignore[misc]
    one.start(trial, Start([], {}, "", one.me))
    for step, value in reports.items():
        trial.report(value, step)
    assert one.end(trial, end)
    [frozen] = one.trials()
    assert frozen.state is state
    # of a pruned trial Optuna takes the last report for its value
    assert frozen.values == (list(reports.values()) if state is TrialState.PRUNED else values)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(8,128)", FloatDistribution(8, 128)),
        ("tag(log,interval(1e-4,1))", FloatDistribution(1e-4, 1, log=True)),
        ("range(0.1,0.5,0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("int(interval(8,128))", IntDistribution(8, 128)),
        ("int(tag(log,interval(8,128)))", IntDistribution(8, 128, log=True)),
        ("range(1,10,2)", IntDistribution(1, 9, step=2)),
        ("choice(sgd,adamw)", CategoricalDistribution(("sgd", "adamw"))),
    ],
)
def test_values_are_drawn_from_the_distribution_that_they_are_written_as(text: str, distribution: object) -> None:
    [parameter] = parse([f"key={text}"], {}, {})[1].parameters
    trial = optuna.create_study().ask()
    assert suggest(trial, parameter) == trial.params["key"]
    assert trial.distributions == {"key": distribution}


def test_a_process_runs_until_it_is_gone_or_a_zombie() -> None:
    """Mutants: the letter of its state; one that was not waited for taken for one that runs."""
    assert is_running(os.getpid())
    assert is_running(1)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note of it
    assert not is_running(child.pid)
    child.communicate()
    assert not is_running(child.pid)
