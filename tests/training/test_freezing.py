"""Layers that are unfrozen in training: by the configuration, by callbacks, by the module; also after a resume."""

import csv
import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BackboneFinetuning

from kasoku.config.directory import overrides_of
from kasoku.faults import ConfigError
from kasoku.optim.groups import Groups
from kasoku.training.freezing import Freezing
from tests.conftest import SMALL, run_here
from tests.training.foreign import Classifier, Finetune

HERE = "tests.training.foreign"
EPOCH, EPOCHS = 19, 4
TOTAL = EPOCH * EPOCHS
COMMON = (*SMALL, "trainer.log_every_n_steps=1", f"trainer.max_epochs={EPOCHS}", "optimizer.lr=0.01")
BY_CONFIGURATION = (f"+model._target_={HERE}.Classifier", "optimizer.groups.unfreeze={backbone.*: 2ep}")
BY_MODULE = (f"+model._target_={HERE}.Thawing",)
BY_LIGHTNING = (f"+model._target_={HERE}.Classifier", f"+callbacks.tune._target_={HERE}.Finetune")


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    monkeypatch.setenv("KASOKU_TRUST", "tests")


class Backbone(pl.Callback):
    """The steps after which the weight of the backbone's layer and its norm had moved."""

    def __init__(self, press: int = 0):
        self.press, self.moved, self.before = press, {}, {}

    def on_train_batch_end(self, trainer, module, *args) -> None:
        for name in ("backbone.1.weight", "backbone.2.weight"):
            now = module.get_parameter(name).detach().clone()
            if not torch.equal(now, self.before.get(name, now)):
                self.moved.setdefault(name, []).append(trainer.global_step)
            self.before[name] = now
        if trainer.global_step == self.press:
            os.kill(os.getpid(), signal.SIGTERM)


def train(directory: Path, *overrides: str, press: int = 0, callbacks=()) -> tuple[Path, Backbone]:
    watch = Backbone(press)
    code = run_here(directory, *COMMON, *overrides, callbacks=[*callbacks, watch])
    assert code == (143 if press else 0)
    return directory, watch


def lrs(directory: Path, group: str) -> dict[int, float]:
    with (directory / "metrics.csv").open() as rows:
        return {int(r["step"]): float(r[f"lr/{group}"]) for r in csv.DictReader(rows) if r.get(f"lr/{group}")}


def saved(directory: Path) -> dict:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)


def linear(step: int) -> float:
    return 1 - step / TOTAL


@pytest.mark.parametrize("ways", [BY_CONFIGURATION, BY_MODULE], ids=["configuration", "module"])
def test_the_new_groups_follow_the_schedule_with_a_warmup_of_their_own(tmp_path, ways):
    run, watch = train(tmp_path, *ways, "warmup.length=8")
    assert watch.moved["backbone.1.weight"][0] == 2 * EPOCH + 1
    assert len(watch.moved["backbone.1.weight"]) == TOTAL - 2 * EPOCH
    with (run / "metrics.csv").open() as rows:
        whole = {int(row["step"]): float(row["lr"]) for row in csv.DictReader(rows) if row["lr"]}
    for group in ("decay_from38", "no_decay_from38"):
        found = lrs(run, group)
        assert found == pytest.approx(
            {s: lr * min(1.0, (s - 38 + 1) / 9) for s, lr in whole.items() if s in found}, abs=1e-12
        )
        assert min(found) == 38
    groups = saved(run)["optimizer_states"][0]["param_groups"]
    assert {g["name"]: g["weight_decay"] for g in groups if "from" in g["name"]} == {
        "decay_from38": 0.01, "no_decay_from38": 0.0,
    }  # fmt: skip


def test_lightnings_own_way_keeps_the_ratio_that_it_gives(tmp_path):
    """BaseFinetuning takes a tenth of the present lr; of the schedule that is a tenth of the base lr."""
    run, watch = train(tmp_path, *BY_LIGHTNING, "warmup=none", "scheduler=linear")
    assert watch.moved["backbone.1.weight"][0] == 2 * EPOCH + 1
    found = lrs(run, "decay_from38")
    assert found == pytest.approx({s: 0.001 * linear(s) for s in range(38, TOTAL)}, abs=1e-12)
    assert watch.moved["backbone.2.weight"][0] == 2  # from the first comparison on: it trains norms from the start


def test_backbone_finetuning_is_driven_by_the_schedule(tmp_path):
    tune = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_ratio_lr=0.5)
    run, _ = train(tmp_path, BY_LIGHTNING[0], "warmup=none", "scheduler=linear", callbacks=[tune])
    for group in ("decay_from19", "no_decay_from19"):  # it sets the lr of the last one at each epoch
        assert lrs(run, group) == pytest.approx({s: 0.005 * linear(s) for s in range(19, TOTAL)}, abs=1e-12)


@pytest.mark.sample(4)
@pytest.mark.parametrize("cut", [30, 38, 45, 57])
@pytest.mark.parametrize(
    "ways", [BY_CONFIGURATION, BY_MODULE, BY_LIGHTNING], ids=["configuration", "module", "callback"]
)
def test_a_resumed_run_goes_on_with_what_was_unfrozen(tmp_path, ways, cut):
    straight, watch = train(tmp_path / "straight", *ways)
    cut_run, _ = train(tmp_path / "cut", *ways, press=cut)
    further = Backbone()
    assert run_here(cut_run, *overrides_of(cut_run), f"resume={cut_run}", callbacks=[further]) == 0
    one, other = saved(straight), saved(cut_run)
    assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
    names = [[group["name"] for group in run["optimizer_states"][0]["param_groups"]] for run in (one, other)]
    assert names[0] == names[1]
    assert {name: lrs(straight, name) for name in names[0]} == {name: lrs(cut_run, name) for name in names[0]}
    assert watch.moved["backbone.1.weight"][-1] == TOTAL


@pytest.mark.sample(3)
@pytest.mark.parametrize("optimizer", ["muon", "prodigy", "schedulefree_adamw", "sophia", "soap", "nesterov"])
def test_every_kind_of_optimizer_takes_groups_in(tmp_path, optimizer):
    settings = (f"optimizer={optimizer}", "trainer.max_epochs=3", "optimizer.groups.unfreeze={backbone.*: 1ep}")
    lr = "optimizer.lr=1.0" if optimizer == "prodigy" else "optimizer.lr=0.01"
    _, watch = train(tmp_path, BY_CONFIGURATION[0], *settings, lr)
    assert watch.moved["backbone.1.weight"][0] == EPOCH + (2 if optimizer == "soap" else 1)  # whose first step looks


def test_the_plateau_goes_on_with_them(tmp_path):
    settings = ("scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.9", "scheduler.factor=0.5")
    run, _ = train(tmp_path, *BY_CONFIGURATION, *settings, "warmup=none")
    with (run / "metrics.csv").open() as rows:
        whole = {int(row["step"]): float(row["lr"]) for row in csv.DictReader(rows) if row["lr"]}
    assert lrs(run, "decay_from38") == {s: whole[s] for s in lrs(run, "decay_from38")}


def test_the_table_says_until_when(tmp_path, caplog, capsys):
    caplog.set_level("INFO", "kasoku")
    train(tmp_path, *BY_CONFIGURATION, "trainer.max_epochs=1")
    assert "group frozen until 2ep  4 tensors" in caplog.text
    train(tmp_path / "drawn", *BY_CONFIGURATION, "mode=preview")
    assert "frozen until 2ep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ("optimizer.groups.unfreeze={bakbone.*: 2ep}",),
            r"unfreeze=bakbone.\*: matches no parameter; did you mean back",
        ),
        (("optimizer.groups.unfreeze={backbone.*: 2epp}",), r"unfreeze.backbone.\*=2epp: must be a length"),
        (("optimizer.groups.unfreeze={backbone.*: 5tokens}",), r"unfreeze.backbone.\*=5tokens: a length in tokens"),
        (("optimizer.groups.unfreeze=[backbone.*]",), r"unfreeze=\[backbone.\*\]: must be lengths by pattern"),
        (
            ("optimizer.groups.unfreeze={backbone.*: 2}", "optimizer.groups.frozen=[backbone.1.*]"),
            r"unfreeze=backbone.1.bias: is in optimizer.groups.frozen too",
        ),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, words):
    with pytest.raises(ConfigError, match=words):
        train(tmp_path, BY_CONFIGURATION[0], *settings)


def test_groups_that_a_resumed_command_makes_otherwise_are_refused(tmp_path):
    run, _ = train(tmp_path, BY_CONFIGURATION[0], press=30)
    with pytest.raises(ConfigError, match=r"resume=last.ckpt: groups the parameters otherwise"):
        run_here(run, *overrides_of(run), f"resume={run}", "optimizer.groups.no_decay=false")


def test_several_processes_are_refused():
    """torch's DDP would not average the gradients of what is unfrozen later."""

    class Trainer:
        world_size = 2

    module = Classifier()
    module.recipe = type("Recipe", (), {"groups": Groups(unfreeze={"backbone.*": 5})})()
    with pytest.raises(ConfigError, match=r"optimizer.groups.unfreeze=.*train on one device"):
        Freezing().setup(Trainer(), module, "fit")  # type: ignore[arg-type]


def test_the_callback_of_the_tests_is_lightnings():
    assert Finetune.unfreeze_and_add_param_group is pl.callbacks.BaseFinetuning.unfreeze_and_add_param_group
