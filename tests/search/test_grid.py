"""Every combination once, in a directory of its own, whatever becomes of the others."""

import json
import shlex
from pathlib import Path

import pytest

from .conftest import Sweep

NET = ["model.net._target_=tests.search.nets.Net", "~model.net.hidden", "~model.net.depth", "~model.net.dropout"]
NET += ["~model.net.activation"]


def test_each_combination_is_one_trial(sweep: Sweep) -> None:
    swept = sweep("optimizer.lr=0.01,0.1", "seed=0,1", "sweeper.workers=2")
    trials = swept.json["trials"]
    assert swept.code == 0
    assert [t["parameters"] for t in trials] == [{"optimizer.lr": lr, "seed": s} for lr in (0.01, 0.1) for s in (0, 1)]
    assert swept.states == ["completed"] * 4
    assert all((swept.directory / str(number) / "result.json").exists() for number in range(4))
    assert sorted(path.name for path in swept.directory.iterdir()) == [
        *"0123",
        "report.html",
        "study.journal",
        "sweep.json",
    ]


def test_the_best_is_the_best_of_the_results_and_its_command_is_printed(sweep: Sweep) -> None:
    swept = sweep("optimizer.lr=0.0001,0.05")
    results = [json.loads((swept.directory / str(n) / "result.json").read_text()) for n in range(2)]
    values = [result["best"]["value"] for result in results]
    [best] = swept.json["best"]
    assert best["value"] == max(values)
    assert [trial["value"] for trial in swept.json["trials"]] == values
    assert shlex.split(best["command"])[3:] == swept.json["trials"][best["number"]]["overrides"]
    assert best["command"] in swept.out


@pytest.mark.proof
def test_a_trial_that_fails_says_why_and_the_others_run(sweep: Sweep) -> None:
    hows = ["raise", "segfault", "killed", "leave", "diverge", "well"]
    swept = sweep(*NET, f"+model.net.how={','.join(hows)}", "sweeper.workers=2")
    assert swept.code == 0
    assert swept.states == ["failed", "failed", "failed", "failed", "diverged", "completed"]
    reasons = [trial["reason"] for trial in swept.json["trials"]]
    for reason, words in zip(
        reasons, ["the net is on fire", "SIGSEGV", "SIGKILL", "code 7", "the loss became nan", ""], strict=True
    ):
        assert words in reason


def test_a_wrong_job_is_a_failed_trial(sweep: Sweep) -> None:
    swept = sweep("optimizer.lr=0.1,-1")
    assert swept.code == 0
    assert swept.states == ["completed", "failed"]
    assert "optimizer.lr=-1: must be a positive finite number" in swept.json["trials"][1]["reason"]


def test_a_sweep_of_nothing_is_one_trial_and_other_modes_can_be_swept(sweep: Sweep) -> None:
    swept = sweep("mode=preview")
    assert (swept.code, swept.states) == (0, ["completed"])
    assert (swept.directory / "0" / "schedule.csv").exists()


def test_another_sweep_in_the_same_directory_is_refused(sweep: Sweep) -> None:
    sweep("mode=preview")
    again = sweep("mode=preview")
    assert again.code == 2
    assert "a sweep is there already" in again.err


def test_a_file_in_the_place_of_the_directory_is_no_sweep(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "sweep").touch()
    refused = sweep("seed=0,1")
    assert refused.code == 2
    assert "sweep: cannot be written: File exists; choose another" in refused.err


@pytest.mark.proof
def test_resuming_with_more_values_of_the_same_grid_runs_the_missing_ones_alone(sweep: Sweep) -> None:
    first = sweep("mode=preview", "seed=0,1,2", "sweeper.n_trials=1")
    before = (first.directory / "0" / "config.yaml").stat().st_mtime_ns
    again = sweep(f"resume={first.directory}", "sweeper.n_trials=3", tiny=False)
    assert again.code == 0
    assert [trial["parameters"]["seed"] for trial in again.json["trials"]] == [0, 1, 2]
    assert (first.directory / "0" / "config.yaml").stat().st_mtime_ns == before


def test_resuming_as_another_sweep_is_refused(sweep: Sweep) -> None:
    first = sweep("mode=preview")
    again = sweep(f"resume={first.directory}", "optimizer=sgd", tiny=False)
    assert again.code == 2
    assert "optimizer=sgd" in again.err
