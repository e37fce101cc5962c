"""A signal ends the command wherever it is, with the code of a shell, no traceback, and nothing left running."""

import importlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kasoku import signals
from tests.conftest import ROOT, command, read_result

LONG = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_epochs=100000", "hydra.run.dir=run")
SLOW_TEST = """
import os, signal
import pytorch_lightning as pl


class InTest(pl.Callback):
    def on_test_batch_start(self, *args):
        os.kill(os.getpid(), signal.SIGINT)


class InSetup(pl.Callback):
    def setup(self, trainer, module, stage):
        os.kill(os.getpid(), signal.SIGTERM)
"""


def started(folder: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=folder,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background of a script
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs_on(group: int) -> bool:
    """True if a process of the group runs for two more seconds; a zombie that nobody reads does not run."""
    for _ in range(40):
        stats = (line.rpartition(")")[2].split() for line in _stats())
        if not any(int(pgrp) == group and state != "Z" for state, _, pgrp, *_ in stats):
            return False
        time.sleep(0.05)
    return True


def _stats() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            yield path.read_text()


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_a_lost_terminal_and_a_warning_save_and_end_the_run(tmp_path, name):
    signum = getattr(signal, name)
    process = started(tmp_path, *LONG)
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt")
    process.send_signal(signum)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signum, said
    assert read_result(tmp_path / "run")["status"] == "interrupted"
    assert "Traceback" not in said
    assert not runs_on(process.pid)


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32")


@pytest.mark.proof
@pytest.mark.parametrize(("signum", "to_all"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)])
def test_two_processes_save_and_end_together(tmp_path, signum, to_all):
    """As kill, a scheduler and Ctrl-C send it; Lightning starts the second process in the group of the first."""
    process = started(tmp_path, LONG[0], *TWO, *LONG[2:])
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt")
    os.killpg(process.pid, signum) if to_all else process.send_signal(signum)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signum, said
    result = read_result(tmp_path / "run")
    assert result["status"] == "interrupted"
    assert "Traceback" not in said
    assert not runs_on(process.pid)
    on = command("resume=run", f"trainer.max_steps={result['steps'] + 2}", "trainer.max_epochs=null", cwd=tmp_path)
    assert on.returncode == 0, on.stderr
    assert read_result(tmp_path / "run")["steps"] == result["steps"] + 2


def own(folder: Path, name: str) -> tuple[dict[str, str], str]:
    (folder / "slow.py").write_text(SLOW_TEST)
    return {"KASOKU_TRUST": "slow", "PYTHONPATH": f"{folder}:{ROOT / 'src'}"}, f"+callbacks.own._target_=slow.{name}"


def test_a_signal_in_the_test_is_an_interruption(tmp_path):
    env, word = own(tmp_path, "InTest")
    done = command(*LONG[:3], "trainer.max_epochs=1", LONG[4], word, cwd=tmp_path, env=env)
    assert done.returncode == 130, done.stderr
    result = read_result(tmp_path / "run")
    assert (result["status"], result["steps"]) == ("interrupted", 19)
    assert "Traceback" not in done.stderr


def test_a_signal_in_the_set_up_ends_with_the_first_step_and_can_be_gone_on_with(tmp_path):
    env, word = own(tmp_path, "InSetup")
    done = command(*LONG, word, cwd=tmp_path, env=env)
    assert (done.returncode, "Traceback" in done.stderr) == (143, False), done.stderr
    result = read_result(tmp_path / "run")
    assert (result["status"], result["steps"]) == ("interrupted", 1)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.sample(3)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("after", [0.3, 1.0, 2.0])
def test_at_start_up_it_ends_without_a_traceback_and_without_a_directory(tmp_path, signum, after):
    process = started(tmp_path, *LONG)
    try:
        time.sleep(after)
        process.send_signal(signum)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode in (128 + signum, -signum)
    assert "Traceback" not in said
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not left or (tmp_path / "run" / "result.json") in left  # the latter where it had begun to train
    assert not runs_on(process.pid)


def test_a_signal_in_an_import_waits_for_its_end(tmp_path, monkeypatch):
    """An extension in C++ that meets the exception while it starts would abort the process."""
    (tmp_path / "signalled.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nis_whole = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        importlib.import_module("signalled")
        time.sleep(10)

    with pytest.raises(signals.Stopped), signals.raising():
        work()
    assert sys.modules.pop("signalled").is_whole


def test_a_second_signal_ends_at_once(tmp_path):
    env, _ = own(tmp_path, "")
    (tmp_path / "slow.py").write_text(
        "import time\nimport pytorch_lightning as pl\n\n\nclass Slow(pl.Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        open('begun', 'w').close()\n        time.sleep(60)\n"
    )
    process = started(tmp_path, *LONG, "+callbacks.own._target_=slow.Slow", env=env)
    wait_for(tmp_path / "begun")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


@pytest.mark.proof
def test_a_job_of_slurm_is_queued_again_and_goes_on_with_the_same_command(tmp_path):
    """A script stands for scontrol."""
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/queued\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    env = {"SLURM_JOB_ID": "417", "PATH": f"{script.parent}:{os.environ['PATH']}"}
    words = (*LONG[:3], "trainer.max_epochs=2000000", "seed=3")
    process = started(tmp_path, *words, "hydra.run.dir=runs/a", env=env)
    wait_for(tmp_path / "runs" / "a" / "checkpoints" / "last.ckpt")
    process.send_signal(signal.SIGUSR1)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGUSR1, said
    assert (tmp_path / "queued").read_text() == "requeue 417\n"
    steps = read_result(tmp_path / "runs" / "a")["steps"]
    more = [*words[:3], f"trainer.max_epochs={steps // 19 + 2}", "seed=3"]
    done = command(*more, cwd=tmp_path, env=env | {"SLURM_RESTART_COUNT": "1"})
    assert done.returncode == 0, done.stderr
    assert read_result(tmp_path / "runs" / "a")["steps"] == 19 * (steps // 19 + 2)
