"""Commands that are printed run as they are printed, with a folder of configurations and modules of one's own."""

import os
import re
import signal
import subprocess
import sys

import pytest
import yaml

from kasoku import home
from tests.command.conftest import Kasoku
from tests.conftest import ROOT


@pytest.fixture
def own(kasoku: Kasoku, tmp_path) -> Kasoku:
    """With optimizer=mine in the folder `my conf`."""
    (tmp_path / "my conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "my conf" / "optimizer" / "mine.yaml").write_text("_target_: mine.Opt\nlr: 0.2\n")
    return kasoku


def typed(line: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of `line` and `more` where nothing is exported."""
    here = line.replace("python train.py", f"{sys.executable} {ROOT / 'train.py'}")
    env = {name: value for name, value in os.environ.items() if name not in (home.TRUST, home.RANK_OF)}
    return subprocess.run([here + " " + " ".join(more)], shell=True, capture_output=True, text=True, env=env)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def test_the_best_trial_of_a_sweep(own: Kasoku):
    words = ("-m", "--config-dir=my conf", "optimizer=mine", "+optimizer.nu=0.1,0.2", "hydra.sweep.dir=sweep")
    done = own(*words, "trainer.max_steps=2")
    assert done.code == 0, done.err
    line = found(r"best, trial \d: (.*)", done.out)
    assert line.startswith("KASOKU_TRUST=mine python train.py '--config-dir=my conf' ")
    again = typed(line, "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr
    assert yaml.safe_load((done.directory.parent / "again" / "config.yaml").read_text())["optimizer"]["nu"] in (
        0.1,
        0.2,
    )


@pytest.mark.proof
def test_the_lr_that_was_found(own: Kasoku):
    done = own("--config-dir=my conf", "optimizer=mine", "mode=find_lr", "optimizer.find_lr.steps=40")
    assert done.code == 0, done.err
    again = typed(found(r"(KASOKU_TRUST=mine python train.py .*)", done.out), "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr


@pytest.mark.proof
def test_going_on_with_an_interrupted_run(own: Kasoku, tmp_path):
    (tmp_path / "stops.py").write_text(
        "import os, signal, pytorch_lightning as pl\n"
        "class Stop(pl.Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        f"        if trainer.global_step == 5: os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
    )
    os.environ[home.TRUST] = "mine,stops"
    done = own("--config-dir=my conf", "optimizer=mine", "+callbacks.stop._target_=stops.Stop")
    assert done.code == 143
    again = typed(found(r"go on with: (.*)", done.out))
    assert again.returncode == 0, again.stderr
    assert done.result["steps"] == 19


def test_the_flags_are_read_in_every_spelling():
    argv = ["-m", "-cd", "a b", "x=1", "--config-name=n", "--config-path", "p"]
    assert home.folder_flags(argv) == ["--config-dir=a b", "--config-name=n", "--config-path=p"]
    assert home.folder_flags(["-c", "job", "--config-dir"]) == ["--config-dir="]
