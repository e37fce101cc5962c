"""Guests of a run: every logger but its own metrics.csv, and the progress bar. None of them can end it."""

import functools
import inspect
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Gt
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers.logger import DummyExperiment, Logger

from kasoku.faults import masked

log = logging.getLogger("kasoku")

PATIENCE = 10.0  # seconds that a run waits for a guest
Patience = Annotated[float, Gt(0)] | None
# Calls that are not waited for any longer. Not those that send a checkpoint, whose time is that of its bytes, nor those
# of a progress bar, which come with every batch.
PROMPT = ("log_metrics", "log_hyperparams", "log", "add_scalar", "save", "finalize", "finish")
SHOWN = 200  # characters of an error's text


class Watch:
    """A guest's place in the run: kept until its first failure, which is said once by `name`, and left out after it."""

    def __init__(self, name: str, patience: float | None = PATIENCE):
        self.name, self.patience, self.is_out = name, patience, False

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of `function`; None if it fails or the guest is out."""
        if self.is_out:
            return None
        try:
            with within(self.patience if getattr(function, "__name__", "") in PROMPT else None):
                return function(*args, **kwargs)
        except (Exception, TookTooLong) as error:
            self.leave_out(error)
            return None

    def leave_out(self, error: BaseException) -> None:
        """Say what happened, unless it was said before."""
        if not self.is_out:
            log.warning("%s failed and is left out from here on, the training goes on: %s", self.name, in_short(error))
        self.is_out = True


class Guest:
    """Stands in front of `guest`, whose class isinstance sees, and lets none of its exceptions through.

    Once it is out its methods do nothing and its `experiment` takes whatever is asked of it.
    """

    def __init__(self, guest: Any, watch: Watch):
        vars(self).update(_guest=guest, _watch=watch)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(vars(self)["_guest"])

    def __getattr__(self, name: str) -> Any:
        guest, watch = vars(self)["_guest"], vars(self)["_watch"]
        try:
            value = getattr(guest, name)
        except Exception as error:
            if isinstance(error, AttributeError) and not hasattr(type(guest), name):
                raise
            watch.leave_out(error)
            value = None
        if name == "experiment":
            return DummyExperiment() if watch.is_out or value is None else Guest(value, watch)
        return _watched(value, watch) if callable(value) and not inspect.isclass(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_guest"], name, value)

    def __getitem__(self, key: Any) -> Any:
        watch = vars(self)["_watch"]
        value = watch.call(lambda: vars(self)["_guest"][key])
        return DummyExperiment() if watch.is_out else Guest(value, watch)

    def __setitem__(self, key: Any, value: Any) -> None:
        vars(self)["_watch"].call(lambda: vars(self)["_guest"].__setitem__(key, value))

    def __reduce__(self) -> Any:
        return Guest, (vars(self)["_guest"], vars(self)["_watch"])


def guarded(guest: Any, name: str = "", patience: float | None = PATIENCE) -> Any:
    """`guest` behind a Guest of that `name`, its class's where none is given; one that is guarded already as it is."""
    return guest if type(guest) is Guest else Guest(guest, Watch(name or type(guest).__name__, patience))


def guard(trainer: pl.Trainer, own: Logger) -> None:
    """Put a Guest before each logger of `trainer` but its `own`, and before its progress bars."""
    trainer.loggers = [logger if logger is own else guarded(logger) for logger in trainer.loggers]
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [guarded(c, "the progress bar") if isinstance(c, ProgressBar) else c for c in callbacks]


def _watched(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        own = [_own(value) for value in args]
        return watch.call(function, *own, **{name: _own(value) for name, value in kwargs.items()})

    return call


def _own(value: Any) -> Any:
    """A dictionary for a guest to change: the metrics of a step go to all loggers in one."""
    return dict(value) if type(value) is dict else value


def in_short(error: BaseException) -> str:
    """The kind of an error, the beginning of its text, and where it was raised."""
    text = " ".join(masked(str(error)).split())[:SHOWN]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


class TookTooLong(BaseException):
    """Raised in the midst of a guest's call; no Exception, so that nobody's retries swallow it."""


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Raise TookTooLong inside the block after `seconds`; not where there is no SIGALRM: on Windows, in threads."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"it took longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
