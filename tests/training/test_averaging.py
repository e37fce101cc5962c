"""Averages of the weights: their closed forms, what is evaluated and saved, and resuming."""

import csv
import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kasoku import results
from kasoku.config.directory import overrides_of
from kasoku.faults import ConfigError
from kasoku.training import averaging
from kasoku.training.averaging import EMA, LAWA, SWA, LatestAverage
from tests.conftest import run_here

NORMED = ("model=cnn", "model.net.width=4", "trainer=cpu", "logger=none", "trainer.log_every_n_steps=1")
CPU = torch.device("cpu")
SETTINGS = {
    "ema": ("callbacks=ema", "callbacks.ema.decay=0.9"),
    "swa": ("callbacks=swa", "callbacks.swa.start=1ep", "scheduler=constant"),
    "lawa": ("callbacks=lawa", "callbacks.lawa.latest=2", "callbacks.lawa.every=7"),
    "tail": ("callbacks=tail", "callbacks.tail.share=70%"),
}


class Weights(pl.Callback):
    """The trained weights after each step, before anything is swapped."""

    def __init__(self) -> None:
        self.after: list[dict[str, Tensor]] = []

    def on_before_zero_grad(self, trainer, module, optimizer) -> None:
        if trainer.global_step > len(self.after):
            self.after.append({name: p.detach().clone() for name, p in module.named_parameters()})

    def on_train_epoch_end(self, trainer, module) -> None:
        self.on_before_zero_grad(trainer, module, None)


class SignalAt(pl.Callback):
    """Stands in for the person who presses Ctrl-C after a step, or inside the validation that follows one."""

    def __init__(self, step: int, hook: str):
        self.step = step
        setattr(self, hook, self._press)

    def _press(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def saved(directory: Path, name: str = "last") -> dict:
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def train(directory: Path, *overrides: str, expect: int = 0, callbacks=()) -> Path:
    assert run_here(directory, *NORMED, *overrides, callbacks=callbacks) == expect
    return directory


def mean(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}


def exponential(states: list[dict[str, Tensor]], decay: float, warmup: bool) -> dict[str, Tensor]:
    """e_1 = w_1, e_n = d e_(n-1) + (1 - d) w_n."""
    average = states[0]
    for n, state in enumerate(states[1:], start=1):
        d = min(decay, (1 + n) / (10 + n)) if warmup else decay
        average = {name: d * average[name] + (1 - d) * state[name] for name in state}
    return average


CLOSED_FORMS = {
    "ema": (["callbacks=ema", "callbacks.ema.decay=0.9"], lambda w: exponential(w, 0.9, True)),
    "ema late": (
        ["callbacks=ema", "callbacks.ema.decay=0.8", "callbacks.ema.warmup=false", "callbacks.ema.start=20"],
        lambda w: exponential(w[19:], 0.8, False),
    ),
    "swa": (["callbacks=swa", "callbacks.swa.start=50%"], lambda w: mean([w[37], w[56]])),
    "tail": (["callbacks=tail", "callbacks.tail.share=20%"], lambda w: mean(w[-11:])),
    "lawa": (["callbacks=lawa", "callbacks.lawa.latest=3", "callbacks.lawa.every=10"], lambda w: mean(w[29:50:10])),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Weights:
    """The weights of a run without averaging."""
    watched = Weights()
    train(tmp_path_factory.mktemp("plain") / "run", "trainer.max_epochs=3", callbacks=[watched])
    return watched


@pytest.mark.sample(5)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_the_saved_average_is_the_closed_form_and_training_goes_on_with_the_weights(tmp_path, plain, name):
    """Three epochs of 19 steps; the trained weights are bit for bit those of a run without averaging."""
    overrides, closed_form = CLOSED_FORMS[name]
    watched = Weights()
    train(tmp_path / "run", "trainer.max_epochs=3", *overrides, callbacks=[watched])
    assert len(plain.after) == len(watched.after) == 57
    for one, other in zip(plain.after, watched.after, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    checkpoint, expected = saved(tmp_path / "run"), closed_form(plain.after)
    for key, value in expected.items():
        torch.testing.assert_close(checkpoint["state_dict"][key], value, rtol=1e-4, atol=1e-6)
        assert torch.equal(checkpoint["current_model_state"][key], plain.after[-1][key])


@pytest.mark.proof
def test_before_the_first_average_the_weights_are_evaluated(tmp_path):
    """Lightning's own callback evaluates the initial weights until then."""
    plain = train(tmp_path / "plain", "trainer.max_epochs=2")
    late = train(tmp_path / "late", "trainer.max_epochs=2", "callbacks=swa", "callbacks.swa.start=100%")

    def values(directory: Path) -> list[str]:
        with (directory / "metrics.csv").open() as file:
            return [row["val/loss"] for row in csv.DictReader(file) if row["val/loss"]]

    assert values(late)[0] == values(plain)[0]
    first, second = saved(late)["state_dict"], saved(plain)["state_dict"]
    parameters = [name for name in first if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.equal(first[name], second[name]) for name in parameters)  # the mean of one


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", SETTINGS)
def test_best_holds_the_figures_that_validation_saw(tmp_path, name):
    directory = train(tmp_path / "run", "trainer.max_epochs=3", *SETTINGS[name])
    result = results.read(directory)
    best = f"checkpoint={directory}/checkpoints/best.ckpt"
    again = results.read(train(tmp_path / "again", "mode=test", best, *SETTINGS[name])).metrics
    assert again == {key: value for key, value in result.metrics.items() if key.startswith("test/")}
    # The figure of validation: test the same weights on the validation set.
    module, data = built(tmp_path, *SETTINGS[name])
    module.load_state_dict(saved(directory, "best")["state_dict"])
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    found = trainer.validate(module, datamodule=data, verbose=False)[0]["val/acc"]
    assert found == result.best.value


def built(directory: Path, *overrides: str):
    from kasoku.command.build import build
    from kasoku.config import trust
    from tests.conftest import CONF, composed

    run = build(composed(*NORMED, *overrides), directory, trust.trusted(CONF))
    return run.module, run.data


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_is_the_straight_run(tmp_path, name):
    """Cut inside an epoch, and again inside a validation while the average stands in the net; statistics included."""
    overrides = (*SETTINGS[name], "trainer.max_epochs=3", "model.net.dropout=0.1")
    straight, part = tmp_path / "straight", tmp_path / "cut"
    train(straight, *overrides)
    train(part, *overrides, expect=143, callbacks=[SignalAt(25, "on_train_batch_end")])
    again = (*overrides_of(part), f"resume={part}")
    assert run_here(part, *again, callbacks=[SignalAt(38, "on_validation_batch_start")]) == 143
    assert run_here(part, *again) == 0
    one, other = saved(straight), saved(part)
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert one[key].keys() == other[key].keys()
        assert all(torch.equal(one[key][name], other[key][name]) for name in one[key])


def test_batch_norm_statistics_are_those_of_the_averaged_weights(tmp_path):
    """Also in a checkpoint between two validations, which leaves the run as if nothing was saved."""
    every = ("callbacks.last.every_n_train_steps=8", "callbacks.last.every_n_epochs=null")
    often = train(tmp_path / "often", "trainer.max_epochs=2", *SETTINGS["ema"], *every)
    seldom = train(tmp_path / "seldom", "trainer.max_epochs=2", *SETTINGS["ema"])
    one, other = saved(often, "best")["state_dict"], saved(seldom, "best")["state_dict"]
    assert all(torch.equal(one[key], other[key]) for key in one)
    last = saved(often)  # of step 32, the latest validation was after step 19
    module, data = built(tmp_path, *SETTINGS["ema"])
    module.load_state_dict(last["state_dict"])
    data.setup("fit")
    data.order.set_epoch(1)
    module.eval()
    averaging.refresh_batch_norm(module, [x for x, _ in data.train_dataloader().first(50)])
    for key, value in module.state_dict().items():
        torch.testing.assert_close(last["state_dict"][key], value)
    assert any(not torch.equal(value, last["current_model_state"][key]) for key, value in last["state_dict"].items())


def test_the_ring_of_the_latest_states():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = LatestAverage(net, CPU, 3)
    for value in (1.0, 2.0, 6.0, 10.0):
        for p in net.parameters():
            nn.init.constant_(p, value)
        net[1].running_mean.fill_(value)
        average.update_parameters(net)
    assert {float(p.unique()) for p in average.parameters()} == {6.0}
    assert float(average.module[1].running_mean[0]) == 10.0
    assert average.states.shape == (3, sum(p.numel() for p in net.parameters()))


def test_a_schedule_free_optimizer_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="callbacks=ema: schedule-free optimizers evaluate an average of their own"):
        run_here(tmp_path, *NORMED, "callbacks=ema", "optimizer=schedulefree_sgd")


def test_epochs_are_known_where_only_max_steps_is_given(tmp_path):
    train(tmp_path, "callbacks=lawa", "trainer.max_steps=25", "warmup.length=1ep")
    assert int(saved(tmp_path)["averaging_state"]["n_averaged"]) == 1


def test_a_length_that_the_run_does_not_know_is_refused(tmp_path):
    overrides = ("callbacks=swa", "callbacks.swa.start=5tokens")
    with pytest.raises(ConfigError, match=r"callbacks.swa.start=5tokens: a length in tokens needs"):
        run_here(tmp_path, *NORMED, *overrides)


@pytest.mark.parametrize(
    ("choice", "setting", "words"),
    [
        ("ema", "decay=1.0", "must be a finite number > 0 and < 1"),
        ("swa", "start=120%", "must be at most 100% of the run"),
        ("swa", "every=0", "must be a length of 1 step or more"),
        ("lawa", "latest=0", "must be a whole number >= 1"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, choice, setting, words):
    with pytest.raises(ConfigError, match=rf"callbacks.{choice}.{setting}: {words}"):
        run_here(tmp_path, *NORMED, f"callbacks={choice}", f"callbacks.{choice}.{setting}")


def test_defaults_are_those_of_the_yaml():
    from tests.conftest import composed

    for name, kind in {"ema": EMA, "swa": SWA, "lawa": LAWA}.items():
        node = composed(f"callbacks={name}").callbacks[name]
        defaults = kind.__init__.__kwdefaults__
        assert {key: value for key, value in node.items() if key != "_target_"} == defaults


def test_several_are_combined_in_a_list(tmp_path):
    train(tmp_path, "callbacks=[ema,agc]", "trainer.max_epochs=1")
    assert "averaging_state" in saved(tmp_path)
