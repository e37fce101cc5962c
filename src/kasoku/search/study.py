"""The Optuna study behind a sweep: who is to run what, and what came of it.

A study holds a ticket, a waiting trial, for each trial that is to be run. Whoever takes it, on whatever machine, has it
alone; so a sweep ends with exactly n_trials however many take part. A trial whose process is gone, together with what
ran it, is lost: it does not count, and a new ticket takes its place.
"""

import os
import socket
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from kasoku.faults import ConfigError, Fault
from kasoku.search.objective import Objective
from kasoku.search.space import Choice, Parameter, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

BEAT = 30.0  # seconds between two signs of life of a running trial
SILENCE = 120.0  # seconds after which a trial that gave none is lost
PATIENCE = 5.0  # seconds to wait for whoever creates the study
READY, HALT, IDENTITY, TICKET, START, END, LIFE = "ready", "halt", "identity", "ticket", "start", "end", "beat"
OPEN = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class Start:
    """What a trial is run with, as the study keeps it."""

    overrides: list[str]
    parameters: dict[str, Any]
    directory: str
    owner: str


@dataclass(frozen=True)
class End:
    """What came of a trial. `state` is a run's status, or lost; `values` are those of the objectives."""

    state: str
    reason: str = ""
    values: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0


def open_storage(address: str) -> BaseStorage:
    """A database at a URL, or a journal at a path.

    Raises:
        ConfigError: it does not answer, cannot be written, or its driver is not installed.
    """
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
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for attempt in range(4):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2})
        except (IntegrityError, ProgrammingError):
            time.sleep(0.5 * 2**attempt)
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2})


def _with_driver(url: str) -> str:
    """PostgreSQL through psycopg 3 unless the URL says otherwise; SQLAlchemy's default is its predecessor."""
    scheme, rest = url.split("://", 1)
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url


def without_password(address: str) -> str:
    """`address` as it may be shown and written down."""
    scheme, separator, rest = address.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}" if separator else address


class Book:
    """The study of one sweep.

    Args:
        study: as Optuna has it.
        n_trials: how many trials the sweep ends with.
        space: what is varied.
        combinations: the points of a grid, as values of the parameters' names; none for a sampled space.
    """

    def __init__(self, study: optuna.Study, n_trials: int, space: Space, combinations: Sequence[dict[str, str]] = ()):
        self.study, self.n_trials, self.space, self.combinations = study, n_trials, space, combinations
        self.me = f"{socket.gethostname()}:{os.getpid()}"

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """Trials that ended by themselves, well or badly."""
        return [trial for trial in self.trials() if counts(trial) and trial.state not in OPEN]

    @property
    def is_complete(self) -> bool:
        return len(self.finished()) >= self.n_trials

    def top_up(self) -> None:
        """Write the tickets that are missing."""
        live = [trial for trial in self.trials() if counts(trial)]
        if self.combinations:
            there = {trial.user_attrs.get(TICKET) for trial in live}
            missing = [index for index in range(self.n_trials) if index not in there]
            for index in missing:
                self.study.enqueue_trial(self.combinations[index], {TICKET: index})
        else:
            for _ in range(self.n_trials - len(live)):
                self.study.enqueue_trial({}, {TICKET: True})

    def ask(self) -> tuple[Trial, dict[Parameter, Any]] | None:
        """A trial to run and its point; None where there is no ticket."""
        trials = self.trials()
        taken = sum(counts(trial) and trial.state is not TrialState.WAITING for trial in trials)
        if taken >= self.n_trials or not any(trial.state is TrialState.WAITING for trial in trials):
            return None
        trial = self.study.ask()
        if TICKET not in trial.user_attrs:  # another machine took the last ticket in this moment
            self.end(trial, End("lost", "surplus"))
            return None
        return trial, self.space.sample(lambda parameter: suggest(trial, parameter))

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
        is_gone = host == socket.gethostname() and (int(pid) == os.getpid() or not _is_running(int(pid)))
        return silent or is_gone


def counts(trial: FrozenTrial) -> bool:
    """Whether the trial is one of the n_trials: to be run, running or ended by itself."""
    return trial.user_attrs.get(END, {}).get("state") not in ("lost", "interrupted")


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """The study's value for `parameter`."""
    name, values = parameter.name, parameter.values
    if isinstance(values, Choice):
        return trial.suggest_categorical(name, values.options)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, step=int(values.step or 1), log=values.log)
    return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


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


def open_book(study: optuna.Study, n_trials: int, space: Space, combinations: Sequence[dict[str, str]]) -> Book:
    """`study` with a ticket for each trial that is missing, and none that runs but is lost."""
    book = Book(study, n_trials, space, combinations)
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


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # killed, not yet reaped
    except OSError:
        return True
