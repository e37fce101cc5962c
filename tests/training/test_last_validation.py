"""Wherever a run ends, its last step is validated, once."""

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from kasoku.config.directory import overrides_of
from tests.conftest import SMALL, read_result, run_here


def validated(directory: Path) -> list[int]:
    """After how many steps."""
    with (directory / "metrics.csv").open() as file:
        return [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val/loss"]]


class Counting(Callback):
    """Validations and their values, with the weights that gave them."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer, module) -> None:
        if not trainer.sanity_checking:
            self.steps.append(trainer.global_step)
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}


class StopAtEpochsEnd(Callback):
    def on_train_epoch_end(self, trainer, module) -> None:
        trainer.should_stop = trainer.current_epoch == 1


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["trainer.max_steps=15"], [15]),
        (["trainer.max_steps=45"], [19, 38, 45]),
        (["trainer.max_steps=38"], [19, 38]),
        (["trainer.max_epochs=2"], [19, 38]),
        (["trainer.max_epochs=5", "trainer.check_val_every_n_epoch=3"], [57, 95]),
        (["trainer.max_epochs=1", "trainer.val_check_interval=0.3"], [5, 10, 15, 19]),
        (
            ["trainer.max_steps=20", "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=8"],
            [8, 16, 20],
        ),
        (["trainer.max_steps=13", "trainer.accumulate_grad_batches=4"], [5, 10, 13]),
        (["trainer.max_steps=15", "callbacks=ema"], [15]),
        (["trainer.max_steps=25", "scheduler=plateau"], [19, 25]),
        (["trainer.max_steps=25", "optimizer=schedulefree_sgd"], [19, 25]),
        (["trainer.max_steps=15", "trainer.limit_val_batches=0"], []),
        (["trainer.max_epochs=9", "target.value=0.5", "target.stop=true"], [19, 38]),  # where the next one confirms it
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_the_last_step_is_validated_and_no_step_twice(tmp_path, overrides, steps):
    counting = Counting()
    assert run_here(tmp_path, *SMALL, *overrides, callbacks=[counting]) == 0
    assert counting.steps == validated(tmp_path) == steps if steps else counting.steps == []


def test_the_best_and_the_last_checkpoint_are_of_the_final_weights(tmp_path):
    counting = Counting()
    assert run_here(tmp_path, *SMALL, "trainer.max_steps=15", callbacks=[counting]) == 0
    for name in ("best", "last"):
        state = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(state[key], counting.weights[key]) for key in state)
    result = read_result(tmp_path)
    assert result["best"] == {"metric": "val/acc", "value": result["metrics"]["val/acc"], "step": 15}


def test_an_end_that_is_decided_at_an_epochs_end_is_validated_too(tmp_path):
    counting = Counting()
    skipping = ("trainer.max_epochs=9", "trainer.check_val_every_n_epoch=4")
    assert run_here(tmp_path, *SMALL, *skipping, callbacks=[StopAtEpochsEnd(), counting]) == 0
    assert counting.steps == [38]
    assert read_result(tmp_path)["best"]["step"] == 38


def test_a_run_that_is_gone_on_with_validates_where_it_ends_now(tmp_path):
    counting = Counting()
    assert run_here(tmp_path, *SMALL, "trainer.max_steps=15") == 0
    more = [*overrides_of(tmp_path), "trainer.max_steps=30", f"resume={tmp_path}"]
    assert run_here(tmp_path, *more, callbacks=[counting]) == 0
    assert counting.steps == [19, 30]
