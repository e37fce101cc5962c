"""Faults of a configuration, said so that they can be put right: the key, the value, what must hold, the fix."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_LINES = 10
LONGEST_VALUE = 80
SECRET = 4  # characters; what is shorter hides nothing

_HIDDEN: dict[str, str] = {}


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # stays the one object through pickle and copy


MISSING: Any = _Missing()


@dataclass(frozen=True)
class Fault:
    """One wrong thing: `key` as the user types it, the `value` got, what `must` hold, and what to do about it.

    A `value` of MISSING stands for no value at all.

    >>> print(Fault("optimizer.lr", -1, "must be a positive finite number"))
    optimizer.lr=-1: must be a positive finite number
    """

    key: str
    value: object
    must: str
    fix: str = ""

    def __str__(self) -> str:
        given = self.key if self.value is MISSING else f"{self.key}={show(self.value)}"
        return masked(f"{given}: {self.must}" + (f"; {self.fix}" if self.fix else ""))


class ConfigError(ValueError):
    """A configuration or an input file is wrong. Holds every fault found; exit code 2 on the command line."""

    def __init__(self, *faults: Fault):
        self.faults = faults
        super().__init__(*faults)

    def __str__(self) -> str:
        return report(self.faults)


def hide(value: str, shown: str) -> None:
    """Let no message have `value`, which comes from the environment, but what is `shown` for it."""
    if len(value) >= SECRET:
        _HIDDEN[value] = shown


def masked(text: str) -> str:
    """`text` without the values that are hidden, where they stand as words.

    >>> hide("hunter2", "${oc.env:KEY}")
    >>> masked("model.key=hunter2: must be a number, not of hunter22")
    'model.key=${oc.env:KEY}: must be a number, not of hunter22'
    """
    for value in sorted(_HIDDEN, key=len, reverse=True):
        if value in text:
            text = _HIDDEN[value].join(re.split(rf"(?<!\w){re.escape(value)}(?!\w)", text))
    return text


def report(faults: Sequence[Fault]) -> str:
    """The message for `faults`: a head, and one line for each of at most MOST_LINES."""
    lines = [f"  {' '.join(str(fault).split())}" for fault in faults[:MOST_LINES]]
    if len(faults) > MOST_LINES:
        lines[-1:] = [f"  ... and {len(faults) - MOST_LINES + 1} more"]
    head = "wrong configuration:" if len(faults) == 1 else f"wrong configuration, {len(faults)} faults:"
    return "\n".join([head, *lines])


def show(value: object) -> str:
    """`value` as a user would type it on the command line; a text that would be read as something else is quoted.

    >>> show(None), show([1, True]), show("3ep"), show("0.1")
    ('null', '[1,true]', '3ep', "'0.1'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(show, value)) + "]"
    text = masked(str(value))
    if len(text) > LONGEST_VALUE and "/" not in text:  # the end of a path is what tells
        text = f"{text[:LONGEST_VALUE]}..."
    return f"'{text}'" if isinstance(value, str) and _reads_as_other(value) else text


def _reads_as_other(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return text.strip().lower() in ("", "null", "true", "false")


def nearest(word: str, options: Iterable[str]) -> str:
    """'did you mean X?', or nothing where no option is close to `word` or an abbreviation of it.

    >>> nearest("nestrov", ["adam", "nesterov"]), nearest("learning_rate", ["eps", "lr"]), nearest("abc", ["lr"])
    ('did you mean nesterov?', 'did you mean lr?', '')
    """
    close = closest(word, options)
    return f"did you mean {close}?" if close else ""


def closest(word: str, options: Iterable[str]) -> str:
    """The option that is an abbreviation of `word`, most like it, or a part of it, or the reverse; "" if none is."""
    options = list(options)
    close = [option for option in options if word == _initials(option) or option == _initials(word)]
    close += difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    close += [option for option in options if min(len(word), len(option)) > 2 and (option in word or word in option)]
    return close[0] if close else ""


def _initials(name: str) -> str:
    parts = [part for part in name.split("_") if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""


def unknown(key: str, value: object, name: str, options: Iterable[str], what: str) -> Fault:
    """The fault of a `name` that is none of `options`, `what` saying what they are."""
    options = sorted(options)
    return Fault(key, value, f"{what}: {' '.join(options) or 'none'}", nearest(name, options))
