"""metrics.csv: a row a step, a column a metric, with any logger or none."""

import csv
import io
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from kasoku.files import write_text

FIRST_COLUMNS = ["step", "epoch", "lr"]


class MetricsFile(Logger):
    """Writes `directory`/metrics.csv. `step` is the optimizer step of the row, 0 for the first.

    What is logged for one step by several callers makes one row. Rows reach the disk about once a second, and at the
    end. A metric that comes up later gets its column: the file is written anew, which is rare.
    """

    def __init__(self, directory: Path, from_step: int | None = None):
        """Go on before `from_step` if given (a resumed run repeats the later steps), else start a new file."""
        super().__init__()
        self._path = directory / "metrics.csv"
        self._columns = list(FIRST_COLUMNS)
        self._row: dict[str, Any] = {}
        self._pending: list[dict[str, Any]] = []
        self._written = 0.0
        if from_step is not None and self._path.exists():
            self._go_on(from_step)

    name = "metrics"  # type: ignore[assignment]
    version = ""  # type: ignore[assignment]

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._row and self._row["step"] != step:
            self._pending.append(self._row)
            self._row = {}
        self._row |= {"step": step, **metrics}

    @rank_zero_only
    def save(self) -> None:
        if time.monotonic() - self._written > 1.0:
            self._flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._row:
            self._pending.append(self._row)
            self._row = {}
        self._flush()

    def _flush(self) -> None:
        new = list(dict.fromkeys(key for row in self._pending for key in row if key not in self._columns))
        if new or not self._path.exists():
            self._rewrite(new)
        elif self._pending:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerows(self._pending)
        self._pending.clear()
        self._written = time.monotonic()

    def _rewrite(self, new: list[str]) -> None:
        rows = self._read() + self._pending
        self._columns += new
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _go_on(self, from_step: int) -> None:
        rows = self._read()
        self._columns = list(dict.fromkeys([*FIRST_COLUMNS, *(rows[0] if rows else ())]))
        self._pending = [row for row in rows if int(row["step"]) < from_step]
        self._path.unlink()
        self._flush()
