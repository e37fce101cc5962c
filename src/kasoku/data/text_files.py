"""Text files as characters: decoded as their mark says, or the key, or as UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kasoku.faults import ConfigError, Fault

# The longer first: UTF-32's little-endian mark begins with UTF-16's.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
MARK = "\ufeff"
UTF8 = "utf-8"
CONTROLS = np.array([*range(8), *range(14, 27), *range(28, 32), 127])  # less \a \b \t \n \v \f \r and escape
MOST_CONTROLS = 0.1  # of a text's bytes; half of those of UTF-16 are
MOST_ZEROS = 0.9  # of the upper bytes of UTF-32
SCANNED = 1 << 24  # bytes looked at in one go


def counts(path: Path) -> np.ndarray:
    """int64 [256]: how often each byte is in the file."""
    content = np.memmap(path, np.uint8, "r")
    stretches: Iterator[np.ndarray] = (content[at : at + SCANNED] for at in range(0, len(content), SCANNED))
    return sum((np.bincount(part, minlength=256) for part in stretches), np.zeros(256, np.int64))


def encoding_of(path: Path, counted: np.ndarray, given: str | None) -> str:
    """The encoding of `path`, whose bytes are `counted`: the `given` one, or that of its mark, or UTF-8.

    Raises:
        ConfigError: there is no such encoding; or none is given and a file without a mark looks like UTF-16 or 32.
    """
    if given is not None:
        return _known(given)
    with path.open("rb") as file:
        start = file.read(1 << 12)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    share = counted[CONTROLS].sum() / counted.sum()
    if share > MOST_CONTROLS:
        likely = _of_controls(start)
        must = f"must be given for {path}: {share:.0%} of it are control characters, as in {likely} without a mark"
        raise ConfigError(Fault("data.encoding", None, must, f"data.encoding={likely}, or utf-8 if they are text"))
    return UTF8


def _of_controls(start: bytes) -> str:
    """The encoding whose units of 4 bytes have two zeros, or those of 2 their control characters, where `start` has."""
    zeros = [start[at::4].count(0) >= MOST_ZEROS * len(start[at::4]) for at in range(4)]
    if all(zeros[2:]) or all(zeros[:2]):
        return "utf-32-le" if all(zeros[2:]) else "utf-32-be"
    odd, even = (np.isin(np.frombuffer(start[place::2], np.uint8), CONTROLS).sum() for place in (1, 0))
    return "utf-16-le" if odd > even else "utf-16-be"


def decode(path: Path, encoding: str) -> str:
    """The whole text, without its mark. Raises UnicodeDecodeError."""
    return path.read_bytes().decode(encoding).removeprefix(MARK)


def _known(name: str) -> str:
    try:
        "".encode(name)
    except LookupError as error:
        must = "must be an encoding of text that Python knows, such as utf-8, utf-16-le, latin-1 or cp1252"
        raise ConfigError(Fault("data.encoding", name, must)) from error
    return codecs.lookup(name).name
