"""The Optuna study behind a sweep: who is to run what, and what came of it.

A study holds a ticket, a waiting trial, for each trial that is to be run. Whoever takes it, on whatever machine, has it
alone; so a sweep ends with exactly n_trials however many take part. A trial whose process is gone, together with what
ran it, is lost: it does not count, and a new ticket takes its place.
"""

import os
import re
import socket
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from kasoku.faults import ConfigError, Fault, hide
from kasoku.files import is_running
from kasoku.search.agenda import END, OPEN, START, TICKET, Agenda, Draft, counts
from kasoku.search.job import End, Start
from kasoku.search.objective import Objective

optuna.logging.set_verbosity(optuna.logging.ERROR)

BEAT = 30.0  # seconds between two signs of life of a running trial
SILENCE = 120.0  # seconds after which a trial that gave none is lost
PATIENCE = 5.0  # seconds to wait for whoever creates the study
READY, HALT, IDENTITY, LIFE = "ready", "halt", "identity", "beat"
QUERIED = re.compile(r"(?<=[?&]password=)[^&'\"]+")


def open_storage(address: str) -> BaseStorage:
    """A database at a URL, or a journal at a path.

    Raises:
        ConfigError: it does not answer, cannot be written, or its driver is not installed.
    """
    _hide_password(address)
    try:
        if "://" in address:
            return _open_database(_with_driver(address))
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(address))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            Fault("sweeper.storage", without_password(address), f"cannot be opened: {lines[0]}")
        ) from None


def _open_database(url: str) -> RDBStorage:
    """Several that open an empty database at the same moment are in each other's way while the tables are made."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(4):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2})
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if isinstance(error, OperationalError) and "already exists" not in str(error):
                raise  # it does not answer
            time.sleep(0.5 * 2**attempt)
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2})


def _with_driver(url: str) -> str:
    """PostgreSQL through psycopg 3 unless the URL says otherwise; SQLAlchemy's default is its predecessor."""
    scheme, rest = url.split("://", 1)
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url


def _hide_password(address: str) -> None:
    """A driver's error can hold the whole URL."""
    password = address.rpartition("@")[0].partition("://")[2].partition(":")[2]
    for written in {password, *QUERIED.findall(address)}:
        hide(written, "***")
        hide(unquote(written), "***")


def without_password(address: str) -> str:
    """`address` as it may be shown and written down."""
    scheme, separator, rest = address.partition("://")
    user, at, host = rest.rpartition("@")
    return QUERIED.sub("***", f"{scheme}{separator}{user.partition(':')[0]}{at}{host}") if separator else address


class Book:
    """The study of one sweep, and the `agenda` of the trials that it is to end with."""

    def __init__(self, study: optuna.Study, agenda: Agenda):
        self.study, self.agenda = study, agenda
        self.me = f"{socket.gethostname()}:{os.getpid()}"

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def live(self) -> list[FrozenTrial]:
        """Trials that count: to be run, running, or ended by themselves."""
        return [trial for trial in self.trials() if counts(trial)]

    def finished(self) -> list[FrozenTrial]:
        """Trials that ended by themselves, well or badly."""
        return [trial for trial in self.live() if trial.state not in OPEN]

    @property
    def is_complete(self) -> bool:
        return self.agenda.is_complete(self.live())

    def top_up(self) -> None:
        """Write the tickets that are missing."""
        for ticket in self.agenda.missing(self.live()):
            self.study.enqueue_trial(dict(ticket.params), dict(ticket.attrs))

    def ask(self) -> tuple[Trial, Draft] | None:
        """A trial to run; None where there is no ticket."""
        while not self.is_complete and self._has_ticket():
            trial = self.study.ask()
            if TICKET not in trial.user_attrs:  # another machine took the last ticket in this moment
                self.end(trial, End("lost", "surplus"))
                return None
            if not self.agenda.is_surplus(trial, self.live()):
                return trial, self.agenda.draft(trial)
            self.end(trial, End("lost", "surplus"))
        return None

    def _has_ticket(self) -> bool:
        """True if a trial waits to be run, perhaps only now that others have ended."""
        if not any(trial.state is TrialState.WAITING for trial in self.trials()):
            self.top_up()
        return any(trial.state is TrialState.WAITING for trial in self.trials())

    def start(self, trial: Trial, start: Start) -> None:
        trial.set_user_attr(LIFE, time.time())
        trial.set_user_attr(START, vars(start))

    def beat(self, trial: Trial) -> None:
        trial.set_user_attr(LIFE, time.time())

    def end(self, trial: Trial | FrozenTrial, end: End) -> bool:
        """Enter `end`; False where another machine has given the trial up in the meantime."""
        frozen = self.study._storage.get_trial(trial._trial_id)
        if frozen.state.is_finished():
            return False
        self.study._storage.set_trial_user_attr(trial._trial_id, END, vars(end))
        values, state = _optuna_state(end, frozen)
        self.study.tell(trial.number, values=values, state=state)
        return True

    def give_up_lost(self, alive: Iterable[int] = ()) -> list[int]:
        """End the running trials that nobody runs any more, but for those `alive` in this process; their numbers."""
        lost = [
            t for t in self.trials() if t.state is TrialState.RUNNING and t.number not in alive and self._is_lost(t)
        ]
        for trial in lost:
            self.end(trial, End("lost", "the process that ran it is gone"))
        if lost:
            self.top_up()
        return [trial.number for trial in lost]

    def halt(self, token: str) -> None:
        """Let the workers that have `token` end."""
        self.study.set_user_attr(HALT, token)

    def is_halted(self, token: str) -> bool:
        return bool(token) and self.study.user_attrs.get(HALT) == token

    def _is_lost(self, trial: FrozenTrial) -> bool:
        begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        silent = time.time() - trial.user_attrs.get(LIFE, begun) > SILENCE
        host, _, pid = trial.user_attrs.get(START, {}).get("owner", "").partition(":")
        if not pid:
            return silent
        is_gone = host == socket.gethostname() and (int(pid) == os.getpid() or not is_running(int(pid)))
        return silent or is_gone


def open_study(
    name: str, storage: BaseStorage, objectives: Sequence[Objective], identity: Sequence[str]
) -> tuple[optuna.Study, bool]:
    """The study `name`, and whether it is new.

    Raises:
        ConfigError: the one that is there belongs to another command.
    """
    modes = [{"max": "maximize", "min": "minimize"}[objective.mode] for objective in objectives]
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=modes)  # type: ignore[arg-type]
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        _wait_until_ready(study)
        _refuse_another(study, identity, modes)
        return study, False
    study.set_user_attr(IDENTITY, list(identity))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in objectives])
    return study, True


def open_book(study: optuna.Study, agenda: Agenda) -> Book:
    """`study` with a ticket for each trial that is missing, and none that runs but is lost."""
    book = Book(study, agenda)
    book.give_up_lost()
    book.top_up()
    study.set_user_attr(READY, True)
    return book


def _wait_until_ready(study: optuna.Study) -> None:
    """Let whoever is creating the study write the tickets; if nobody does, it was killed while it did."""
    patience = time.monotonic() + PATIENCE
    while READY not in study.user_attrs and time.monotonic() < patience:
        time.sleep(0.1)


def _refuse_another(study: optuna.Study, identity: Sequence[str], modes: Sequence[str]) -> None:
    there = study.user_attrs.get(IDENTITY, list(identity))
    directions = [direction.name.lower() for direction in study.directions]
    if there != list(identity) or directions != list(modes):
        other = sorted({*there} ^ {*identity}) or [f"sweeper.mode {' '.join(directions)}"]
        must = f"is the study of another command, which differs in {' '.join(other)}"
        raise ConfigError(Fault("sweeper.study", study.study_name, must, "give the same command, or another study"))


def _optuna_state(end: End, trial: FrozenTrial) -> tuple[list[float] | None, TrialState]:
    values = [value for value in end.values if value is not None]
    if end.state in ("completed", "reached_target") and values and len(values) == len(end.values):
        return values, TrialState.COMPLETE
    if end.state == "pruned" and trial.intermediate_values:
        return None, TrialState.PRUNED
    return None, TrialState.FAIL
