"""A key that was renamed still works, in commands, files and stored runs, and a line says its new name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kasoku.config.deprecated import Deprecated, lines, move
from kasoku.faults import ConfigError
from tests.conftest import ROOT, SMALL, read_result

RATE = Deprecated("optimizer.rate", "optimizer.lr", "0.3", "so torch calls it")
GOAL = Deprecated("goal", "target", "0.3", "one word for it")
TABLE = [RATE, GOAL]
LINE = "optimizer.rate is optimizer.lr now: so torch calls it; the old name goes with version 0.3"

IN_EACH_PROCESS = """
from kasoku.config import deprecated
deprecated.TABLE = (
    deprecated.Deprecated("optimizer.rate", "optimizer.lr", "0.3", "so torch calls it"),
    deprecated.Deprecated("goal", "target", "0.3", "one word for it"),
)
"""


def kasoku(*words: str, cwd: Path, table: bool = True) -> subprocess.CompletedProcess[str]:
    """The command, and each process that it starts, with TABLE in its place, or without."""
    (cwd / "start").mkdir(exist_ok=True)
    (cwd / "start" / "sitecustomize.py").write_text(IN_EACH_PROCESS if table else "")  # what Python runs first
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(cwd / "start"), *sys.path])}
    whole = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(whole, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_words_are_renamed_whatever_stands_before_the_key(capsys):
    words = ["-m", "optimizer.rate=0.1,0.2", "++goal.value=0.9", "~goal.stop", "optimizer.rates=1", "seed=1"]
    assert lines(words, TABLE) == [
        "-m", "optimizer.lr=0.1,0.2", "++target.value=0.9", "~target.stop", "optimizer.rates=1", "seed=1",
    ]  # fmt: skip
    assert LINE in capsys.readouterr().err
    assert lines(words, []) == words


def test_both_names_of_a_key_are_refused_where_they_were_typed():
    both = ["optimizer.rate=0.1", "optimizer.lr=0.2"]
    with pytest.raises(ConfigError, match=r"optimizer\.rate=0\.1: stands beside optimizer\.lr, its new name"):
        lines(both, TABLE)
    assert lines(both, TABLE, stored=True) == ["optimizer.lr=0.1", "optimizer.lr=0.2"], "what was typed later wins"


def test_files_are_renamed_from_the_place_where_they_stand():
    whole = OmegaConf.create({"optimizer": {"rate": "${x}", "eps": 1}, "goal": {"value": 0.9}, "x": 3})
    move(whole, "", "mine.yaml", TABLE)
    expected = {"optimizer": {"eps": 1, "lr": "${x}"}, "x": 3, "target": {"value": 0.9}}
    assert OmegaConf.to_container(whole) == expected
    of_group = OmegaConf.create({"rate": 0.1})
    move(of_group, "optimizer", "mine.yaml", TABLE)
    assert of_group == {"lr": 0.1}
    other = OmegaConf.create({"rate": 0.1})
    move(other, "scheduler", "mine.yaml", TABLE)
    assert other == {"rate": 0.1}


def test_a_file_with_both_or_with_a_place_that_it_cannot_reach_is_refused():
    with pytest.raises(ConfigError, match=r"stands in mine\.yaml beside optimizer\.lr"):
        move(OmegaConf.create({"rate": 0.1, "lr": 0.2}), "optimizer", "mine.yaml", TABLE)
    away = [Deprecated("optimizer.decay", "scheduler.decay", "0.3", "it is the schedule's")]
    with pytest.raises(ConfigError, match=r"write scheduler\.decay in its place"):
        move(OmegaConf.create({"decay": 0.1}), "optimizer", "mine.yaml", away)


@pytest.mark.proof
def test_the_command_trains_with_the_new_key_and_says_so_once(tmp_path):
    short = [*SMALL, "trainer.max_steps=2"]
    done = kasoku(*short, "optimizer.rate=0.017", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(LINE) == 1
    assert "optimizer.lr=0.017" in read_result(tmp_path / "run")["overrides"]
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").optimizer.lr == 0.017
    both = kasoku(*short, "optimizer.rate=0.1", "optimizer.lr=0.2", cwd=tmp_path)
    assert (both.returncode, "beside optimizer.lr, its new name" in both.stderr) == (2, True)
    unknown = kasoku(*short, "optimizer.rate=0.1", cwd=tmp_path, table=False)
    assert (unknown.returncode, "no such key" in unknown.stderr) == (2, True)


@pytest.mark.proof
def test_files_of_ones_own_in_runs_and_sweeps_and_a_stored_run(tmp_path):
    for folder in ("conf/optimizer", "conf/experiment"):
        (tmp_path / folder).mkdir(parents=True)
    option = (ROOT / "conf/optimizer/sgd.yaml").read_text().replace("\nlr:", "\nrate:")
    (tmp_path / "conf/optimizer/mine.yaml").write_text(option)
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\ngoal:\n  value: 0.5\n")
    short = [*SMALL, "--config-dir", "conf", "optimizer=mine", "experiment=mine", "trainer.max_steps=2"]
    done = kasoku(*short, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"optimizer/mine: {LINE}" in done.stderr
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert ("rate" in cfg.optimizer, "goal" in cfg, cfg.target.value, cfg.target.metric) == (
        False,
        False,
        0.5,
        "val/acc",
    )
    over = kasoku(*short, "optimizer.lr=0.5", "target.value=0.6", "hydra.run.dir=over", cwd=tmp_path)
    assert over.returncode == 0, over.stderr
    cfg = OmegaConf.load(tmp_path / "over" / "config.yaml")
    assert (cfg.optimizer.lr, cfg.target.value) == (0.5, 0.6)
    sweep = kasoku("-m", *short, "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert read_result(tmp_path / "sweep" / "1")["target"]["value"] == 0.5
    as_it_was(tmp_path / "over")
    again = kasoku("--config-dir", "conf", "resume=over", "trainer.max_steps=4", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert read_result(tmp_path / "over")["steps"] == 4


def as_it_was(run: Path) -> None:
    """The stored configuration of a version that knew the old names alone."""
    head, _, body = (run / "config.yaml").read_text().partition("\nmode:")
    stored = json.loads(head.split("# overrides: ")[1].splitlines()[0])
    old = [line.replace("optimizer.lr", "optimizer.rate").replace("target.", "goal.") for line in stored]
    head = head.replace(json.dumps(stored), json.dumps(old))
    text = f"{head}\nmode:{body}".replace("\n  lr: 0.5\n", "\n  rate: 0.5\n").replace("\ntarget:", "\ngoal:")
    (run / "config.yaml").write_text(text)
    assert "rate: 0.5" in text
