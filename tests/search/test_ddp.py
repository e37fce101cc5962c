"""A trial of two processes: both train it, and nothing else, one trial after another.

Lightning starts the second rank with the command of the first. Under -m that command is a sweep: the rank started it
over again in another directory, or trained another trial with the first rank's process group.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "model=mlp", "logger=none"]
SHORT = ["trainer.max_epochs=4", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
NOTE = "+callbacks.note._target_=tests.search.nets.Note"


def notes(directory: Path) -> list[dict[str, float]]:
    return [json.loads((directory / f"rank_{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.proof
def test_both_ranks_train_each_trial(tmp_path: Path) -> None:
    lrs = [0.01, -1, 1e-7]
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "-m",
        *DDP,
        *SHORT,
        NOTE,
        f"optimizer.lr={','.join(map(str, lrs))}",
    ]
    command += ["sweeper.pruner=asha", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=240, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["completed", "failed", "pruned"]
    for number in (0, 2):
        found = notes(tmp_path / "sweep" / str(number))
        assert [note["lr"] for note in found] == [lrs[number]] * 2
        assert [note["world_size"] for note in found] == [2, 2]
        assert found[0]["pid"] != found[1]["pid"]
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == [
        "0",
        "1",
        "2",
        "report.html",
        "study.journal",
        "sweep.json",
    ]
