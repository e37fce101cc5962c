"""kill -9 of a trial, of the server that trials are forked from, or of the sweep, at moments that are drawn."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from .conftest import Sweep
from .test_resume import RANDOM, content, running, start, wait_until

TRIALS = 4


def children(pid: int) -> list[int]:
    """The child processes of `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


def servers(pid: int) -> list[int]:
    """The fork server among the children of the sweep `pid`."""
    return [child for child in children(pid) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()]


VICTIMS = {
    "trial": lambda pid, directory: running(directory)[:1],
    "server": lambda pid, directory: servers(pid),
    "sweep": lambda pid, directory: [pid],
}


@pytest.mark.sample(30)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", range(10))
def test_it_ends_with_exactly_n_trials(sweep: Sweep, tmp_path: Path, victim: str, moment: int) -> None:
    directory = tmp_path / "sweep"
    process = start(directory, *RANDOM, f"sweeper.n_trials={TRIALS}", "sweeper.workers=2")
    wait_until(lambda: bool(running(directory)))
    time.sleep(random.Random(moment).uniform(0, 3))
    for pid in VICTIMS[victim](process.pid, directory):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=120)
    wait_until(lambda: not running(directory), 20)
    if victim != "trial":
        assert sweep(f"resume={directory}", tiny=False).code == 0
    states = [trial["state"] for trial in content(directory)["trials"]]
    assert sum(state not in ("lost", "interrupted") for state in states) == TRIALS
    assert "running" not in states
