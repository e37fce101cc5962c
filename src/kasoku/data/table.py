"""A file of rows and columns: read as text, its columns told apart, made into numbers by what the training rows say."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kasoku.faults import ConfigError, Fault, show

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SHOWN = 3  # lines or values named in a message


@dataclass(frozen=True)
class Table:
    """Columns of text by name, and the line of the file that each row stands in."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, rows: Sequence[int]) -> str:
        """The lines of `rows`, the first few of them."""
        shown = ", ".join(str(self.lines[row]) for row in rows[:SHOWN])
        return f"line{'s' if len(rows) > 1 else ''} {shown}" + (" ..." if len(rows) > SHOWN else "")


@dataclass
class Encoded:
    """A column as numbers, float64 [N, width], with a name for each of the width."""

    names: list[str]
    values: np.ndarray
    unseen: int = 0  # values that no training row has


def read(path: Path, delimiter: str) -> Table:
    """The table in `path`, its columns named by the first line; UTF-8, or UTF-16 with a mark. Blank lines are none.

    Raises:
        ConfigError: of `data.path`: it is no such file; the line is named.
    """
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _fault(path, f"is no UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8") from None
    reader = csv.reader(text.splitlines(keepends=True), delimiter=DELIMITERS[delimiter], strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise _fault(path, f"line {reader.line_num} cannot be read: {error}") from None
    if not rows:
        raise _fault(path, "has no rows")
    names = rows[0][1]
    _check_names(path, names, delimiter)
    if len(rows) == 1:
        raise _fault(path, "has no rows below the names of its columns")
    if wrong := [(line, len(row)) for line, row in rows[1:] if len(row) != len(names)]:
        shown = ", ".join(f"line {line} has {count}" for line, count in wrong[:SHOWN])
        raise _fault(
            path, f"each row must have {len(names)} fields as the first, {shown}", "quote what holds a delimiter"
        )
    columns = {name: [row[place] for _, row in rows[1:]] for place, name in enumerate(names)}
    return Table(path, columns, [line for line, _ in rows[1:]])


def _check_names(path: Path, names: list[str], delimiter: str) -> None:
    if all(map(is_number, names)):
        raise _fault(
            path, "the first line must name the columns, it holds numbers alone", "write a line of names above"
        )
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise _fault(path, f"the first line must name each column once, found again: {show(doubled)}")
    if "" in names:
        raise _fault(path, f"the first line must name each column, the {names.index('') + 1}th has no name")
    others = [word for word, sign in DELIMITERS.items() if len(names) == 1 and word != delimiter and sign in names[0]]
    if others:
        raise _fault(path, f"has one column with {delimiter} between them", f"try data.delimiter={others[0]}")


def is_number(text: str) -> bool:
    """True if `text` is a finite number in digits: 3, -2.5, 1e-3."""
    return NUMBER.fullmatch(text) is not None and bool(np.isfinite(float(text)))


def as_numbers(values: Sequence[str], missing: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """float64 [N], NaN where a value is missing or no number, and the rows where it is no number."""
    wrong = [row for row, value in enumerate(values) if value not in missing and not is_number(value)]
    lacking = {row for row, value in enumerate(values) if value in missing} | set(wrong)
    return np.array([np.nan if row in lacking else float(value) for row, value in enumerate(values)]), wrong


def levels_of(values: Sequence[str]) -> list[str]:
    """The different values: in the order of numbers where all are, else in that of the alphabet."""
    different = set(values)
    return sorted(different, key=float) if all(map(is_number, different)) else sorted(different)


def of_numbers(name: str, values: np.ndarray, train: np.ndarray, standardize: bool) -> Encoded:
    """A column of numbers: less its mean, by its standard deviation, both over the training rows; a gap is at the mean.

    A second column says where the gaps are, if a training row has one.
    """
    present = values[train][~np.isnan(values[train])]
    mean = present.mean() if len(present) else 0.0
    scale = present.std() if len(present) else 0.0
    gaps = np.isnan(values)
    filled = np.where(gaps, mean, values)
    filled = (filled - mean) / (scale or 1.0) if standardize else filled
    if not gaps[train].any():
        return Encoded([name], filled[:, None])
    return Encoded([name, f"{name} is missing"], np.stack([filled, gaps], 1))


def of_levels(name: str, values: Sequence[str], train: np.ndarray, missing: Sequence[str]) -> Encoded:
    """A column of texts: one of 0 and 1 for each level of the training rows. A missing value is a level of its own."""
    known = ["" if value in missing else value for value in values]
    levels = levels_of([known[row] for row in train])
    place = {level: number for number, level in enumerate(levels)}
    found = np.array([place.get(value, -1) for value in known])
    names = [f"{name}={level}" if level else f"{name} is missing" for level in levels]
    return Encoded(names, (found[:, None] == np.arange(len(levels))).astype(float), int((found < 0).sum()))


def _fault(path: Path, must: str, fix: str = "") -> ConfigError:
    return ConfigError(Fault("data.path", path, must, fix))
