"""The user's own part of a traceback: the frames between the command and whatever library stumbled in the end."""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from traceback import FrameSummary, StackSummary

from kasoku import home

OURS = (Path(__file__).parent, Path(__file__).parents[1] / "hydra_plugins")
PYTHONS = (Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib")))
INSTALLED = ("site-packages", "dist-packages")
IN_TEXT = re.compile(r'File "(.+?)", line (\d+), in (\S+)\n(?:\s+(\S.*))?')  # of the traceback of a loader's worker
OF_A_WORKER = "Original Traceback"


def own_frames(error: BaseException) -> list[FrameSummary]:
    """The frames of the user's files, the innermost last; those that a worker process reports are among them.

    Where an error was raised from another one, the frames are those of the first that has any.
    """
    for link in reversed(list(_chain(error))):
        if own := [frame for frame in (*traceback.extract_tb(link.__traceback__), *_reported(link)) if _is_own(frame)]:
            return own
    return []


def shown(error: BaseException) -> str:
    """The user's own frames as Python shows them."""
    return "".join(StackSummary.from_list(own_frames(error)).format())


def brief(error: BaseException) -> str:
    """The user's own frames, one line for the error, and its notes."""
    lines = [f"{type(error).__name__}: {_line(error)}", *getattr(error, "__notes__", [])]
    return shown(error) + "\n".join(lines)


def _line(error: BaseException) -> str:
    """The first line of the message; of what a worker reports, that of the worker's own error."""
    lines = str(error).strip().splitlines() or [""]
    head = f"{type(error).__name__}: "
    return next((line.removeprefix(head) for line in reversed(lines) if line.startswith(head)), lines[0])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it was raised from or while handling, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _reported(error: BaseException) -> list[FrameSummary]:
    text = str(error).partition(OF_A_WORKER)[2]
    return [FrameSummary(file, int(line), name, line=code) for file, line, name, code in IN_TEXT.findall(text)]


def _is_own(frame: FrameSummary) -> bool:
    path = Path(frame.filename)
    if not path.is_absolute() or path == Path(sys.argv[0]).absolute():
        return False
    installed = [package for folder, package in pairwise(path.parts) if folder in INSTALLED]
    if installed:
        return installed[-1].removesuffix(".py") in _trusted_packages()
    return not any(path.is_relative_to(folder) for folder in (*OURS, *PYTHONS))


def _trusted_packages() -> set[str]:
    """Those that the user trusts are the user's own."""
    return {name.strip().split(".")[0] for name in os.environ.get(home.TRUST, "").split(",")}
