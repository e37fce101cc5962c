"""What a run says: more or less of it by verbosity, a picture on a terminal, plain lines elsewhere."""

import logging
import os
import pty
import re
import sys
import termios
from pathlib import Path

import pytest

from kasoku.training import voice
from kasoku.training.narrator import Bar, time_left
from kasoku.training.step_log import StepLog
from tests.conftest import ROOT, SMALL, command
from tests.report import made

SHORT = (*SMALL, "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "hydra.run.dir=run")


@pytest.fixture
def logs():
    """The root logger's console handler, as it was afterwards."""
    root, own = logging.getLogger(), logging.getLogger("kasoku")
    handler, level = logging.StreamHandler(), own.level
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    own.setLevel(level)


@pytest.mark.parametrize(("verbosity", "heard"), [("quiet", [30]), ("normal", [20, 30]), ("debug", [10, 20, 30])])
def test_the_console_hears_what_verbosity_asks_for(logs, verbosity, heard):
    records: list[int] = []
    logs.emit = lambda record: records.append(record.levelno)  # type: ignore[method-assign]
    voice.tune(verbosity)
    for level in (10, 20, 30):
        logging.getLogger("kasoku").log(level, "x")
    assert records == heard


def test_quiet_says_nothing_and_train_log_has_every_line(tmp_path):
    done = command(*SHORT, "verbosity=quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "val/acc" in (tmp_path / "run" / "train.log").read_text()


def test_another_word_is_refused_with_the_three(tmp_path):
    done = command(*SHORT, "verbosity=silent", cwd=tmp_path)
    assert done.returncode == 2
    assert "verbosity=silent" in done.stderr
    assert "quiet" in done.stderr


def test_a_file_gets_plain_lines_and_no_picture(tmp_path):
    done = command(*SHORT, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert "█" not in said
    assert "\x1b" not in said
    assert "\r" not in said


def test_the_picture_has_the_loss_and_the_targets_metric_without_colours(tmp_path):
    run = made.run(tmp_path / "a", 0.5, curves={"train/loss": [3, 2, 1, 0.5], "val/acc": [0.1, 0.4, "", 0.5]})
    drawn = voice.charts(run, "val/acc")
    assert drawn.index("train/loss") < drawn.index("val/acc")
    assert "█" in drawn
    assert "\x1b" not in drawn
    assert voice.charts(run, "none").count("val/acc") == 0


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_curve_that_is_not_finite_or_too_short_is_left_out(tmp_path, value):
    run = made.run(tmp_path / "a", 0.5, curves={"train/loss": [3, value, 1], "val/acc": [0.1, "", 0.5]})
    assert voice.charts(run, "val/acc") == ""


def test_the_time_left_counts_from_where_this_process_began():
    assert time_left(10, 90, 5.0) == "0:00:45"
    assert time_left(10, -5, 5.0) == "0:00:00"


class _Trainer:
    global_step = 60


def test_the_bar_shows_the_step_of_the_whole_run(monkeypatch):
    bar = Bar(StepLog())
    bar._began, bar._total = (40, 0.0), 100
    monkeypatch.setattr("kasoku.training.narrator.time.monotonic", lambda: 10.0)
    assert bar._of_the_run(_Trainer()) == {"step": "60/100", "left": "0:00:20"}
    bar._total = None
    assert bar._of_the_run(_Trainer()) == {"step": "60"}


def on_a_terminal(directory: Path, *words: str, into: str = "") -> str:
    """What `python train.py *words` writes to a terminal; its stdout goes `into` a file if one is named."""
    parent, child = pty.fork()
    if parent == 0:
        os.chdir(directory)
        if into:
            os.dup2(os.open(into, os.O_WRONLY | os.O_CREAT), 1)
        termios.tcsetwinsize(0, (40, 160))
        os.environ |= {"PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "NO_COLOR": "1"}
        os.execv(sys.executable, [sys.executable, "-m", "kasoku", *words])
    said = b""
    while True:
        try:
            part = os.read(child, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
    os.waitpid(parent, 0)
    return said.decode()


@pytest.mark.proof
def test_on_a_terminal_a_run_ends_with_its_picture(tmp_path):
    said = on_a_terminal(tmp_path, *SHORT, "trainer.max_epochs=20")
    assert "█" in said.partition("completed")[2]
    assert re.search(r"step=\d+/380, left=0:00:\d\d", said)
    assert "\x1b[3" not in said  # NO_COLOR
    assert "█" not in on_a_terminal(tmp_path, *SHORT[:-1], "verbosity=quiet", "hydra.run.dir=quiet")


@pytest.mark.proof
def test_on_a_terminal_a_file_of_stdout_has_plain_lines(tmp_path):
    assert on_a_terminal(tmp_path, *SHORT, into="out.txt") == ""
    said = (tmp_path / "out.txt").read_text()
    assert "completed" in said
    assert not any(mark in said for mark in ("\x1b", "\r", "█", "it/s"))
