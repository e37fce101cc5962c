"""The comments of a YAML file and the sentences of a docstring, by the keys that they are about."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

KEY = re.compile(r"""^(\s*)("[^"]*"|'[^']*'|[\w.-]+):(\s|$)(.*)$""")


def comments(text: str) -> dict[str, str]:
    """Dotted key -> its comment: beside it, gone on with below it in the same column, or right above it.

    >>> comments('''lr: 0.1  # > 0;
    ...          # 1e-4 to 1e-2
    ... # of the batch
    ... net:
    ...   width: 3  # units
    ... ''')
    {'lr': '> 0; 1e-4 to 1e-2', 'net': 'of the batch', 'net.width': 'units'}
    """
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    column = -1  # of the comment that the last key has beside it
    for line in text.splitlines():
        if match := KEY.match(line):
            indent, name = len(match[1]), match[2].strip("\"'")
            path = [part for part in path if part[0] < indent] + [(indent, name)]
            key = ".".join(part for _, part in path)
            column, beside = _comment(line, match.start(4))
            said = " ".join([beside] if beside else above)
            if said:
                found[key] = said
            above = []
        elif line.lstrip().startswith("#"):
            here, words = _comment(line, 0)
            if column > 0 and here == column:
                found[key] = f"{found[key]} {words}"
            else:
                above.append(words)
        else:
            above, column = [], -1
    return found


def head(text: str) -> str:
    """The comment that a file opens with, but for Hydra's own line, up to its first empty line."""
    return " ".join(_head(text))


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#") or line.strip() == "#":
            return
        yield line[1:].strip()


def _comment(line: str, start: int) -> tuple[int, str]:
    """Column and words of the comment in `line` behind `start`; -1 and "" where there is none."""
    quote = ""
    for index in range(start, len(line)):
        sign = line[index]
        if quote:
            quote = "" if sign == quote else quote
        elif sign == "#" and (index == 0 or line[index - 1].isspace()):
            return index, line[index + 1 :].strip()
        elif sign in "\"'":
            quote = sign
    return -1, ""


def arguments(made: Callable[..., Any]) -> dict[str, str]:
    """The sentences of the section Args of a docstring, by argument; arguments that share one have it each."""
    text = "\n".join(filter(None, (inspect.getdoc(made), inspect.getdoc(getattr(made, "__init__", None)))))
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if match := re.match(r"    (\w[\w, ]*?)(?: \([^)]*\))?: (.*)", line):
            names = [name.strip() for name in match[1].split(",")]
            found |= dict.fromkeys(names, match[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
