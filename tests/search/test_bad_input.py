"""What is wrong with a sweep is said before its first trial."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .conftest import ROOT, TINY, Sweep

LR = "optimizer.lr=interval(0.001,0.1)"
BAD = [
    (["sweeper=bayes", "optimizer.lr=tag(log,interval(0,0.1))"], ["optimizer.lr", "above 0"]),
    (["sweeper=bayes", "optimizer.lr=interval(0.1,0.01)"], ["optimizer.lr", "did you mean interval(0.01,0.1)?"]),
    (["sweeper=bayes", "optimizer.lr=interval(nan,1)"], ["optimizer.lr", "finite"]),
    (["sweeper=bayes", "optimizer.lr=interval(-1,1)"], ["optimizer.lr=-1", "positive"]),
    (["sweeper=bayes", "optimizer.lr=tag(loog,interval(1,2))"], ["optimizer.lr", "loog", "log"]),
    (["sweeper=random", "optimizer.lrr=interval(0.1,1)"], ["optimizer.lrr", "did you mean"]),
    (["sweeper=random", "optimizer.momentum=interval(0.9,1.5)", "optimizer=nesterov"], ["optimizer.momentum=1.5"]),
    (["sweeper=bayes"], ["nothing to search", "search=lr"]),
    (["sweeper=bayes", "search=lrr"], ["lrr", "did you mean lr?"]),
    (["sweeper=bayes", "+search.optimizer.lr=3", LR], ["search.optimizer", "a search has space:"]),
    (["sweeper=baies", LR], ["baies", "did you mean bayes?"]),
    (["sweeper=bayes", LR, "sweeper.n_trials=0"], ["sweeper.n_trials=0", ">= 1"]),
    (["sweeper=bayes", LR, "sweeper.n_trials=null"], ["sweeper.n_trials=null"]),
    (["sweeper=bayes", LR, "sweeper.workers=-1"], ["sweeper.workers=-1", ">= 1"]),
    (["sweeper=bayes", LR, "sweeper.pruner=ahsa"], ["ahsa", "did you mean asha?"]),
    (["sweeper=bayes", LR, "sweeper.n_trial=3"], ["sweeper.n_trial", "did you mean"]),
    (["sweeper=bayes", LR, "sweeper.metric=time_to_target"], ["time_to_target", "target.value"]),
    (["sweeper=bayes", LR, "sweeper.metric=val/loss"], ["sweeper.mode", "min or max"]),
    (["sweeper=bayes", LR, "sweeper.metric=[val/acc,steps]"], ["sweeper.pruner=none"]),
    (["sweeper=bayes", LR, "sweeper.metric=val/acc,steps"], ["sweeper.metric=[val/acc,steps]"]),
    (["sweeper=grid", LR], ["optimizer.lr", "grid"]),
    (["sweeper=gp", "optimizer=sgd,adamw"], ["optimizer", "sweeper=bayes"]),
    (
        ["sweeper=bayes", LR, "sweeper.storage=postgresql://nobody:secret@127.0.0.1:1/none"],
        ["sweeper.storage", "127.0.0.1"],
    ),
    (["optimizer.lr=-1", "seed=0,1"], ["optimizer.lr=-1", "positive"]),
    (["seed=range(0,3,0)"], ["seed"]),
    (["seed=1,2", "seed=3,4"], ["seed=1,2 3,4", "stands twice"]),
    (["sweeper=random", LR, "optimizer.lr=interval(0.1,1)"], ["optimizer.lr", "stands twice"]),
    (["resume=/nowhere"], ["resume=/nowhere", "no such folder"]),
]


@pytest.mark.sample(10)
@pytest.mark.parametrize(("overrides", "words"), BAD, ids=[" ".join(overrides) for overrides, _ in BAD])
def test_is_answered_before_the_first_trial(sweep: Sweep, overrides: list[str], words: list[str]) -> None:
    swept = sweep(*overrides)
    assert swept.code == 2
    assert len(swept.err.splitlines()) <= 12
    assert "Traceback" not in swept.err + swept.out
    assert "secret" not in swept.err
    for word in words:
        assert word in swept.err
    assert not (swept.directory / "0").exists()


@pytest.mark.proof
def test_a_metric_that_the_model_lacks_ends_the_sweep(sweep: Sweep) -> None:
    swept = sweep("sweeper=random", LR, "sweeper.metric=val/accc", "sweeper.mode=max", "sweeper.n_trials=30")
    assert swept.code == 2
    assert "did you mean val/acc?" in swept.err
    assert len(swept.json["trials"]) <= 5


@pytest.mark.proof
def test_a_grid_with_one_wrong_value_says_so_before_the_first_trial_and_runs_the_others(sweep: Sweep) -> None:
    swept = sweep("optimizer.lr=0.1,abc,0.2", "seed=0")
    said = [line.strip() for line in swept.err.splitlines()]
    warned = next(i for i, line in enumerate(said) if line.startswith("trials with this will fail: optimizer.lr=abc"))
    assert warned < next(i for i, line in enumerate(said) if line.startswith("trial "))
    assert sorted(swept.states) == ["completed", "completed", "failed"]
    assert swept.code == 0


def test_a_sweep_whose_trials_cannot_have_the_metric_ends_after_the_first(sweep: Sweep) -> None:
    swept = sweep("sweeper=random", LR, "trainer.limit_val_batches=0", "sweeper.n_trials=30", "sweeper.pruner=none")
    assert swept.code == 2
    assert "sweeper.metric=val/acc: the run has no val/acc" in swept.err
    assert len(swept.json["trials"]) == 1


@pytest.mark.proof
def test_trials_leave_nothing_in_the_folder_for_temporary_files(tmp_path) -> None:
    temporary = Path(tempfile.mkdtemp())  # a short name: sockets lie there
    words = [*TINY[:2], TINY[3], "logger=wandb", "-m", "seed=0,1", "sweeper.workers=2", "hydra.sweep.dir=sweep"]
    environment = os.environ | {"TMPDIR": str(temporary), "WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), *words], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    left = [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor")]
    assert left == []  # but torch's one cache of a user
