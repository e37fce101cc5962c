"""What Lightning refuses is a wrong configuration in one line, before the first batch."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from kasoku.faults import ConfigError
from tests.conftest import SMALL, read_result, run_here

LIGHTNINGS = "pytorch_lightning.callbacks"
STOP = f"+callbacks.es._target_={LIGHTNINGS}.EarlyStopping"
WAIT = [
    f"+callbacks.wait._target_={LIGHTNINGS}.GradientAccumulationScheduler",
    "+callbacks.wait.scheduling={0:2}",
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer.limit_val_batches=0.1"], "trainer.limit_val_batches=0.1: You requested to check 0.1 of the"),
        (["trainer.limit_train_batches=0.01"], "trainer.limit_train_batches=0.01: You requested to check 0.01"),
        (["trainer.val_check_interval=100"], "trainer.val_check_interval=100: `val_check_interval` (100) must be"),
        (["trainer.val_check_interval=100", "mode=preview"], "trainer.val_check_interval=100: `val_check_interval`"),
        (["trainer.limit_train_batches=0.01", "mode=find_lr"], "trainer.limit_train_batches=0.01: You requested"),
        (["trainer.val_check_interval=100", "scheduler=constant", "warmup=none"], "trainer.val_check_interval=100"),
        (
            [f"+callbacks.x._target_={LIGHTNINGS}.LearningRateFinder"],
            "callbacks.x=LearningRateFinder: sets an attribute of the module, and its lr is optimizer.lr; leave it out",
        ),
        (["+trainer.profiler=simpl"], "trainer.profiler=simpl: When passing string value"),
        (["+trainer.enable_checkpointing=false"], "trainer.enable_checkpointing=false: Trainer was configured with"),
        (["trainer.accumulate_grad_batches=3", *WAIT], "callbacks.wait=GradientAccumulationScheduler: You have set"),
        ([f"+callbacks.mine._target_={LIGHTNINGS}.ModelCheckpoint"], "callbacks: Found more than one stateful"),
        (
            [f"+callbacks.{name}._target_={LIGHTNINGS}.TQDMProgressBar" for name in "ab"]
            + ["+trainer.enable_progress_bar=true"],
            "callbacks: You added multiple progress bar",
        ),
        (
            [STOP, "+callbacks.es.monitor=val_loss"],
            "callbacks.es.monitor=val_loss: validation logs no such metric, but",
        ),
        ([STOP, "+callbacks.es.monitor=acc"], "callbacks.es.monitor=acc: validation logs no such metric, but"),
        (
            ["callbacks.best.monitor=val/los", "callbacks.best.mode=min"],
            "callbacks.best.monitor=val/los: validation logs no such metric",
        ),
        (
            [STOP, "+callbacks.es.monitor=val/loss", "trainer.limit_val_batches=0"],
            "callbacks.es.monitor=val/loss: is a metric of validation, and this run has none",
        ),
        ([STOP, "+callbacks.es.monitor=val/loss", "+callbacks.es.mode=up"], "callbacks.es="),
        (["callbacks=[ema,swa]"], "callbacks.ema and callbacks.swa average the weights, a run has one average"),
        (["callbacks=ema", f"+callbacks.x._target_={LIGHTNINGS}.WeightAveraging"], "callbacks.ema and callbacks.x"),
        (
            ["callbacks=swa", "trainer.max_steps=30"],
            "callbacks.swa.every=1ep: the first weights would be taken in after 38 steps, and the run has 30",
        ),
        (["callbacks=lawa", "trainer.max_steps=15"], "callbacks.lawa.every=1ep: the first weights would be taken in"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_one_line_says_so_before_the_first_batch(tmp_path, overrides, line):
    with pytest.raises(ConfigError) as caught:
        run_here(tmp_path, *SMALL, *overrides)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2
    assert not (tmp_path / "result.json").exists()


def test_a_metric_of_training_may_be_monitored(run):
    run(STOP, "+callbacks.es.monitor=train/loss", "trainer.max_epochs=1", "trainer.log_every_n_steps=1")


def test_averages_that_are_taken_in_once_are_enough(run):
    run("callbacks=swa", "trainer.max_steps=38")


def test_a_refusal_in_the_middle_of_training_leaves_a_result(tmp_path):
    """Without the sanity check Lightning asks for the metric after the first epoch."""
    with pytest.raises(ConfigError, match=r"callbacks.es=EarlyStopping: Early stopping conditioned on"):
        run_here(tmp_path, *SMALL, STOP, "+callbacks.es.monitor=val_loss", "trainer.num_sanity_val_steps=0")
    result = read_result(tmp_path)
    assert (result["status"], result["steps"]) == ("failed", 19)


@pytest.mark.parametrize("error", [MisconfigurationException("mine"), ValueError("mine"), RuntimeError("mine")])
def test_what_is_not_lightnings_is_left_as_it_is(tmp_path, error):
    class Raising(pl.Callback):
        def on_train_start(self, trainer, module):
            raise error

    with pytest.raises(type(error), match=r"^mine$"):
        run_here(tmp_path, *SMALL, callbacks=[Raising()])


def test_misuse_by_the_users_own_code_is_not_taken_for_a_setting(tmp_path):
    class Misusing(pl.Callback):
        def on_train_start(self, trainer, module):
            module.log("x", torch.zeros(3))  # Lightning refuses it: no number

    with pytest.raises(ValueError, match="must have a single element") as caught:
        run_here(tmp_path, *SMALL, callbacks=[Misusing()])
    assert not isinstance(caught.value, ConfigError)


def test_a_run_without_names_says_callbacks(tmp_path):
    """From a notebook callbacks come from no configuration."""
    best = [ModelCheckpoint(monitor="val/acc"), ModelCheckpoint(monitor="val/acc")]
    with pytest.raises(ConfigError, match="callbacks: Found more than one"):
        run_here(tmp_path, *SMALL, callbacks=best)


def test_a_test_that_cannot_begin_is_refused_in_lightnings_words_and_the_training_kept(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.limit_test_batches=0.001: You requested to check 0.001 of the"):
        run_here(tmp_path, *SMALL, "trainer.limit_test_batches=0.001", "trainer.limit_train_batches=1")
    assert read_result(tmp_path)["status"] == "completed"
