"""metrics.csv: a row a step, a column a metric, with any logger or none."""

import csv
import io
import logging
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from kasoku.files import write_text
from kasoku.training.standin import Act, Standin

log = logging.getLogger("kasoku")

FIRST_COLUMNS = ["step", "epoch", "lr"]


class MetricsFile(Logger):
    """Writes `directory`/metrics.csv. `step` is the optimizer step of the row, 0 for the first.

    What is logged for one step by several callers makes one row. Rows reach the disk about once a second, before each
    checkpoint, and at the end. A metric that comes up later gets its column: the file is written anew, which is rare.
    """

    def __init__(self, directory: Path):
        super().__init__()
        self._path = directory / "metrics.csv"
        self._columns = list(FIRST_COLUMNS)
        self._row: dict[str, Any] = {}
        self._pending: list[dict[str, Any]] = []
        self._rows = 0  # in the file
        self._written = 0.0
        self._declined = False

    name = "metrics"  # type: ignore[assignment]
    version = ""  # type: ignore[assignment]

    @property
    def experiment(self) -> Standin:
        """For a module that asks its logger for pictures and the like: they go nowhere, which is said once."""
        return Standin(self._decline)

    def _decline(self, act: Act) -> None:
        if not self._declined:
            log.info(
                "logger.experiment was asked for: metrics.csv keeps numbers alone, choose another logger for the rest"
            )
        self._declined = True

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

    def state(self) -> dict[str, Any]:
        """The length of the file, once all rows that are whole lie on the disk; the row that may still grow is here."""
        self._settle()
        return {"rows": self._rows, "columns": list(self._columns), "row": dict(self._row)}

    @rank_zero_only
    def _settle(self) -> None:
        self._flush()
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @rank_zero_only
    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take the file back to `state`: a resumed run writes the later rows anew."""
        self._columns, self._row = list(state["columns"]), dict(state["row"])
        rows = self._read()[: state["rows"]]
        self._rows = 0
        self._rewrite([{name: row[name] for name in self._columns if name in row} for row in rows])

    def _flush(self) -> None:
        new = list(dict.fromkeys(key for row in self._pending for key in row if key not in self._columns))
        if new or not self._path.exists():
            rows = self._read()
            self._columns += new
            self._rewrite(rows + self._pending)
        elif self._pending:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerows(self._pending)
            self._rows += len(self._pending)
        self._pending.clear()
        self._written = time.monotonic()

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())
        self._rows = len(rows)

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            return list(csv.DictReader(file))


class KeepRows(Callback):
    """Has each checkpoint say how far metrics.csv is, and a resumed run go on there once it begins."""

    def __init__(self, file: MetricsFile):
        self._file = file
        self._state: dict[str, Any] | None = None

    def on_train_start(self, *args: Any) -> None:
        if self._state is not None:
            self._file.go_on(self._state)

    def state_dict(self) -> dict[str, Any]:
        return self._file.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict
