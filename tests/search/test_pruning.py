"""Trials that are behind end early, and cleanly."""

import csv
import itertools
import json

import pytest

from .conftest import TINY, Sweep

TINY_BUT_STEPS = [line for line in TINY if not line.startswith("trainer.max_steps")]
EPOCHS = ["trainer.max_steps=-1", "trainer.max_epochs=4", "trainer.limit_train_batches=4"]


def test_a_trial_that_is_behind_is_pruned(sweep: Sweep) -> None:
    swept = sweep("optimizer.lr=0.01,1e-7", "sweeper.pruner=asha", *EPOCHS)
    assert (swept.code, swept.states) == (0, ["completed", "pruned"])
    result = json.loads((swept.directory / "1" / "result.json").read_text())
    assert result["status"] == "pruned"
    assert result["epochs"] == 1  # the first rung
    assert swept.json["trials"][1]["value"] == result["best"]["value"]
    assert "evaluation 1" in swept.json["trials"][1]["reason"]


def test_the_time_to_a_target_is_searched_and_pruned_by_the_targets_metric(sweep: Sweep) -> None:
    swept = sweep(
        "optimizer.lr=0.01,1e-7",
        "sweeper.pruner=asha",
        *EPOCHS,
        "sweeper.metric=time_to_target.steps",
        "target.value=0.75",
    )
    assert swept.states == ["completed", "pruned"]
    with (swept.directory / "0" / "metrics.csv").open() as file:
        seen = [(int(row["step"]) + 1, float(row["val/acc"])) for row in csv.DictReader(file) if row["val/acc"]]
    (start, low), (end, high) = next(pair for pair in itertools.pairwise(seen) if pair[0][1] < 0.75 <= pair[1][1])
    crossing = start + (end - start) * (0.75 - low) / (high - low)
    assert swept.json["best"][0]["value"] == pytest.approx(crossing, abs=1e-3)


@pytest.mark.proof
def test_two_metrics_give_a_front(sweep: Sweep) -> None:
    swept = sweep(
        "sweeper=tpe",
        "sweeper.metric=[val/acc,steps]",
        "sweeper.pruner=none",
        "sweeper.n_trials=3",
        "trainer.max_steps=choice(19,38)",
        "sweeper.workers=2",
        *TINY_BUT_STEPS,
        tiny=False,
    )
    assert swept.code == 0
    trials = swept.json["trials"]
    front = [trial["values"] for trial in swept.json["best"]]
    for trial in trials:
        beaten = any(v[0] >= trial["values"][0] and v[1] <= trial["values"][1] and v != trial["values"] for v in front)
        assert beaten or trial["values"] in front


def test_wandb_groups_the_trials_of_a_sweep(sweep: Sweep) -> None:
    swept = sweep("seed=1,2", "logger=wandb", "logger.wandb.mode=disabled", "sweeper.n_trials=1")
    config = (swept.directory / "0" / "config.yaml").read_text()
    assert "group: sweep" in config
    assert "job_type: trial" in config
    assert "parameters:\n    seed: 1" in config
