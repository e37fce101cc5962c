"""Metrics under whatever name the user's module logs: shown, tracked, watched by the plateau, and the target."""

import re

import pytest

from kasoku.results import contradicts, is_cost
from tests.command.conftest import Kasoku
from tests.training.test_wandb import summary

LIT = ("model._target_=mine.Lit", "target.metric=val_loss", "target.mode=min", "trainer.max_epochs=2")


def test_the_line_of_an_epoch_shows_all_that_validation_logs(kasoku: Kasoku):
    done = kasoku(*LIT)
    assert done.code == 0, done.err
    lines = re.findall(r"epoch \d  step \d+ .*  val_loss [\d.]+  val_acc [\d.]+", done.out)
    assert len(lines) == 2
    assert done.result["best"]["metric"] == "val_loss"
    assert done.result["best"]["value"] == done.result["metrics"]["val_loss"]


def test_wandb_has_the_best_of_each(kasoku: Kasoku):
    done = kasoku(*LIT, "logger=wandb")
    assert done.code == 0, done.err
    found = dict(re.findall(r"best/(\S+)\s+(\S+)", summary(done.directory)))
    assert set(found) == {"val_loss", "val_acc"}  # and none of training
    assert float(found["val_loss"]) == pytest.approx(done.result["best"]["value"])
    assert float(found["val_acc"]) == pytest.approx(done.result["metrics"]["val_acc"], abs=0.1)


def test_plateau_and_early_stopping_follow_the_target(kasoku: Kasoku):
    """Without an improvement both count from the first validation on."""
    stuck = ["optimizer=sgd", "optimizer.lr=1e-9", "warmup=none", "scheduler=plateau", "scheduler.patience=0"]
    done = kasoku(
        *LIT, *stuck, "trainer.max_epochs=9", "callbacks=early_stopping", "callbacks.early_stopping.patience=3"
    )
    assert done.code == 0, done.err
    assert done.result["steps"] == 4 * 19
    assert "lr 1e-10 " in done.out


@pytest.mark.parametrize("key", ["scheduler.metric", "callbacks.best.monitor", "callbacks.early_stopping.monitor"])
def test_another_metric_needs_a_direction_of_its_own(kasoku: Kasoku, key):
    """target.mode is max by default, which val/loss must not inherit."""
    chosen = ("scheduler=plateau", "callbacks=early_stopping")
    mode = re.sub(r"metric$|monitor$", "mode", key)
    done = kasoku(*chosen, f"{key}=val/loss")
    assert done.code == 2
    assert f"{mode}=" in done.err
    assert "give min or max, val/loss is not target.metric" in done.err
    assert kasoku(*chosen, f"{key}=val/loss", f"{mode}=min").code == 0


def test_a_target_does_not_inherit_the_direction_of_the_tasks_metric(kasoku: Kasoku):
    done = kasoku("target.metric=val/loss")
    assert done.code == 2
    assert (
        "target.mode=max: is that of the task's own metric, and val/loss has the other; add target.mode=min" in done.err
    )
    assert kasoku("target.metric=val/loss", "target.mode=min").result["target"]["mode"] == "min"
    assert kasoku("target.metric=val/loss", "target.mode=max", name="said").code == 0


@pytest.mark.parametrize(("metric", "mode"), [("val/loss", "max"), ("val_f1", "min"), ("val/R2", "min")])
def test_names_that_contradict_a_mode(metric, mode):
    assert contradicts(metric, mode)
    assert not contradicts(metric, "min" if mode == "max" else "max")
    assert not contradicts("val/latency", mode)


def test_a_wrong_target_is_named_as_the_target(kasoku: Kasoku):
    done = kasoku("scheduler=plateau", "target.metric=val/accc")
    assert done.code == 2
    assert "target.metric=val/accc: no such metric" in done.err


@pytest.mark.parametrize("name", ["val/loss", "val_loss", "valid_rmse", "test/Error", "loss/val", "perplexity"])
def test_costs_fall(name):
    assert is_cost(name)


@pytest.mark.parametrize("name", ["val/acc", "val_f1", "auroc", "val/remaehl", "R2Score"])
def test_others_grow(name):
    assert not is_cost(name)
