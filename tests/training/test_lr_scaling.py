"""optimizer.scale_lr: the lr follows the effective batch."""

import csv
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from kasoku.command.build import build_recipe
from kasoku.config.directory import overrides_of
from kasoku.durations import Clock
from kasoku.faults import ConfigError
from kasoku.optim.groups import Groups
from kasoku.optim.muon import Muon, kinds
from kasoku.recipe import Recipe
from tests.conftest import composed, run_here

SGD = partial(torch.optim.SGD, lr=0.1)
CONSTANT = ("scheduler=constant", "warmup=none", "trainer.log_every_n_steps=1", "optimizer=sgd", "optimizer.lr=0.1")


def lrs(directory: Path, file: str = "metrics.csv") -> set[float]:
    with (directory / file).open() as rows:
        return {float(row["lr"]) for row in csv.DictReader(rows) if row["lr"]}


@pytest.mark.parametrize(
    ("scale_lr", "samples", "expected"),
    [("none", 256, 0.1), ("linear", 256, 0.4), ("sqrt", 256, 0.2), ("linear", 32, 0.05), ("sqrt", 128, 0.1 * 2**0.5)],
)
def test_the_base_lr_is_multiplied_by_the_ratio_or_its_root(scale_lr, samples, expected):
    configured = Recipe(SGD, scale_lr=scale_lr).configure(nn.Linear(2, 2), Clock(total=9, samples=samples))
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(expected, rel=1e-11)
    assert configured["lr_scheduler"]["scheduler"].base_lrs[0] == pytest.approx(expected, rel=1e-11)


def test_all_rates_of_an_optimizer_with_several_are_multiplied():
    """Muon's adamw_lr too; and the groups keep their own multipliers."""
    groups = Groups(kinds=kinds, rules=[{"match": "0.*", "lr": 0.5}])
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    plain, scaled = (
        Recipe(partial(Muon, lr=0.02, adamw_lr=0.003), groups=groups, scale_lr=name).configure(
            net, Clock(total=9, samples=192)
        )
        for name in ("none", "linear")
    )
    before, after = ([group["lr"] for group in made["optimizer"].param_groups] for made in (plain, scaled))
    assert sorted(set(before)) == pytest.approx([0.0015, 0.003, 0.01, 0.02])
    assert after == pytest.approx([3 * lr for lr in before])


def test_with_lr_keeps_the_ratio_of_the_other_rates():
    assert Recipe(partial(Muon, lr=0.02, adamw_lr=0.003)).with_lr(0.012).optimizer.keywords == {
        "lr": 0.012,
        "adamw_lr": 0.0018,
    }


def test_data_without_a_batch_size_and_wrong_names_are_refused():
    with pytest.raises(ConfigError, match=r"optimizer.scale_lr=linear: needs the batch size"):
        Recipe(SGD, scale_lr="linear").configure(nn.Linear(2, 2), Clock(total=9))
    with pytest.raises(ConfigError, match=r"scale_lr=lin: must be one of .*, did you mean linear"):
        Recipe(SGD, scale_lr="lin")  # type: ignore[arg-type]


def test_accumulation_counts_and_it_is_said_once(run, caplog):
    caplog.set_level(logging.INFO, "kasoku")
    scaled = ("optimizer.scale_lr=linear", "trainer.accumulate_grad_batches=2", *CONSTANT)
    assert lrs(run(*scaled, "trainer.max_epochs=1")) == {0.2}
    said = [line for line in caplog.messages if "effective" in line]
    assert said == ["lr 0.1 x 2 (linear, effective batch 128 / 64)"]
    assert lrs(run(*scaled, "trainer.max_steps=5", "mode=preview", name="drawn"), "schedule.csv") == {0.2}


def test_a_resume_takes_the_batch_of_the_present_command(run):
    directory = run("optimizer.scale_lr=sqrt", *CONSTANT, "trainer.max_epochs=1")
    new = ("trainer.max_epochs=2", "trainer.accumulate_grad_batches=4", f"resume={directory}")
    assert run_here(directory, *overrides_of(directory), *new) == 0
    assert lrs(directory) == {0.1, 0.2}


ONLY_BATCH = ("optimizer.scale_lr=sqrt", "optimizer.scale_steps=none")


@pytest.mark.parametrize(("steps", "factor"), [(100, 2), (400, 1), (900, 2 / 3), (40, 2), (10**6, 1 / 2)])
def test_the_lr_falls_with_the_root_of_the_runs_length(steps, factor):
    """From twice to half of what is written for 400 steps; every lr alike."""
    net, recipe = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), build_recipe(composed("optimizer=muon"))
    rates = {g["name"]: g["initial_lr"] for g in recipe.configure(net, Clock(total=steps))["optimizer"].param_groups}
    plain = replace(recipe, scale_steps="none").configure(net, Clock(total=steps))["optimizer"].param_groups
    assert rates == pytest.approx({group["name"]: factor * group["initial_lr"] for group in plain})


def test_a_run_of_unknown_length_has_the_lr_as_written():
    recipe = build_recipe(composed("optimizer=muon", "scheduler=constant", "warmup=none"))
    assert recipe.lr_scale(Clock(total=None)) == 1


def test_nothing_but_the_rates_changes():
    """Of a recipe as the configuration makes it."""
    recipe = build_recipe(composed("optimizer=muon", *ONLY_BATCH, "optimizer.weight_decay=0.3"))
    scaled = recipe.with_lr(0.1).optimizer.keywords
    changed = {name for name, value in recipe.optimizer.keywords.items() if scaled[name] != value}
    assert changed == {"lr", "adamw_lr"}
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    groups = recipe.configure(net, Clock(total=9, samples=256))["optimizer"].param_groups
    assert (groups[0]["weight_decay"], groups[0]["initial_lr"]) == (0.3, 2 * recipe.lr)


def test_the_configuration_scales_nothing_by_default():
    assert (composed().optimizer.scale_lr, composed().optimizer.reference_batch_size) == ("none", 64)
