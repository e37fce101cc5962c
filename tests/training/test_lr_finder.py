"""mode=find_lr and optimizer.lr=auto: real runs on the digits."""

import csv
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from kasoku import results, schedules
from kasoku.command import modes
from kasoku.command.build import build
from kasoku.config import checks
from kasoku.config.directory import overrides_of
from kasoku.durations import Clock
from kasoku.faults import ConfigError
from kasoku.optim.groups import Groups
from kasoku.optim.muon import Muon, kinds
from kasoku.recipe import Recipe
from kasoku.training import lr_finder, suggestions
from kasoku.training.suggestions import RangeTest
from tests.conftest import CONF, SMALL, composed, run_here

SHORT = ("optimizer.find_lr.steps=40", "optimizer.find_lr.start=1e-4")
EPOCHS = ("trainer.max_epochs=2", "trainer.log_every_n_steps=1", "model.net.dropout=0.2")


class InterruptAt(pl.Callback):
    """Stands in for the person who presses Ctrl-C at a step, in the range test too."""

    def __init__(self, step: int):
        self.step = step

    def on_before_optimizer_step(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def found_lr(directory: Path) -> float:
    return results.read(directory).metrics["found_lr"]


def built(directory: Path, *overrides: str):
    from kasoku.config import trust

    return build(composed(*SMALL, *overrides), directory, trust.trusted(CONF))


def test_it_leaves_the_curve_and_prints_the_command_to_paste(run, capsys, monkeypatch):
    monkeypatch.delenv("KASOKU_TRUST", raising=False)  # would be part of the command
    directory = run("mode=find_lr", "optimizer=muon", "optimizer.scale_lr=linear", *SHORT)
    rows = table(directory / "lr_finder.csv")
    test = RangeTest(steps=40, start=1e-4)
    assert [float(row["lr"]) for row in rows] == [test.lr(step) for step in range(len(rows))]
    smooth = suggestions.Smoothing()
    assert [float(row["smoothed"]) for row in rows] == [smooth(float(row["loss"])) for row in rows]
    assert (directory / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    assert not (directory / "checkpoints").exists()

    columns = [[float(row[name]) for row in rows] for name in ("lr", "loss", "smoothed")]
    lr = suggestions.suggest(suggestions.Curve(*columns), 40)["valley"]
    last = capsys.readouterr().out.splitlines()[-2]
    rates = f"optimizer.lr={lr:.12g} optimizer.adamw_lr={lr:.12g} optimizer.scale_lr=none"
    rates += " optimizer.scale_steps=none"
    assert last.startswith("python train.py model=mlp trainer=cpu logger=none optimizer=muon ")
    assert last.endswith(rates)


OPTIMIZERS = [
    ("optimizer=adamw",),
    ("optimizer=muon", "optimizer.adamw_lr=0.002"),
    ("optimizer=schedulefree_adamw",),
    ("optimizer=nesterov", "scheduler=plateau", "optimizer.groups.layer_decay=0.5"),
    ("optimizer=adamw", "scheduler=onecycle", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1"),
]


@pytest.mark.sample(5)
@pytest.mark.parametrize("overrides", OPTIMIZERS, ids=lambda overrides: overrides[0].split("=")[1])
def test_training_at_auto_is_bit_for_bit_the_training_at_that_number(run, capsys, overrides):
    auto = run(*overrides, "optimizer.lr=auto", *SHORT, *EPOCHS, name="auto")
    lr = found_lr(auto)
    rates = [f"optimizer.lr={lr!r}"]
    if "optimizer=muon" in overrides:
        rates += [f"optimizer.adamw_lr={lr / 0.04 * 0.002:.12g}", "optimizer.scale_steps=none"]
    given = run(*overrides, *SHORT, *EPOCHS, *rates, name="given")
    assert same_weights(auto, given)
    for one, other in zip(table(auto / "metrics.csv"), table(given / "metrics.csv"), strict=True):
        assert one == other
    assert results.read(auto).samples == results.read(given).samples


def test_a_resume_goes_on_with_the_lr_that_was_found(run, tmp_path):
    auto = ("optimizer.lr=auto", *SHORT, *EPOCHS)
    straight = run(*auto, "trainer.max_epochs=3", name="straight")
    cut = tmp_path / "cut"
    assert run_here(cut, *SMALL, *auto, "trainer.max_epochs=3", callbacks=[InterruptAt(50)]) == 143
    (cut / "lr_finder.csv").unlink()
    assert run_here(cut, *overrides_of(cut), f"resume={cut}") == 0
    assert not (cut / "lr_finder.csv").exists()
    assert found_lr(cut) == found_lr(straight)
    assert same_weights(cut, straight)
    assert "lr: auto" in (cut / "config.yaml").read_text()


def test_a_run_that_began_with_a_number_cannot_go_on_with_auto(run):
    directory = run("trainer.max_epochs=1")
    new = ("trainer.max_epochs=2", "optimizer.lr=auto", f"resume={directory}")
    with pytest.raises(ConfigError, match=r"optimizer.lr=auto: is looked for when a run begins.*give a number"):
        run_here(directory, *overrides_of(directory), *new)


def test_an_interrupt_inside_the_test_ends_the_run_and_saves_nothing(tmp_path):
    overrides = (*SMALL, "optimizer.lr=auto", *SHORT)
    assert run_here(tmp_path / "auto", *overrides, callbacks=[InterruptAt(5)]) == 143
    assert results.read(tmp_path / "auto").status == "interrupted"
    assert not (tmp_path / "auto" / "checkpoints").exists()
    assert run_here(tmp_path / "find", *overrides, "mode=find_lr", callbacks=[InterruptAt(5)]) == 143


def test_the_module_and_the_generators_are_as_before(tmp_path):
    run = built(tmp_path, *SHORT)
    state = {name: value.clone() for name, value in run.module.state_dict().items()}
    expected = torch.get_rng_state()
    lr_finder.range_test(run)
    assert torch.equal(torch.get_rng_state(), expected)
    assert all(torch.equal(value, state[name]) for name, value in run.module.state_dict().items())
    assert run.module._trainer is None


def test_a_test_longer_than_the_epoch_goes_round_the_data(tmp_path):
    run = built(tmp_path, "optimizer.find_lr.steps=40", "optimizer.find_lr.end=1e-3", "trainer.max_epochs=1")
    assert len(lr_finder.range_test(run).lrs) == 40  # an epoch has 19


def test_all_groups_grow_by_the_same_factor():
    groups = Groups(kinds=kinds, rules=[{"match": "0.*", "lr": 0.5}])
    recipe = Recipe(partial(Muon, lr=0.02, adamw_lr=0.004), partial(schedules.linear), groups=groups)
    test = RangeTest(steps=50, start=1e-3, end=1.0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    configured = lr_finder.sweeping(recipe, test).configure(net, Clock(total=50))
    multipliers = []
    for step in (0, 20, 49):
        configured["lr_scheduler"]["scheduler"].move_to(step)
        multipliers.append([group["lr"] / test.lr(step) for group in configured["optimizer"].param_groups])
    assert sorted({round(value, 9) for value in multipliers[0]}) == [0.1, 0.2, 0.5, 1.0]
    assert multipliers[1] == pytest.approx(multipliers[0])
    assert multipliers[2] == pytest.approx(multipliers[0])


def test_accumulated_batches_make_one_loss(tmp_path):
    """Twice the half batch is the whole batch, dropout off."""
    settings = (*SHORT, "optimizer=sgd")
    whole = lr_finder.range_test(built(tmp_path, *settings, "data.batch_size=64"))
    halves = lr_finder.range_test(built(tmp_path, *settings, "data.batch_size=32", "trainer.accumulate_grad_batches=2"))
    assert halves.losses[:15] == pytest.approx(whole.losses[:15], rel=1e-4)


def test_a_loss_that_is_not_finite_at_the_start_is_said(tmp_path):
    run = built(tmp_path, *SHORT)
    with torch.no_grad():
        next(run.module.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigError, match="the loss is nan at the first step, before any update"):
        lr_finder.range_test(run)


def test_a_loss_that_diverges_at_once_is_said(run):
    settings = ("optimizer=sgd", "optimizer.find_lr.start=1e3", "optimizer.find_lr.end=1e6")
    with pytest.raises(ConfigError, match=r"optimizer.find_lr.start=1000.0: only \d+ of 100 steps came.*start lower"):
        run("mode=find_lr", *settings)


def test_a_module_that_configures_its_own_optimizer_is_refused(tmp_path):
    run = built(tmp_path, *SHORT)
    own = type("Own", (type(run.module),), {"configure_optimizers": lambda self: torch.optim.SGD(self.parameters())})
    run.module.__class__ = own
    with pytest.raises(ConfigError, match=r"model=Own: configures its optimizer itself.*model.recipe=override"):
        lr_finder.range_test(run)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lr=auto", "mode=preview"], r"optimizer.lr=auto: is not known before.*mode=find_lr"),
        (["optimizer.lr=auto", "optimizer.scale_lr=linear"], r"optimizer.scale_lr=linear: must be none"),
        (["optimizer.find_lr.start=20"], r"optimizer.find_lr.end=10.0: must be above optimizer.find_lr.start=20"),
        (["optimizer.find_lr.steps=3"], r"optimizer.find_lr.steps=3: must be a whole number >= 25"),
        (["optimizer.find_lr.suggestion=vally"], r"must be one of valley.*did you mean valley"),
        (["+optimizer.find_lr.stop=3"], r"optimizer.find_lr.stop=3: no such key"),
        (["optimizer.weight_decay=auto"], r"optimizer.weight_decay=auto: must be"),
    ],
)
def test_wrong_settings_are_refused_before_torch_is_needed(overrides, words):
    with pytest.raises(ConfigError, match=words):
        raise ConfigError(*checks.check(composed(*overrides)))


def test_every_mode_of_the_table_is_there():
    assert set(modes.MODES) == {"train", "preview", "find_lr", "test", "export"}
