"""Patterns over the names of parameters: a glob, or a regular expression as re:..."""

import fnmatch
import re
from collections.abc import Iterable, Sequence

from kasoku.faults import Fault, nearest


def matches(pattern: str, name: str) -> bool:
    """True if a parameter's whole name matches a glob, or the regular expression after "re:"."""
    if pattern.startswith("re:"):
        return re.fullmatch(pattern[3:], name) is not None
    return fnmatch.fnmatchcase(name, pattern)


def matching(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """Those of `names` that any of `patterns` matches."""
    patterns = list(patterns)
    return {name for name in names if any(matches(pattern, name) for pattern in patterns)}


def unreadable(key: str, pattern: object) -> list[Fault]:
    """The fault of a `pattern` that is no text or no regular expression."""
    if not isinstance(pattern, str):
        return [Fault(key, pattern, "must be a text: a glob, or a regular expression as re:...")]
    try:
        matches(pattern, "")
    except re.error as error:
        return [Fault(key, pattern, f"is no regular expression: {error}")]
    return []


def unmatched(given: Iterable[tuple[str, str]], names: Sequence[str]) -> list[Fault]:
    """A fault for each of the pairs (key, pattern) whose pattern matches none of `names`."""
    return [
        Fault(key, pattern, "matches no parameter", _near(pattern, names))
        for key, pattern in given
        if not matching([pattern], names)
    ]


def _near(pattern: str, names: Sequence[str]) -> str:
    prefixes = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    few = f"parameters are {' '.join(names[:6])}{' ...' if len(names) > 6 else ''}"
    return nearest(pattern, [*names, *(f"{prefix}.*" for prefix in sorted(prefixes))]) or few
