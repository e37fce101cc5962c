"""SIGINT and SIGTERM, caught for a while."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def caught(note: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Hand both signals to `note` inside the block; the handlers from before come back after it."""
    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
