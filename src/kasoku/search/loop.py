"""The loop of a sweep on one machine: ask, start, listen, tell, until the study has its trials."""

import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import Trial

from kasoku.config.compose import Source
from kasoku.faults import masked
from kasoku.results import Result
from kasoku.search import shares
from kasoku.search.agenda import Draft
from kasoku.search.children import Child
from kasoku.search.job import End, Job, Start
from kasoku.search.launchers import Fleet
from kasoku.search.objective import Objective
from kasoku.search.record import Sheet
from kasoku.search.screen import Screen
from kasoku.search.study import BEAT, Book
from kasoku.signals import caught

TICK = 0.25  # seconds between two looks at the clock
FOREIGN = 2.0  # seconds between two looks at the trials of other machines
GRACE = 20.0  # seconds that interrupted trials have to save a checkpoint
OUTAGE, RETRY = 1800.0, 5.0  # seconds that a storage may be away, and between two tries
HOPELESS = 5  # trials that were refused, of as many: the sweep is


@dataclass
class Running:
    trial: Trial
    child: Child
    slot: int
    beat: float


@dataclass(frozen=True)
class Plan:
    """The settings that the trials of a sweep have in common.

    Args:
        source: how a trial's configuration is composed.
        fixed: overrides of every trial.
        objectives: what a trial is worth.
        measures: figures of a trial that the study keeps besides.
        guide: what trials are compared by while they run; None where they are not.
        directory: holds a directory for each trial.
        workers: trials at a time on this machine; 0 to look on while others run them.
        gpus_each: GPUs of a trial, where there are some.
        timeout: seconds after which no trial is started.
        one_space: the trials come from one space, so that one which is refused speaks for the others.
        token: what the study shows when the workers that have it are to end.
    """

    source: Source
    fixed: Sequence[str]
    objectives: Sequence[Objective]
    guide: Objective | None
    directory: Path
    workers: int
    gpus_each: int = 1
    timeout: float | None = None
    one_space: bool = False
    token: str = ""
    measures: Sequence[Objective] = ()

    @property
    def reported(self) -> tuple[str, ...]:
        """Metrics that the trials report at each evaluation."""
        metrics = [objective.metric for objective in self.objectives if objective.is_evaluated]
        return tuple(dict.fromkeys([*metrics, *([self.guide.metric] if self.guide else [])]))


class Loop:
    """Runs the trials of `book`. After `run`, `signum` tells which signal ended it, 0 for none."""

    def __init__(self, book: Book, plan: Plan, sheet: Sheet, screen: Screen, fleet: Fleet | None = None):
        self.book, self.plan, self.sheet, self.screen, self.fleet = book, plan, sheet, screen, fleet
        self.running: dict[int, Running] = {}
        self.signum = 0
        self.refused: list[str] = []  # why trials were refused, as long as every one was
        self.lacking = ""  # why a run that ended well is worth nothing, if one is
        self._accepted = False
        self._began = time.monotonic()
        self._looked = self._wrote = 0.0
        self._written = -1  # ended trials in sweep.json
        self._away_since: float | None = None
        self._gpus = shares.visible_gpus()
        self._threads = shares.threads_each(max(1, plan.workers))

    def run(self) -> None:
        with caught(self._note), self._no_orphans():
            while not (self.signum or self._is_hopeless or self._turn()):
                pass
            self._stop()
            self.screen.draw(self.book, now=True)
        self.sheet.write(self.book, at_end=True)

    def _turn(self) -> bool:
        """One look at everything; whether the sweep is over. A database that is away for a while is waited for."""
        try:
            self._fill()
            if not self.running and self._is_over():
                return True
            self._listen()
            self._look_around()
            self._away_since = None
        except StorageInternalError as error:
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > OUTAGE:
                raise
            self.screen.say(
                f"the storage does not answer, trying again: {masked(str(error.__cause__)).splitlines()[0]}"
            )
            time.sleep(RETRY)
        return False

    @property
    def _is_hopeless(self) -> bool:
        if self.plan.one_space and self.lacking:  # the others will lack it too
            return True
        return self.plan.one_space and not self._accepted and len(self.refused) >= HOPELESS

    @property
    def _timed_out(self) -> bool:
        return self.plan.timeout is not None and time.monotonic() - self._began > self.plan.timeout

    def _is_over(self) -> bool:
        if self._timed_out or self.book.is_complete:
            return True
        if self.fleet is None or self.fleet.alive():
            return False
        for reason in dict.fromkeys(self.fleet.lost()):
            self.screen.say(f"a worker was lost: {reason}")
        return True

    def _fill(self) -> None:
        """Start trials until every slot is taken or there is none to run."""
        free = [slot for slot in range(self.plan.workers) if slot not in {r.slot for r in self.running.values()}]
        for slot in free:
            if self._timed_out or self.signum:
                return
            asked = self.book.ask()
            if asked is None:
                return
            self._start(*asked, slot)

    def _start(self, trial: Trial, draft: Draft, slot: int) -> None:
        overrides, parameters = [*self.plan.fixed, *draft.overrides], dict(draft.parameters)
        directory = self.plan.directory / str(trial.number)
        self.book.start(trial, Start(overrides, parameters, str(directory), self.book.me))
        gpus = tuple(shares.gpus_of_slot(slot, self._gpus, self.plan.gpus_each)) if self._gpus else None
        scratch = Path(tempfile.mkdtemp(prefix="kasoku-"))
        job = Job(
            trial.number, tuple(overrides), parameters, directory, self.plan.reported, self._threads, gpus, scratch
        )
        child = Child(job, self.plan.source)
        self.running[trial.number] = Running(trial, child, slot, time.monotonic())

    def _listen(self) -> None:
        """Wait for a moment, answer what the trials report, and tell the study of those that ended."""
        channels: list[Any] = [r.child.connection for r in self.running.values()]
        channels += [r.child.sentinel for r in self.running.values()]
        if channels:
            wait(channels, TICK)
        else:
            time.sleep(TICK)
        for running in list(self.running.values()):
            for message in running.child.messages():
                self._heard(running, message)
            if running.child.has_ended:
                for message in running.child.messages():
                    self._heard(running, message)
                self._ended(running)

    def _heard(self, running: Running, message: tuple[Any, ...]) -> None:
        kind, *content = message
        if kind == "failed":
            running.child.reason = content[0]
            return
        count, values = content
        seen = running.child.seen
        for objective in self.plan.objectives:
            value = values.get(objective.metric)
            if value is not None and (objective.metric not in seen or objective.better(value, seen[objective.metric])):
                seen[objective.metric] = value
        try:
            running.child.answer(self._report(running, count, values))
        except StorageInternalError:
            running.child.answer(False)  # it waits for an answer, whatever the storage does
            raise

    def _report(self, running: Running, count: int, values: dict[str, float]) -> bool:
        """Enter a value at an evaluation; whether the trial is to stop there."""
        guide = self.plan.guide
        if guide is None or guide.metric not in values:
            return False
        sign = 1 if guide.mode == self.plan.objectives[0].mode else -1
        running.trial.report(sign * values[guide.metric], count)
        return running.trial.should_prune()

    def _ended(self, running: Running) -> None:
        end, result = running.child.end()
        seen = running.child.seen
        measured = {o.metric: o.value(result, seen) for o in self.plan.measures} if result else {}
        end = replace(end, values=self._values(end, result, seen), measures=measured)
        if end.state in ("completed", "reached_target") and result and None in end.values:
            reason = f"the run has no {self._missing(end)}"
            end = replace(end, state="failed", reason=reason)
            self.lacking = self.lacking or reason
        if end.state == "interrupted" and not self.signum:
            end = replace(end, state="failed", reason="ended by a signal")
        elif end.state == "failed" and self.signum:
            end = replace(end, state="interrupted")
        self.book.end(running.trial, end)
        del self.running[running.trial.number]
        running.child.close()
        self._count_refused(running.child.reason)
        self.screen.draw(self.book, now=True)
        self._write()

    def _values(self, end: End, result: Result | None, seen: dict[str, float]) -> list[float | None]:
        return [objective.value(result, seen) if result else None for objective in self.plan.objectives]

    def _missing(self, end: End) -> str:
        pairs = zip(self.plan.objectives, end.values, strict=True)
        return " ".join(objective.metric for objective, value in pairs if value is None)

    def _count_refused(self, reason: str) -> None:
        if reason.startswith("wrong configuration"):
            self.refused.append(reason)
        else:
            self._accepted = True

    def _look_around(self) -> None:
        """Do what is due every few seconds: signs of life, trials of machines that are gone, the screen."""
        now = time.monotonic()
        for running in self.running.values():
            if now - running.beat > BEAT:
                running.beat = now
                self.book.beat(running.trial)
        if now - self._looked > FOREIGN:
            self._looked = now
            self.book.give_up_lost(self.running)
            if self.book.is_halted(self.plan.token):
                self.signum = signal.SIGTERM
            self._write()
        self.screen.draw(self.book)

    def _write(self) -> None:
        """Write sweep.json if a trial has ended, seldom enough to cost little where trials are many and short."""
        ended = len(self.book.finished())
        if ended != self._written and time.monotonic() - self._wrote > 1.0:
            self.sheet.write(self.book)
            self._written, self._wrote = ended, time.monotonic()

    def _stop(self) -> None:
        """After a signal: let the trials save their checkpoints, then end them."""
        for running in self.running.values():
            running.child.interrupt()
        deadline = time.monotonic() + GRACE
        while self.running and time.monotonic() < deadline:
            self._listen()
        for running in list(self.running.values()):
            running.child.kill()
            self._ended(running)
        if self.fleet:
            self._stop_fleet()
        if self.signum:
            self.book.top_up()

    def _stop_fleet(self) -> None:
        """Let the workers elsewhere end in order: they leave once the study is complete, or says so."""
        if not self.book.is_complete:
            self.book.halt(self.plan.token)
        deadline = time.monotonic() + GRACE
        while self.fleet and self.fleet.alive() and time.monotonic() < deadline:
            time.sleep(TICK)
        if self.fleet:
            self.fleet.cancel()

    @contextmanager
    def _no_orphans(self) -> Iterator[None]:
        try:
            yield
        finally:
            for running in self.running.values():
                running.child.kill()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        """A first signal ends the sweep in order, a second one ends its trials at once."""
        if self.signum:
            for running in self.running.values():
                running.child.kill()
        self.signum = signum
