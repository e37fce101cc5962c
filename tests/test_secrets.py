"""Values of the environment stand in no file that a run, a resume or a sweep leaves, no output and no process list."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kasoku import faults, home
from tests.conftest import ROOT, command

CANARY = "canary-7f3a91"
ENV = {"KASOKU_TEST_SECRET": CANARY, "KASOKU_TRUST": "uses", "WANDB_MODE": "offline"}
SECRET = "${oc.env:KASOKU_TEST_SECRET}"
NOTE = f"+callbacks.uses.note={SECRET}"
USES = """
import pytorch_lightning as pl


class Uses(pl.Callback):
    def __init__(self, token, fails=False, note=None):
        assert token == "canary-7f3a91", "the class has the value"
        self.token, self.fails = token, fails

    def on_train_start(self, *args):
        if self.fails:
            raise RuntimeError(f"the server refuses {self.token}")
"""
GIVEN = (NOTE, "+callbacks.uses._target_=uses.Uses", f"+callbacks.uses.token={SECRET}")
SMALL = ("model=mlp", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=512")


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "uses.py").write_text(USES)
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(faults, "_HIDDEN", {})
    return tmp_path / "work"


def run(here: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(here.parent / "modules"), os.environ.get("PYTHONPATH")]))
    return command(*words, cwd=here, env=ENV | {"PYTHONPATH": path} | env)


def holding(folder: Path, word: str = CANARY) -> list[str]:
    """The files and folders below `folder` that have `word` in their content or name."""
    found = [path for path in folder.rglob("*") if word in path.name]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted({str(path) for path in [*found, *(file for file in files if word.encode() in file.read_bytes())]})


def test_a_run_and_its_resume_leave_none(here):
    words = (*SMALL, "logger=wandb", *GIVEN, "hydra.output_subdir=hydra", "hydra.job.env_copy=[KASOKU_TEST_SECRET]")
    first = run(here, *words, "hydra.run.dir=run_${hydra.job.name}")
    assert first.returncode == 0, first.stderr
    [folder] = [path for path in here.iterdir() if path.is_dir()]
    assert f'{NOTE}"' in (folder / "config.yaml").read_text().splitlines()[1]
    assert (folder / "hydra" / "overrides.yaml").is_file()
    again = run(here, f"resume={folder.name}", "trainer.max_epochs=2")
    assert again.returncode == 0, again.stderr
    assert f'{NOTE}"' in (folder / "config.yaml").read_text().splitlines()[1]
    assert holding(here) == []
    assert CANARY not in first.stdout + first.stderr + again.stdout + again.stderr


def test_a_directory_named_by_the_overrides_has_the_name_as_typed(here):
    done = run(here, *SMALL, "logger=csv", *GIVEN, "hydra.run.dir=runs/x_${hydra.job.override_dirname}")
    assert done.returncode == 0, done.stderr
    assert holding(here) == []
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.proof
def test_a_sweep_leaves_none(here):
    words = ("-m", *SMALL, "logger=wandb", *GIVEN, "seed=0,1", "hydra.sweep.dir=sweep")
    place = {"KASOKU_TEST_PLACE": str(here.parent / f"{CANARY}.journal")}
    done = run(here, *words, "sweeper.storage=${oc.env:KASOKU_TEST_PLACE}", **place)
    assert done.returncode == 0, done.stderr
    again = run(here, "-m", "resume=sweep", "sweeper.storage=${oc.env:KASOKU_TEST_PLACE}", **place)
    assert again.returncode == 0, again.stderr
    assert holding(here) == []
    assert CANARY not in done.stdout + done.stderr + again.stdout + again.stderr


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "words",
    [
        (f"optimizer.lr={SECRET}",),
        (f"warmup.length={SECRET}",),
        (f"model._target_={SECRET}",),
        (f"data=text data.path=/nowhere/{SECRET}",),
        (f"checkpoint={SECRET}/last.ckpt", "mode=test"),
        (f"trainer.max_time={SECRET}",),
        (f"optimizer.groups.frozen=[{SECRET}]",),
        (f"callbacks.best.monitor={SECRET}",),
        (f"logger.wandb.tags={SECRET}",),
        (f"target.metric={SECRET}",),
        ("-m", f"sweeper.storage=postgresql+nothing://me:{CANARY}@127.0.0.1:1/db", "seed=0,1"),
        ("-m", f"sweeper.storage=postgresql://me:{CANARY}@127.0.0.1:1/db", "seed=0,1"),
    ],
    ids=" ".join,
)
def test_a_refusal_shows_what_was_typed(here, words):
    done = run(here, *" ".join(words).split(), *SMALL, "logger=wandb")
    assert done.returncode in (1, 2)
    assert CANARY not in done.stdout + done.stderr
    assert holding(here) == []


def test_a_failure_shows_what_was_typed(here):
    done = run(here, *SMALL, "logger=csv", *GIVEN, "+callbacks.uses.fails=true", "hydra.run.dir=run")
    assert done.returncode == 1
    assert f"the server refuses {SECRET}" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert holding(here) == []


@pytest.mark.proof
def test_a_failed_trial_shows_what_was_typed(here):
    words = ("-m", *SMALL, "logger=csv", *GIVEN, "+callbacks.uses.fails=true", "seed=0,1", "hydra.sweep.dir=sweep")
    done = run(here, *words)
    assert done.returncode == 1
    assert holding(here) == []
    assert CANARY not in done.stdout + done.stderr


def command_lines(word: str) -> str:
    """Those of the processes that have `word` in their environment: other tests sweep beside this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.proof
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the processes in /proc")
@pytest.mark.parametrize("launcher", [("launcher=slurm", "launcher.cluster=local"), ("launcher=local",)], ids=" ".join)
def test_no_process_of_a_sweep_has_one_in_its_command_line(here, launcher):
    path = os.pathsep.join([str(here.parent / "modules"), str(ROOT / "src")])
    env = os.environ | ENV | {"PYTHONPATH": path, "KASOKU_TEST_PLACE": str(here.parent / f"{CANARY}.journal")}
    words = ["-m", *SMALL, "logger=csv", *GIVEN, "seed=0,1", "hydra.sweep.dir=sweep", *launcher]
    words += ["sweeper.storage=${oc.env:KASOKU_TEST_PLACE}"]
    sweep = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *words], cwd=here, env=env)
    seen = set()
    while sweep.poll() is None:
        seen.add(command_lines(env["KASOKU_TEST_PLACE"]))
        time.sleep(0.1)
    assert sweep.returncode == 0
    assert [lines for lines in seen if CANARY in lines] == []
    assert any("sweeper.storage=" in lines for lines in seen)
    assert any(f"{{oc.env:{home.STORAGE}}}" in lines for lines in seen) == ("launcher=slurm" in launcher)
    assert holding(here) == []


def test_what_is_hidden_is_so_as_a_word_however_long(monkeypatch):
    monkeypatch.setattr(faults, "_HIDDEN", {})
    faults.hide("k" * 200, "${oc.env:LONG}")
    faults.hide("abc", "${oc.env:SHORT}")
    faults.hide("adam", "${oc.env:NAME}")
    assert str(faults.Fault("x", "k" * 200, "must not")) == "x=${oc.env:LONG}: must not"
    assert faults.masked("abc adam adamw") == "abc ${oc.env:NAME} adamw"
