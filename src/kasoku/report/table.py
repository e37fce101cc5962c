"""The table of a report as text: for a terminal, and as CSV, JSON, LaTeX and Markdown."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from kasoku.report.rows import Cells, Row, is_number
from kasoku.report.runs import Found, metrics
from kasoku.results import finite

TEXTS = ("run", "status", "metric")
HEADS = {"train_seconds": "train s", "seconds_to_target": "s to target"}
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def runs_table(rows: Sequence[Row], runs: Sequence[Found]) -> Table:
    """One row a configuration, best first, with what differs between them in the last column."""
    shared = set.intersection(*(set(run.result.overrides) for run in runs)) if len(runs) > 1 else set()
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    count += f" in {len(rows)} rows" if len(rows) < len(runs) else ""
    title = count + (f", all with {' '.join(sorted(shared))}" if shared else "")
    untold = [name for name in ("hits", "seconds_to_target") if all(getattr(row, name) is None for row in rows)]
    left_out = {"metric", *untold}
    if len(rows) == len(runs):
        left_out |= {"n", "median", "spread"}  # of one run each, which is its best
    metric = " ".join(sorted({row.metric for row in rows if row.metric})) or "best"
    own = set(rows[0].settings)
    cells = [row.cells() for row in rows]
    names = [name for name in cells[0] if name not in own | left_out]
    table = Table(title=Text(title), title_justify="left")
    for name in names:
        head = metric if name == ("best" if "median" in left_out else "median") else HEADS.get(name, name)
        table.add_column(Text(head), justify="left" if name in TEXTS else "right", overflow="fold")
    table.add_column("what differs" if rows[0].settings else "overrides", overflow="fold")
    for row, line in zip(rows, cells, strict=True):
        told = " ".join(f"{key}={value}" for key, value in row.settings.items())
        table.add_row(*(Text(_shown(name, line[name], row)) for name in names), Text(told))
    return table


def cells_table(cells: Sequence[Cells]) -> Table:
    """The columns that were asked for, as they were."""
    table = Table()
    for name in cells[0]:
        table.add_column(Text(name), justify="left" if name in TEXTS else "right", overflow="fold")
    for line in cells:
        table.add_row(*(Text(short(value)) for value in line.values()))
    return table


def metrics_table(directory: Path) -> Table:
    """One row a metric: last, least and greatest value with their steps."""
    table = Table("metric", "rows", "last", "least", "at step", "greatest", "at step", title=Text(str(directory)))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, c in metrics(directory).items():
        lows, highs = (short(c.least), str(c.least_step)), (short(c.greatest), str(c.greatest_step))
        table.add_row(Text(name), str(c.count), short(c.last), *lows, *highs)
    return table


def as_csv(cells: Sequence[Cells]) -> str:
    """Comma-separated values; a cell that a spreadsheet would take for a formula is quoted with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(cells[0])
    writer.writerows([_inert(finite(value)) for value in line.values()] for line in cells)
    return text.getvalue()


def as_json(cells: Sequence[Cells]) -> str:
    """A list of objects; a number that is not finite is null."""
    return json.dumps(finite(list(cells)), indent=2) + "\n"


def as_markdown(cells: Sequence[Cells]) -> str:
    """A table with pipes."""

    def line(words: Sequence[str]) -> str:
        return "| " + " | ".join(word.replace("\\", "\\\\").replace("|", "\\|") for word in words) + " |\n"

    rules = "|" + "|".join(" --- " if name in TEXTS else " ---: " for name in cells[0]) + "|\n"
    return line(list(cells[0])) + rules + "".join(line([short(v) for v in row.values()]) for row in cells)


def as_latex(cells: Sequence[Cells]) -> str:
    """A tabular with the rules of booktabs."""

    def line(words: Sequence[str]) -> str:
        return " & ".join(re.sub(r"[&%$#_{}\\~^<>]", lambda found: LATEX[found[0]], word) for word in words) + r" \\"

    places = "".join("l" if name in TEXTS else "r" for name in cells[0])
    body = [line([short(value) for value in row.values()]) for row in cells]
    head = [rf"\begin{{tabular}}{{{places}}}", r"\toprule", line(list(cells[0])), r"\midrule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}", ""])


FORMATS: dict[str, Callable[[Sequence[Cells]], str]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "markdown": as_markdown,
}


def short(value: Any) -> str:
    """A cell as people read it: five digits, nothing for what is not known, never for a time that is infinite."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "never" if math.isinf(value) else f"{value:.5g}"
    return str(value)


def _shown(name: str, value: Any, row: Row) -> str:
    if name == "hits" and value is not None:
        return f"{value} of {len(row.runs)}"
    if name == "train_seconds":
        return f"{value:.1f}"
    return f"{value:.0f}" if name == "steps" else short(value)


def _inert(value: Any) -> Any:
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@") and not is_number(value)
    return f"'{value}" if is_formula else value
