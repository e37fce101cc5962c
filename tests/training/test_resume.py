"""Going on with a run: same directory, same numbers as without the cut."""

import csv
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback

from kasoku import results
from kasoku.config import resuming
from kasoku.config.directory import claim, overrides_of
from kasoku.faults import ConfigError
from tests.conftest import SMALL, composed, run_here

COMMON = ("trainer.max_epochs=4", "trainer.log_every_n_steps=1", "model.net.dropout=0.2")


class SignalAt(Callback):
    """Stands in for the person who presses Ctrl-C at a step."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def resumed(directory: Path, *new: str, callbacks: Sequence[Callback] = ()) -> int:
    """What `python train.py resume=directory *new` runs."""
    return run_here(directory, *overrides_of(directory), *new, f"resume={directory}", callbacks=callbacks)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def steps_and_losses(directory: Path) -> list[tuple[str, str, str]]:
    with (directory / "metrics.csv").open() as file:
        return [(row["step"], row["lr"], row["train/loss"]) for row in csv.DictReader(file) if row["lr"]]


@pytest.mark.sample(2)
@pytest.mark.parametrize("cut", [7, 19, 20, 50])
def test_a_resumed_run_ends_with_the_weights_of_the_straight_run(tmp_path, cut):
    """Cuts inside an epoch and at an epoch's end, with shuffling and dropout; the epoch has 19 steps."""
    overrides = (*SMALL, *COMMON)
    assert run_here(tmp_path / "straight", *overrides) == 0
    assert run_here(tmp_path / "cut", *overrides, callbacks=[SignalAt(cut)]) == 143
    assert results.read(tmp_path / "cut").status == "interrupted"
    assert resumed(tmp_path / "cut") == 0
    straight, cut_and_resumed = weights(tmp_path / "straight"), weights(tmp_path / "cut")
    assert all(torch.equal(straight[name], cut_and_resumed[name]) for name in straight)
    assert steps_and_losses(tmp_path / "cut") == steps_and_losses(tmp_path / "straight")
    assert results.read(tmp_path / "cut").samples == results.read(tmp_path / "straight").samples


def test_a_changed_horizon_is_exact_from_the_first_resumed_step(tmp_path):
    overrides = (*SMALL, "warmup=none", "trainer.log_every_n_steps=1")
    run_here(tmp_path, *overrides, "trainer.max_epochs=2")
    assert resumed(tmp_path, "trainer.max_epochs=4", "optimizer.lr=0.01") == 0
    lrs = {int(step): float(lr) for step, lr, _ in steps_and_losses(tmp_path)}
    assert [lrs[s] for s in range(38, 76)] == pytest.approx([0.01 * (1 - s / 76) for s in range(38, 76)], abs=1e-12)


def test_a_finished_run_says_how_to_extend_it(tmp_path):
    run_here(tmp_path, *SMALL, "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=r"has finished.*trainer.max_epochs"):
        resumed(tmp_path)


def test_another_optimizer_is_refused(tmp_path):
    run_here(tmp_path, *SMALL, "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=r"torch.optim.AdamW.*checkpoint="):
        resumed(tmp_path, "trainer.max_epochs=2", "optimizer=nesterov")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"no checkpoint"]
)
def test_a_damaged_checkpoint_is_named_and_the_whole_one_offered(tmp_path, damage):
    run_here(tmp_path, *SMALL, "trainer.max_epochs=1")
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(ConfigError, match=r"last.ckpt.*best.ckpt"):
        resumed(tmp_path, "trainer.max_epochs=2")


def test_the_stored_command_comes_first(tmp_path):
    run_here(tmp_path, *SMALL, "trainer.max_epochs=1")
    argv = resuming.with_stored_overrides([f"resume={tmp_path}", "trainer.max_epochs=3"])
    assert argv == [
        *SMALL,
        "trainer.max_epochs=1",
        f"resume={tmp_path}",
        "trainer.max_epochs=3",
        f"hydra.run.dir={tmp_path}",
    ]


def test_a_value_that_changed_since_is_refused_but_for_what_a_sweep_reads(tmp_path):
    claim(tmp_path, OmegaConf.to_yaml(composed()), [])
    assert resuming.changes(tmp_path, composed("optimizer.search.lr='interval(1,2)'", "sweeper.workers=3"), []) == []
    with pytest.raises(ConfigError, match=r"optimizer\.lr=0\.5: was 0\.003 in this run"):
        resuming.changes(tmp_path, composed("optimizer.lr=0.5"), [])


def test_a_change_that_nobody_named_is_refused(tmp_path):
    """A file in conf/ said something else when the run began. Mutant: `silent = []` in `changes`."""
    run_here(tmp_path, *SMALL, "trainer.max_epochs=1")
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("final_factor: 0.0", "final_factor: 0.5"))
    with pytest.raises(ConfigError, match=r"scheduler.final_factor=0.0: was 0.5 in this run"):
        resumed(tmp_path, "trainer.max_epochs=2")
