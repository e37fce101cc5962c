"""The callbacks that are one word: each does its work, and they go together."""

import pytest
from pytorch_lightning.callbacks import Callback

from tests.conftest import SMALL, composed, read_result, run_here


def test_early_stopping_follows_the_target(tmp_path):
    stuck = ("optimizer=sgd", "optimizer.lr=1e-9", "warmup=none", "trainer.max_epochs=30")
    patient = ("callbacks=early_stopping", "callbacks.early_stopping.patience=2")
    assert run_here(tmp_path, *SMALL, *stuck, *patient) == 0
    result = read_result(tmp_path)
    assert result["steps"] == 3 * 19  # the first validation, and two that are no better
    assert result["status"] == "completed"
    node = composed("callbacks=early_stopping", "target.metric=val/loss", "target.mode=min").callbacks.early_stopping
    assert (node.monitor, node.mode) == ("val/loss", "min")


class Names(Callback):
    def on_train_start(self, trainer, module) -> None:
        self.there = {type(callback).__name__ for callback in trainer.callbacks}


def test_they_go_together(tmp_path, capsys):
    names = Names()
    several = "callbacks=[early_stopping,ema,agc,model_summary,lr_monitor,rich_progress]"
    run = (*SMALL, several, "trainer.max_steps=4", "trainer.log_every_n_steps=1", "optimizer=nesterov")
    assert run_here(tmp_path, *run, callbacks=[names]) == 0
    assert {"EarlyStopping", "EMA", "AGC", "ModelSummary", "LearningRateMonitor", "ModelCheckpoint"} <= names.there
    assert "momentum" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_the_summary_names_the_layers(tmp_path, caplog):
    caplog.set_level("INFO")
    assert run_here(tmp_path, *SMALL, "callbacks=model_summary", "trainer.max_steps=1") == 0
    assert "Trainable params" in caplog.text


@pytest.mark.parametrize("name", ["early_stopping", "model_summary", "lr_monitor", "rich_progress"])
def test_each_keeps_the_checkpoints(name):
    assert {"best", "last", name} == set(composed(f"callbacks={name}").callbacks)
