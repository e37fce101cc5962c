"""The processes of the trials, as their sweep sees them.

They are forks of Python's fork server, a process that imports torch, Lightning and kasoku once and does nothing else:
its forks start in a tenth of a second with clean CUDA, OpenMP and process-group state.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import time
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kasoku import results
from kasoku.config.compose import Source
from kasoku.results import Result
from kasoku.search.job import End, Job
from kasoku.signals import ENDING

CONTEXT = multiprocessing.get_context("forkserver")
SHOWN = 300  # characters of a reason


def start_imports() -> None:
    """Start the process that the trials are forked from; it imports while this one goes on."""
    CONTEXT.set_forkserver_preload(["__main__", "kasoku.search.preload"])
    forkserver.ensure_running()


def enter(job: Job, source: Source, sweep: Connection, environment: dict[str, str]) -> None:
    """The trial's process. What it imports is there already: see `kasoku.search.preload`."""
    from kasoku.search import trial

    os.environ.clear()  # that of the fork server, which an earlier sweep of this process may have started
    os.environ.update(environment)
    trial.main(job, source, sweep)


class Child:
    """A trial that runs. `connection` brings its reports, `sentinel` is ready once it has ended."""

    def __init__(self, job: Job, source: Source):
        self.job = job
        self.connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=enter, args=(job, source, theirs, dict(os.environ)))
        self._process.start()
        theirs.close()
        self.started = time.monotonic()
        self.seen: dict[str, float] = {}  # the best value so far of each metric that is reported
        self.reason = ""

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def has_ended(self) -> bool:
        return not self._process.is_alive()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    def messages(self) -> list[Any]:
        """The messages since the last call."""
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                found.append(self.connection.recv())
        return found

    def answer(self, stop: bool) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(stop)

    def interrupt(self) -> None:
        """Let it save a checkpoint and end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.connection.close()

    def end(self) -> tuple[End, Result | None]:
        """The way it ended, and its result if it left one. `End.values` are for the caller to fill in."""
        self._process.join()
        shutil.rmtree(self.job.scratch, ignore_errors=True)
        code = self._process.exitcode or 0
        if code != 0:
            self.kill()  # further ranks that wait for it
        result = _result(self.job.directory)
        state = "interrupted" if code - 128 in ENDING else result.status if result else "failed"
        if result is None and code == 0:
            state = "completed"  # a mode that trains nothing
        if code < 0:
            state = "failed"
        return End(state, self._why(state, code), [], self.seconds, result.steps if result else 0), result

    def _why(self, state: str, code: int) -> str:
        if state == "diverged":
            return _said(self.job.directory, "diverged: ")
        if state == "pruned":
            return _said(self.job.directory, "pruned: ")
        if state != "failed":
            return ""
        return self.reason[:SHOWN] or _meaning(code)


def _result(directory: Path) -> Result | None:
    try:
        return results.read(directory)
    except (OSError, ValueError):
        return None


def _said(directory: Path, after: str) -> str:
    """The end of the last line in the trial's output that has the word `after`."""
    with contextlib.suppress(OSError):
        lines = (directory / "output.log").read_text(errors="replace").splitlines()
        return next((line.partition(after)[2] for line in reversed(lines) if after in line), "")[:SHOWN]
    return ""


def _meaning(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, as the kernel does where memory runs out"
    if code < 0:
        return f"crashed by {signal.Signals(-code).name}, see output.log"
    return f"ended with exit code {code} and no result, see output.log"
