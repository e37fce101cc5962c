"""What is wrong with a sweep is said before its first trial."""

import pytest

from .conftest import Sweep

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
    (["resume=/nowhere"], ["resume=/nowhere", "no such folder"]),
]


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


def test_a_metric_that_the_model_lacks_ends_the_sweep(sweep: Sweep) -> None:
    swept = sweep("sweeper=random", LR, "sweeper.metric=val/accc", "sweeper.mode=max", "sweeper.n_trials=30")
    assert swept.code == 2
    assert "did you mean val/acc?" in swept.err
    assert len(swept.json["trials"]) <= 5
