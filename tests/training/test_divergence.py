"""A number that is not finite ends the run where it comes up; the weights and every checkpoint stay as they were."""

import math
import re

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from kasoku.training.divergence import IN_A_ROW, total_norm
from tests.conftest import SMALL, read_result, run_here
from tests.training.test_resume import SignalAt, resumed

EPOCH = 19  # steps
FAST = (*SMALL, "trainer.max_epochs=2")


class Spoil(Callback):
    """Puts `value` into the gradient, the loss or the batch of validation at the steps that are given."""

    def __init__(self, what: str, *steps: int, value: float = math.inf):
        self.what, self.steps, self.value = what, steps, value

    def on_after_backward(self, trainer, module) -> None:
        if self.what == "gradient" and trainer.global_step in self.steps:
            next(module.parameters()).grad[0, 0] = self.value

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if self.what == "batch" and trainer.global_step in self.steps:
            batch[0].view(-1)[0] = self.value

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if self.what == "weights" and trainer.global_step - 1 in self.steps:
            with torch.no_grad():
                next(module.parameters()).view(-1)[0] = self.value

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0) -> None:
        if self.what == "validation" and trainer.global_step in self.steps:
            batch[0].view(-1)[0] = self.value


def finite(directory) -> list[str]:
    """The checkpoints of a run, all of whose weights are finite."""
    found = sorted((directory / "checkpoints").glob("*.ckpt"))
    for path in found:
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point()), path
    return [path.stem for path in found]


KINDS = {
    "an infinite gradient": (Spoil("gradient", 7), 7, r"the norm of the gradient became inf, at a loss of [\d.]+, at"),
    "in the last step of the run": (Spoil("gradient", 2 * EPOCH - 1), 2 * EPOCH - 1, "the norm of the gradient"),
    "in the last step of an epoch": (Spoil("gradient", EPOCH - 1, value=math.nan), EPOCH - 1, "gradient became nan"),
    "a loss": (Spoil("batch", 12, value=math.nan), 12, r"the loss became nan after [\d.]+, and the norm .* nan, at"),
    "in the first step": (Spoil("batch", 0, value=math.nan), 0, "the loss became nan, and the norm"),
    "in validation": (Spoil("validation", EPOCH, value=math.nan), EPOCH - 1, "the metric val/loss became nan"),
    "a weight in the last step": (Spoil("weights", 2 * EPOCH - 1, value=math.nan), 2 * EPOCH - 1, "became nan"),
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [(), ("trainer.log_every_n_steps=50",)], ids=["", "a row in 50 steps"])
def test_the_step_is_named_and_nothing_is_spoilt(tmp_path, caplog, kind, words):
    spoil, step, told = KINDS[kind]
    assert run_here(tmp_path, *FAST, *words, callbacks=[spoil]) == 3
    assert read_result(tmp_path)["status"] == "diverged"
    [said] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("diverged: ")]
    assert re.search(told, said), said
    assert f"at step {step} with lr " in said
    finite(tmp_path)


SETTINGS = {  # that change where a number passes: windows, norms, scaled or averaged weights, other loops and formats
    "a window": ("trainer.accumulate_grad_batches=2", "data.batch_size=32", "trainer.limit_train_batches=38"),
    "clipping": ("trainer.gradient_clip_val=1.0",),
    "agc": ("callbacks=agc",),
    "ema": ("callbacks=ema",),
    "muon": ("optimizer=muon",),
    "schedule-free": ("optimizer=schedulefree_adamw",),
    "sophia": ("optimizer=sophia",),
    "bf16": ("trainer.precision=bf16-mixed",),
    "plateau": ("scheduler=plateau",),
    "a checkpoint each step": ("callbacks.last.every_n_train_steps=1", "callbacks.last.every_n_epochs=null"),
}


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_is_spoilt_under_any_setting(tmp_path, kind, setting):
    spoil, _, _ = KINDS[kind]
    assert run_here(tmp_path, *FAST, *SETTINGS[setting], callbacks=[spoil]) == 3
    assert read_result(tmp_path)["status"] == "diverged"
    finite(tmp_path)


def test_a_step_with_an_infinite_gradient_is_not_taken(tmp_path):
    kept = {}

    class Keep(Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            kept.update({name: value.clone() for name, value in module.state_dict().items()})

        def on_exception(self, trainer, module, exception) -> None:
            assert all(torch.equal(kept[name], value) for name, value in module.state_dict().items())
            kept["seen"] = True

    assert run_here(tmp_path, *FAST, callbacks=[Spoil("gradient", 7), Keep()]) == 3
    assert kept["seen"]
    assert read_result(tmp_path)["steps"] == 7


def test_a_checkpoint_after_each_step_is_finite_whatever_comes(tmp_path):
    words = ("callbacks.last.every_n_train_steps=1", "callbacks.last.every_n_epochs=null")
    assert run_here(tmp_path, *FAST, *words, "trainer.log_every_n_steps=50", "optimizer.lr=1e30") == 3
    finite(tmp_path)


def test_a_signal_right_after_saves_nothing_that_is_spoilt(tmp_path):
    spoil = Spoil("weights", 24, value=math.nan)
    assert run_here(tmp_path, *FAST, callbacks=[spoil, SignalAt(25)]) == 3
    assert "last" in finite(tmp_path)


@pytest.mark.sample(3)
@pytest.mark.parametrize("optimizer", ["adamw", "nesterov", "muon", "schedulefree_adamw", "soap"])
def test_skip_leaves_the_step_out_and_the_run_completes(tmp_path, caplog, optimizer):
    words = (f"optimizer={optimizer}", "on_divergence=skip")
    assert run_here(tmp_path, *FAST, *words, callbacks=[Spoil("gradient", 7), Spoil("batch", 12, value=math.nan)]) == 0
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out")]
    assert ["at step 7 " in said[0], "at step 12 " in said[1], len(said)] == [True, True, 2]
    result = read_result(tmp_path)
    assert (result["status"], result["steps"]) == ("completed", 2 * EPOCH)
    assert result["metrics"]["val/acc"] > 0.5
    finite(tmp_path)


def test_skip_leaves_out_what_the_step_did_to_batch_norm(tmp_path, monkeypatch):
    monkeypatch.setenv("KASOKU_TRUST", __name__)
    words = (*FAST, "on_divergence=skip", "model.net._target_=tests.training.test_divergence.Normed")
    assert run_here(tmp_path, *words, callbacks=[Spoil("batch", 3, EPOCH + 1, value=math.nan)]) == 0
    assert read_result(tmp_path)["metrics"]["val/acc"] > 0.3
    finite(tmp_path)


def test_statistics_of_batch_norm_are_never_saved_spoilt(tmp_path, monkeypatch):
    """A mask of -inf is no statistic."""

    class Infinite(Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            if trainer.global_step == 25:
                module.net[2].running_var[0] = math.inf

    monkeypatch.setenv("KASOKU_TRUST", __name__)
    words = (*FAST, "model.net._target_=tests.training.test_divergence.Normed")
    assert run_here(tmp_path / "mask", *words) == 0
    assert run_here(tmp_path / "run", *words, callbacks=[Infinite()]) == 3
    finite(tmp_path / "run")


class Normed(nn.Sequential):
    def __init__(self, num_classes: int):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes))
        self.register_buffer("mask", torch.full((2, 2), -math.inf), persistent=False)


def test_skip_with_nothing_to_skip_changes_nothing(tmp_path):
    results = []
    for name in ("stop", "skip"):
        assert run_here(tmp_path / name, *FAST, f"on_divergence={name}") == 0
        results.append(read_result(tmp_path / name)["metrics"])
    assert results[0] == results[1]


def test_skip_gives_up_after_some_in_a_row(tmp_path, caplog):
    spoil = Spoil("gradient", *range(5, 40))
    assert run_here(tmp_path, *FAST, "on_divergence=skip", callbacks=[spoil]) == 3
    assert read_result(tmp_path)["steps"] == 5 + IN_A_ROW - 1
    assert f"{IN_A_ROW} times in a row" in caplog.text


class SpoilOnce(Spoil):
    """The same, until it did it `times` times."""

    times = 1

    def on_after_backward(self, trainer, module) -> None:
        if self.times and trainer.global_step in self.steps:
            self.times -= 1
            super().on_after_backward(trainer, module)


def test_rewind_goes_on_from_the_last_checkpoint_with_half_the_lr(tmp_path, caplog):
    spoil = SpoilOnce("gradient", EPOCH + 6)
    lrs = ("optimizer.lr=0.01", "scheduler=constant", "warmup=none", "trainer.log_every_n_steps=1")
    assert run_here(tmp_path, *FAST, *lrs, "on_divergence=rewind", callbacks=[spoil]) == 0
    assert "rewind: on from the last checkpoint with optimizer.lr=0.005" in caplog.text
    result = read_result(tmp_path)
    assert (result["status"], result["steps"]) == ("completed", 2 * EPOCH)
    rows = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    step, lr = rows[0].index("step"), rows[0].index("lr")
    used = {int(row[step]): float(row[lr]) for row in rows[1:] if row[lr]}
    assert used == {n: 0.01 if n < EPOCH else 0.005 for n in range(2 * EPOCH)}
    assert resumed(tmp_path, "trainer.max_epochs=3") == 0  # its configuration has the lower lr


def test_rewind_ends_after_three_times(tmp_path, caplog):
    assert run_here(tmp_path, *FAST, "on_divergence=rewind", callbacks=[Spoil("gradient", EPOCH + 6)]) == 3
    assert caplog.text.count("rewind: on from") == 3
    assert read_result(tmp_path)["status"] == "diverged"
    finite(tmp_path)


def test_the_norm_is_that_of_all_as_one():
    tensors = [torch.tensor([3.0]), None, torch.tensor([[4.0, 12.0]])]
    assert total_norm(tensors) == 13.0
    assert total_norm([None]) is None
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    assert total_norm([embedding.weight.grad]) == pytest.approx(math.sqrt(2 * 2**2 + 2 * 1))
