"""What is seen of a sweep, and how a machine is divided."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from kasoku.search.screen import Screen
from kasoku.search.shares import gpus_of_slot, threads_each, visible_gpus
from kasoku.search.study import End, Start

from .test_study import OBJECTIVE, book


def shown(path: Path, terminal: bool) -> str:
    out = io.StringIO()
    one = book(path, 3)
    with Screen(OBJECTIVE, 3, 1, Console(file=out, force_terminal=terminal, width=120)) as screen:
        for state, value in (("completed", 0.75), ("running", None)):
            trial, _ = one.ask()  # type: ignore[misc]
            one.start(trial, Start([], {"optimizer.lr": 0.125}, "", one.me))
            if value:
                one.end(trial, End(state, "", [value], seconds=60.0))
        screen.draw(one, now=True)
        screen.draw(one, now=True)
    return out.getvalue()


def test_a_terminal_shows_running_and_best_trials_and_the_time_left(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=True)
    assert "1 of 3 trials (1 completed), about 2m00s left" in text
    assert "0.75" in text
    assert text.count("optimizer.lr=0.125") >= 2


def test_elsewhere_each_trial_is_one_line(tmp_path: Path) -> None:
    assert shown(tmp_path, terminal=False) == "trial 0  completed  0.75  60.0s  optimizer.lr=0.125\n"


def test_each_worker_has_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    gpus = visible_gpus()
    assert [gpus_of_slot(slot, gpus, 1) for slot in range(4)] == [["2"], ["3"], ["5"], ["2"]]
    assert gpus_of_slot(0, gpus, 2) == ["2", "3"]
    assert gpus_of_slot(0, [], 1) == []


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_each(10**6) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(10**6) == 3
