"""Compare runs: kasoku report DIR..., or python -m kasoku.report DIR...

Each DIR is a run, or holds runs, sweeps and races, finished or in progress. Runs that differ in the seed alone are one
row; the best comes first, by the target's own direction. Of one run its metrics are shown, of several races the score
and the performance profile of AlgoPerf.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kasoku import home
from kasoku.faults import ConfigError
from kasoku.files import CannotWrite
from kasoku.report import races, studies
from kasoku.report.rows import by_columns, rows
from kasoku.report.runs import find, is_run
from kasoku.report.table import FORMATS, cells_table, metrics_table, runs_table

PIPED = 160  # columns of the table where stdout is no terminal


def main(arguments: Sequence[str]) -> int:
    """Print the table of the runs in the folders that `arguments` name; 0, or 2 where there is none."""
    parser = _parser()
    if not arguments:
        print(parser.format_usage().strip())
        return 2
    try:
        return _report(parser.parse_args(arguments))
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    except (ConfigError, CannotWrite) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _report(asked: argparse.Namespace) -> int:
    runs = find(*asked.folders)
    if asked.html is not None:
        return _page(asked)
    if asked.form:
        print(FORMATS[asked.form](by_columns(rows(runs), asked.columns, asked.sort)), end="")
        return 0
    out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED)
    found = studies.find(asked.folders)
    for study in found:
        for line in study.lines:
            out.print(line, markup=False, soft_wrap=True)
    if field := races.field(found):
        for line in field.said:
            out.print(line, markup=False, soft_wrap=True)
        if field.times:
            out.print(races.table(field.times))
    if asked.columns or asked.sort:
        out.print(cells_table(by_columns(rows(runs), asked.columns, asked.sort)))
    elif len(asked.folders) == 1 and is_run([path.name for path in asked.folders[0].iterdir()]):
        out.print(metrics_table(asked.folders[0]))
    else:
        out.print(runs_table(rows(runs), runs))
    return 0


def _page(asked: argparse.Namespace) -> int:
    from kasoku.report import page

    path = asked.html or (asked.folders[0] if len(asked.folders) == 1 else Path()) / page.FILE
    page.write(path, asked.folders, home.typed("report", *map(str, asked.folders), "--html"))
    print(f"written: {home.shown(path)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{home.program()} report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--sort", default="", metavar="COLUMN", help="order by it; -COLUMN (--sort=-n): greatest first")
    parser.add_argument("--columns", type=_names, metavar="A,B", help="these columns alone; keys of the configuration")
    forms = parser.add_mutually_exclusive_group()
    for name in FORMATS:
        forms.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"the table as {name}")
    forms.add_argument(
        "--html", nargs="?", type=Path, const=False, metavar="FILE", help="a page to open: DIR/report.html, or FILE"
    )
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
