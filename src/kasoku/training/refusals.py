"""Refusals of Lightning, said as any other wrong configuration: in one line, under the key that it is about."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb, walk_tb

from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from kasoku.faults import MISSING, ConfigError, Fault
from kasoku.tracebacks import own_frames
from kasoku.training.run import Run

KINDS = (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError)
LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning")


@contextmanager
def refusals(run: Run) -> Iterator[None]:
    """Make a ConfigError of what Lightning raises itself in the block, where nothing of the user's was running.

    Another error gets a note with the key of the callback whose hook it was raised in.

    Raises:
        ConfigError: with Lightning's words.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ConfigError) or not (isinstance(error, KINDS) and _is_lightnings(error)):
            for callback in _callbacks(error, run):
                error.add_note(f"raised in {run.names[callback]}={type(callback).__name__}")
                break
            raise
        raise ConfigError(_fault(error, run)) from error


def _is_lightnings(error: BaseException) -> bool:
    """True if a line of Lightning's own raised `error` on purpose."""
    last = list(walk_tb(error.__traceback__))[-1][0]
    said = str(extract_tb(error.__traceback__)[-1].line).startswith("raise")
    return said and last.f_globals.get("__name__", "").split(".")[0] in LIGHTNING and not own_frames(error)


def _fault(error: BaseException, run: Run) -> Fault:
    must, settings = " ".join(str(error).split()), getattr(run.trainer, "keywords", {})
    for callback in _callbacks(error, run):
        return Fault(run.names[callback], type(callback).__name__, must)
    for name in re.findall(r"\w+", must):
        if name in settings:
            return Fault(f"trainer.{name}", settings[name], must)
    return Fault("callbacks" if "callback" in must else "trainer", MISSING, must)


def _callbacks(error: BaseException, run: Run) -> list[Callback]:
    """Those with a key whose methods were running when `error` was raised, the innermost first."""
    owners = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    return [owner for owner in reversed(owners) if isinstance(owner, Callback) and owner in run.names]
