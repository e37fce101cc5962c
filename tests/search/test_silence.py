"""Signs of life: what becomes of trials whose machine no longer speaks, by a clock of the test's own."""

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import Trial

from kasoku.search import loop, study
from kasoku.search.study import SILENCE, Book, Start

from .conftest import Sweep
from .test_study import book, run_one

ELSEWHERE = "another-machine:1"


class Clock:
    """Stands for the time of day. What Optuna itself writes down comes from the real one, at which this one starts."""

    def __init__(self) -> None:
        self.now = study.time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(study, "time", SimpleNamespace(time=made.time, monotonic=study.time.monotonic))
    return made


def begun(one: Book, owner: str) -> Trial:
    trial, _ = one.ask()  # type: ignore[misc]
    one.start(trial, Start([], {}, "", owner))
    return trial


def test_a_silent_machines_trial_is_lost_and_replaced(tmp_path: Path, clock: Clock) -> None:
    """Mutants: `return is_gone` and `silent and is_gone` in `_is_lost`."""
    one = book(tmp_path, 1)
    begun(one, ELSEWHERE)
    clock.now += SILENCE - 1
    assert one.give_up_lost() == []
    clock.now += 2
    assert one.give_up_lost() == [0]
    assert [run_one(one), run_one(one)] == [True, False]


def test_silence_counts_from_the_last_beat(tmp_path: Path, clock: Clock) -> None:
    """Mutants: `beat` that writes nothing; silence counted from the start."""
    one = book(tmp_path, 2)
    kept, _ = begun(one, ELSEWHERE), begun(one, ELSEWHERE)
    clock.now += SILENCE - 1
    one.beat(kept)
    clock.now += 2
    assert one.give_up_lost() == [1]


def test_a_trial_that_was_taken_and_never_started_is_lost_after_a_silence(tmp_path: Path, clock: Clock) -> None:
    """Its machine died between the two, so it has neither an owner nor a beat. Mutants: `return False` or `True`."""
    one = book(tmp_path, 1)
    one.ask()
    assert one.give_up_lost() == []
    clock.now += SILENCE + 1
    assert one.give_up_lost() == [0]


def test_a_process_that_lives_but_is_silent_is_given_up_and_one_that_is_dead_at_once(
    tmp_path: Path, clock: Clock
) -> None:
    """Mutants: `return not _is_running(pid)`, and `return silent`."""
    one = book(tmp_path, 2)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        begun(one, f"{socket.gethostname()}:{process.pid}")
        assert one.give_up_lost() == []
        clock.now += SILENCE + 1
        begun(one, f"{socket.gethostname()}:{process.pid}")
        assert one.give_up_lost() == [0]
    assert one.give_up_lost() == [1]


@pytest.mark.proof
def test_a_sweep_gives_a_sign_of_life_of_every_trial_that_runs(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: no beat in `Loop._look_around`: another machine would take a long trial for lost."""
    heard: list[int] = []
    monkeypatch.setattr(loop, "BEAT", 0.0)
    monkeypatch.setattr(Book, "beat", lambda book, trial: heard.append(trial.number))
    assert sweep("seed=0,1").states == ["completed", "completed"]
    assert set(heard) == {0, 1}
