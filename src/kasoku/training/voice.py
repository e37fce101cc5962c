"""The words of a run on the terminal: as much as `verbosity` asks for, and a small picture at its end."""

import logging
import math
import sys
from pathlib import Path

from kasoku.report.runs import curves
from kasoku.training.pictures import chart

LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "debug": logging.DEBUG}
WIDTH, HEIGHT = 60, 5
FEWEST = 3  # points of a curve that is worth a picture


def tune(verbosity: str) -> None:
    """Let the console say what `verbosity` asks for. train.log keeps the lines of normal, and those of debug."""
    own = logging.getLogger("kasoku")
    own.setLevel(min(LEVELS[verbosity], logging.INFO))
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # a FileHandler is one too
            handler.setLevel(LEVELS[verbosity] if verbosity == "quiet" else logging.NOTSET)
    if verbosity == "debug":
        logging.getLogger("pytorch_lightning").setLevel(logging.DEBUG)


def draws() -> bool:
    """True where stdout is a terminal and the run is not to be quiet."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    return sys.stdout.isatty() and not any(handler.level >= logging.WARNING for handler in handlers)


def charts(directory: Path, metric: str) -> str:
    """The training loss and the target's metric over the run, as wide as each other, without colours."""
    found = curves(directory, most=WIDTH)
    names = [name for name in dict.fromkeys(["train/loss", metric]) if _fit(found.get(name))]
    return "\n".join(chart(name, _stretched(found[name][1]), WIDTH, HEIGHT) for name in names)


def _stretched(values: list[float]) -> list[float]:
    return [values[i * len(values) // WIDTH] for i in range(WIDTH)]


def _fit(curve: tuple[list[int], list[float]] | None) -> bool:
    return curve is not None and len(curve[1]) >= FEWEST and all(map(math.isfinite, curve[1]))
