"""Compare runs in the terminal: python -m kasoku.report DIR

DIR holds any number of runs, or is one: then its metrics are shown. The best comes first.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kasoku.faults import ConfigError
from kasoku.report.runs import Finished, find, metrics

USAGE = "usage: python -m kasoku.report DIR"


def main(arguments: Sequence[str]) -> int:
    """Print the table of the runs in `arguments[0]`; 0, or 2 where there is none."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__ if arguments else USAGE)
        return 0 if arguments and len(arguments) == 1 else 2
    folder = Path(arguments[0])
    try:
        runs = find(folder)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    console = Console(highlight=False)
    console.print(metrics_table(folder) if (folder / "result.json").exists() else runs_table(runs))
    return 0


def runs_table(runs: Sequence[Finished]) -> Table:
    """One row a run: status, best value, steps, seconds of training, seconds to the target, what was overridden."""
    shared = set.intersection(*(set(run.result.get("overrides", ())) for run in runs)) if len(runs) > 1 else set()
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    title = count + (f", all with {' '.join(sorted(shared))}" if shared else "")
    names = sorted({run.result["best"]["metric"] for run in runs if run.result.get("best")})
    table = Table(title=title, title_justify="left")
    for name in ("run", "status", " ".join(names) or "best", "steps", "train s", "s to target", "overrides"):
        table.add_column(name, justify="left" if name in ("run", "status", "overrides") else "right")
    for run in sorted(runs, key=_rank):
        own = [override for override in run.result.get("overrides", ()) if override not in shared]
        seconds = run.result.get("train_seconds", 0.0)
        figures = [_text(run.best), str(run.result.get("steps", "")), f"{seconds:.1f}", _text(run.seconds_to_target)]
        table.add_row(str(run.path), run.result["status"], *figures, " ".join(own))
    return table


def metrics_table(directory: Path) -> Table:
    """One row a metric: last, least and greatest value with their steps."""
    table = Table("metric", "rows", "last", "least", "at step", "greatest", "at step", title=str(directory))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, c in metrics(directory).items():
        lows, highs = (_text(c.least), str(c.least_step)), (_text(c.greatest), str(c.greatest_step))
        table.add_row(name, str(c.count), _text(c.last), *lows, *highs)
    return table


def _rank(run: Finished) -> tuple[bool, float]:
    """Best first: by the metric in its own direction, runs without a value last."""
    best = run.result.get("best")
    if not best:
        return True, 0.0
    falls = any(word in best["metric"] for word in ("loss", "error", "perplexity"))
    return False, best["value"] if falls else -best["value"]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
