"""Sweeps of tiny runs, in this process: the trials are real processes, forked from one that imports once a session."""

import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TINY = ["trainer=cpu", "model=mlp", "logger=none", "trainer.max_steps=20"]

os.environ["KASOKU_TRUST"] = "tests.search.nets"  # before the process is there that the trials are forked from
os.environ["OMP_NUM_THREADS"] = "1"


@dataclass
class Swept:
    """What a sweep left: exit code, what it printed, its directory."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def json(self) -> dict[str, Any]:
        return json.loads((self.directory / "sweep.json").read_text())

    @property
    def states(self) -> list[str]:
        return [trial["state"] for trial in self.json["trials"]]


Sweep = Callable[..., Swept]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    """`python train.py -m` with the given overrides of a tiny run, in tmp_path/sweep."""

    def run(*overrides: str, tiny: bool = True) -> Swept:
        place = [] if any(line.startswith("resume=") for line in overrides) else [f"hydra.sweep.dir={tmp_path}/sweep"]
        flags = [line for line in overrides if line.startswith("--")]
        lines = [line for line in overrides if line not in flags]
        argv = ["-m", *flags, *(TINY if tiny else []), *lines, *place]
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *argv])
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capfd.readouterr()
        return Swept(code, out, err, tmp_path / "sweep")

    return run
