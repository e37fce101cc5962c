"""The signals that end a run: SIGINT, SIGTERM, SIGHUP (a lost terminal) and SIGUSR1 (a cluster's warning)."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 5.0  # seconds
POLL = 0.05  # seconds
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))


class Stopped(BaseException):
    """A signal ended what has nothing to save; `signum` says which. No Exception, so that no guest swallows it."""

    def __init__(self, signum: int):
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


@contextmanager
def caught(note: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Hand these signals to `note` inside the block; the handlers from before come back after it.

    SIGHUP stays as it is where it is ignored, as under nohup.
    """
    hangup = getattr(signal, "SIGHUP", None)
    ignored = hangup is not None and signal.getsignal(hangup) == signal.SIG_IGN
    before = {signum: signal.signal(signum, note) for signum in ENDING if signum != hangup or not ignored}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def deadly() -> Iterator[None]:
    """SIGINT kills inside the block as the others do; the KeyboardInterrupt that it raises else, libraries swallow."""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if raises and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def raising() -> Iterator[None]:
    """Raise Stopped inside the block at the first of these signals, after the import that is going on; a second kills.

    The module of an extension in C++ that meets an exception while it starts aborts the process, hence the wait. Python
    drops an exception that is raised in a destructor or a callback of C: where the block has not ended after GRACE
    seconds, the signal kills.
    """
    timers: list[threading.Timer] = []

    def send(signum: int, after: float) -> None:
        timer = threading.Timer(after, os.kill, (os.getpid(), signum))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def stop(signum: int, frame: FrameType | None) -> None:
        if _importing(frame):
            return send(signum, POLL)
        signal.signal(signum, signal.SIG_DFL)
        send(signum, GRACE)
        raise Stopped(signum)

    try:
        with caught(stop):
            yield
    finally:
        for timer in timers:
            timer.cancel()


def _importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False
