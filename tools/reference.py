"""Write docs/reference: every option of every group, from the comments of conf/ and the signatures of what it names.

python tools/reference.py            writes the pages
python tools/reference.py --check    exit code 1 if one of them is another

A key's meaning is the comment beside it in its YAML; what it accepts is worded by the check that refuses other values.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object

from kasoku import signatures
from kasoku.config import ranges
from kasoku.search import launchers
from kasoku.search.race.strategies import Settings as Race
from kasoku.search.settings import Settings as Sweeper

ROOT = Path(__file__).parent.parent
CONF, PAGES = ROOT / "conf", ROOT / "docs" / "reference"
GROUPS = {  # in the order of the contents: what is chosen there, and the file with what its options share
    "recipe": ("optimizer, schedule and warmup in one word", ""),
    "optimizer": ("the rule of a step", "_optimizer"),
    "scheduler": ("the lr over the run", ""),
    "warmup": ("the lr's way up to its base", ""),
    "task": ("how outputs and targets pair, loss, metrics, target", ""),
    "model": ("the net", "_model"),
    "data": ("what is trained on", ""),
    "trainer": ("length, devices, precision", ""),
    "callbacks": ("what acts beside the training", ""),
    "logger": ("where metrics go", ""),
    "sweeper": ("how a sweep chooses its trials; read with `-m`", "_sweeper"),
    "search": ("what a sweep varies; read with `-m`", "_search"),
    "race": ("strategies held against each other; read with `-m sweeper=race`", "_race"),
    "launcher": ("where the workers of a sweep run; read with `-m`", ""),
    "experiment": ("whole runs that were measured", ""),
}
WRITTEN = "<!-- Written by tools/reference.py from conf/ and src/, not by hand. -->\n"


@dataclass
class Entry:
    """A key of a YAML: its path, the text of its value ("" for a mapping) and the comment beside it."""

    path: tuple[str, ...]
    value: str
    comment: list[str] = field(default_factory=list)


def main() -> int:
    """Write the pages, or check them; the exit code."""
    made = pages()
    if "--check" not in sys.argv:
        PAGES.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (PAGES / name).write_text(text)
    if stale := differing(made):
        print(f"docs/reference is not that of conf/ and src/ ({' '.join(stale)}): python tools/reference.py")
    return bool(stale)


def differing(made: Mapping[str, str]) -> list[str]:
    """The names of the pages that are not as `made` has them, those that it lacks included."""
    there = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    return sorted(name for name in {*made, *there} if made.get(name) != there.get(name))


def pages() -> dict[str, str]:
    """File name -> text, for every page of the reference."""
    return {"index.md": _index()} | {f"{group}.md": _page(group) for group in GROUPS}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _index() -> str:
    rows = [f"| [`{group}`]({group}.md) | {what} | {' '.join(options(group))} |" for group, (what, _) in GROUPS.items()]
    keys = _table(read((CONF / "train.yaml").read_text())[1], "", {})
    return "\n".join(
        [
            *("# Reference\n", WRITTEN),
            "An option is chosen by `GROUP=OPTION`, a key set by `KEY=VALUE`, on the command line or in a file of your",
            "own; `kasoku --help` prints the groups, `kasoku --cfg job` the configuration that a command composes.",
            "*Accepts* is what the check says that refuses other values.\n",
            *("| group | what is chosen | options |", "|---|---|---|", *rows, ""),
            *("## Keys of no group\n", *keys, ""),
        ]
    )


def _page(group: str) -> str:
    what, shared = GROUPS[group]
    lines = [f"# {group}\n", WRITTEN, f"{what[0].upper()}{what[1:]}: `{group}=OPTION`.\n"]
    for name in options(group):
        lines += _section(group, name, (CONF / group / f"{name}.yaml").read_text())
    if shared:
        lines += [f"## What every {group} has\n", *_section(group, "", (CONF / f"{shared}.yaml").read_text())]
    return "\n".join(lines)


def _section(group: str, name: str, text: str) -> list[str]:
    """An option: the head of its file, what it takes in or sets, its keys. Without a name, no heading."""
    head, entries = read(text)
    prefix = "" if "# @package _global_" in text else f"{group}."
    values = yaml.safe_load(text) or {}
    lines = [f"## {name}\n"] if name else []
    lines += [*_prose(head), ""]
    target = values.get("_target_")
    names = f", `{target}`" if isinstance(target, str) and target != "???" else ""
    lines += [f"`{group}={name}`{names}{_taken_in(group, values)}\n"] if name else []
    if table := _table(entries, prefix, values):
        lines += [*table, ""]
    return lines


def _taken_in(group: str, values: Mapping[str, Any]) -> str:
    """The other options that a file takes in, or sets."""
    found = []
    for entry in values.get("defaults", ()):
        for key, option in entry.items() if isinstance(entry, dict) else [("", entry)]:
            chosen = key.removeprefix("override ").lstrip("/").partition("@")[0]
            if chosen:
                found.append(f"sets `{chosen}={option}`")
            elif option.startswith("/"):
                shared = option.lstrip("/").partition("@")[0].lstrip("_")
                found.append(f"with [what every {group} has](#what-every-{shared}-has)")
            elif option not in ("_self_",):
                found.append(f"all of `{group}={option}`")
    return "".join(f", {what}" for what in found)


def _prose(head: list[str]) -> list[str]:
    """The head of a file as Markdown: sentences in paragraphs, its indented lines as they stand between them."""
    lines: list[str] = []
    for is_shown, part in groupby(head, key=lambda line: bool(re.match(r"\s{2,}", line))):
        text = [line.strip().replace("python train.py", "kasoku") for line in part]
        shown = ["```text", *filter(None, text), "```", ""]
        lines += shown if is_shown else [_escaped(" ".join(filter(None, text))), ""]
    return lines[:-1]


def read(text: str) -> tuple[list[str], list[Entry]]:
    """The comment that a YAML opens with, and its keys in order, each with its comment.

    A line of comment belongs to the key above it, or to the one below where it begins in that one's column.
    """
    ends = _ends_of_tokens(text)
    entries = dict(_entries(yaml.compose(text), text))
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = [line[1:].removeprefix(" ") for line in lines[:start] if not line.startswith("# @package")]
    current: Entry | None = None
    above: list[str] = []
    for number, line in enumerate(lines[start:], start):
        comment = line[ends.get(number, 0) :].strip().removeprefix("#").removeprefix(" ")
        is_comment = line.lstrip().startswith("#")
        if number in entries:
            current = entries[number]
            current.comment = [*above, *([comment] if comment else [])]
            above = []
        elif is_comment and _column(line) == _next_column(lines, number):
            above.append(comment)
        elif (is_comment and current) or (comment and current and number in ends):
            current.comment.append(comment)
    return head, list(entries.values())


def _ends_of_tokens(text: str) -> dict[int, int]:
    """Line -> the column after its last token."""
    ends: dict[int, int] = {}
    for token in yaml.scan(text):
        if token.end_mark.index > token.start_mark.index:
            ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
    return ends


def _column(line: str) -> int:
    return len(line) - len(line.lstrip())


def _next_column(lines: list[str], number: int) -> int | None:
    """The column of the next line that is no comment."""
    rest = (line for line in lines[number + 1 :] if line.strip() and not line.lstrip().startswith("#"))
    return next((_column(line) for line in rest), None)


def _entries(node: yaml.Node | None, text: str, path: tuple[str, ...] = ()) -> Iterator[tuple[int, Entry]]:
    """Each key below `node` with its line, but those of the defaults list and of Hydra's own node."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        here = (*path, str(key.value))
        if here in (("defaults",), ("hydra",)):
            continue
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        source = "" if is_block else text[value.start_mark.index : value.end_mark.index].strip()
        if isinstance(value, yaml.SequenceNode) and not value.flow_style:
            source = f"[{', '.join(item.value for item in value.value)}]"
        yield key.start_mark.line, Entry(here, source)
        if is_block:
            yield from _entries(value, text, here)


def _table(entries: list[Entry], prefix: str, values: Mapping[str, Any]) -> list[str]:
    rows = []
    for entry in entries:
        if entry.path[-1] in ("_partial_", "_recursive_") or entry.path == ("_target_",):
            continue
        key = prefix + ".".join(entry.path)
        accepts = accepted(key, entry.path, values)
        shown = f"`{_flat(entry.value)}`" if entry.value else ""
        if not (shown or accepts or entry.comment):
            continue
        rows.append(f"| `{key}` | {shown} | {_meaning(entry.comment)} | {_escaped(accepts)} |")
    return ["| key | default | meaning | accepts |", "|---|---|---|---|", *rows] if rows else []


def _flat(value: str) -> str:
    """A value in one line; the bar would end its cell."""
    return re.sub(r"\s*#.*?\n\s*|\s+", " ", value).replace("|", "\\|")


def _meaning(comment: list[str]) -> str:
    """The comment in one cell; its indented lines, which list choices, stand each for itself."""
    text = ""
    for line in comment:
        is_choice = re.match(r"\s{2,}", line)
        choice, *rest = re.split(r" {2,}", line.strip())
        worded = ": ".join(filter(None, [choice, "; ".join(rest)]))
        text += ("<br>" if is_choice else " " if text else "") + _escaped(worded)
    return text


def _escaped(text: str) -> str:
    """`text` as Markdown shows it, with links to arXiv; what stands in backticks is left alone."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", "".join(parts))


def accepted(key: str, path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """What the checks let `key` be, in their own words; "" where they leave it to the class."""
    hint = _stated(key, path, values) or _signature(path, values)
    return signatures.violated(hint, object()).removeprefix("must be ") if hint else ""


def _stated(key: str, path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    """The annotation in the tables of kasoku.config.ranges, or in the settings of a sweep."""
    room, _, name = key.rpartition(".")
    from_torch = str(values.get("_target_")).startswith("torch.optim.")
    tables: dict[str, Mapping[str, Any]] = {
        "": ranges.ROOT,
        "target": ranges.TARGET,
        "batch": ranges.BATCH,
        "model": ranges.MODEL,
        "data": ranges.DATA,
        "trainer": ranges.TRAINER,
        "export": ranges.EXPORT,
        "optimizer": ranges.TORCH_OPTIMIZER if from_torch else ranges.KNOWN_OPTIMIZER,
        "optimizer.find_lr": ranges.FIND_LR,
        "sweeper": signatures.hints(Sweeper),
        "race": signatures.hints(Race),
        "launcher": signatures.hints(launchers._slurm) | signatures.hints(launchers._ray),
    }
    return tables.get(room, {}).get(name)


def _signature(path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    """The annotation of the argument that `path` gives to the class or function of its own node."""
    node: Any = values
    for name in path[:-1]:
        node = node[name]
    target = node.get("_target_")
    if not isinstance(target, str) or target == "???":
        return None
    return signatures.hints(get_object(target)).get(path[-1])


if __name__ == "__main__":
    sys.exit(main())
