"""Interrupted at any moment, a sweep goes on and ends with exactly n_trials."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, TINY, Sweep

SLOW = ["model.net._target_=tests.search.nets.Net", "+model.net.seconds=0.05"]
SLOW += [f"~model.net.{key}" for key in ("hidden", "depth", "dropout", "activation")]
RANDOM = ["sweeper=random", "sweeper.pruner=none", "optimizer.lr=tag(log,interval(0.001,0.1))"]


def start(directory: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *SLOW, *overrides, f"hydra.sweep.dir={directory}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def content(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "sweep.json").read_text())


def wait_until(holds: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def has_finished(directory: Path, count: int) -> bool:
    return len(list(directory.glob("*/result.json"))) >= count


def running(directory: Path) -> list[int]:
    """The processes that have a file of the sweep open or run one of its trials."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if str(directory) in str(path.readlink()):
                found.append(int(path.parts[2]))
        except OSError:
            continue
    return found


@pytest.mark.proof
def test_everything_killed(sweep: Sweep, tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    process = start(directory, *RANDOM, "sweeper.n_trials=5", "sweeper.workers=2")
    wait_until(lambda: has_finished(directory, 2) and len(running(directory)) == 2)
    process.kill()
    process.wait()
    wait_until(lambda: not running(directory), 10)
    kept = {path: path.stat().st_mtime_ns for path in directory.glob("*/result.json")}

    swept = sweep(f"resume={directory}", tiny=False)
    assert swept.code == 0
    assert sum(state == "completed" for state in swept.states) == 5
    assert "running" not in swept.states
    assert sum(state == "lost" for state in swept.states) >= 1
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    rates = [trial["parameters"]["optimizer.lr"] for trial in swept.json["trials"]]
    assert len(set(rates)) == len(rates)
    assert [trial["directory"] for trial in swept.json["trials"]] == [
        str(directory / str(n)) for n in range(len(rates))
    ]


@pytest.mark.proof
def test_interrupted(tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    process = start(directory, *RANDOM, "sweeper.n_trials=50")
    wait_until(lambda: has_finished(directory, 1) and len(running(directory)) == 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "val/acc" in out
    assert f"-m resume={directory}" in out
    assert "Traceback" not in out + err
    assert not running(directory)
    states = {trial["state"] for trial in content(directory)["trials"]}
    assert "completed" in states
    assert states <= {"completed", "interrupted"}  # a trial in its last moments still completes


@pytest.mark.proof
def test_a_finished_sweep_can_be_extended(sweep: Sweep) -> None:
    first = sweep("mode=train", *RANDOM, "sweeper.n_trials=1")
    again = sweep(f"resume={first.directory}", "sweeper.n_trials=2", tiny=False)
    assert again.states == ["completed", "completed"]
    rates = [trial["parameters"]["optimizer.lr"] for trial in again.json["trials"]]
    assert rates[0] == first.json["trials"][0]["parameters"]["optimizer.lr"] != rates[1]
