"""Other people's LightningModules, driven unchanged but for their `_target_`."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from kasoku import schedules
from kasoku.config.directory import overrides_of
from kasoku.faults import ConfigError
from kasoku.training.wandb_run import WandbRun
from tests.conftest import SMALL, run_here
from tests.training import foreign

HERE = "tests.training.foreign"
PUBLIC = {
    "template": (
        f"+model._target_={HERE}.TemplateClassifier",
        f"model.net._target_={HERE}.DenseNet",
        "+model.optimizer={_target_:torch.optim.Adam,_partial_:true,lr:0.001}",
        "+model.scheduler={_target_:torch.optim.lr_scheduler.ReduceLROnPlateau,_partial_:true,mode:min}",
        "+model.compile=false",
    ),
    "autoencoder": (f"+model._target_={HERE}.AutoEncoder", "target.metric=val_loss", "target.mode=min"),
    "gan": (f"+model._target_={HERE}.GAN",),
}
ENDS = {"template": 0.8, "autoencoder": 0.75, "gan": None}  # test/acc at least, test_loss at most


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    monkeypatch.setenv("KASOKU_TRUST", "tests")


class SignalAt(Callback):
    """Stands in for the person who presses Ctrl-C after a batch."""

    def __init__(self, batch: int):
        self.batch = batch

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.processed == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


def train(directory: Path, *overrides: str, expect: int = 0, callbacks=()) -> Path:
    common = (*SMALL, "trainer.log_every_n_steps=1")
    assert run_here(directory, *common, *overrides, callbacks=callbacks) == expect
    return directory


def resumed(directory: Path, *new: str) -> Path:
    assert run_here(directory, *overrides_of(directory), *new, f"resume={directory}") == 0
    return directory


def saved(directory: Path, name: str = "last") -> dict:
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def result(directory: Path) -> dict:
    return json.loads((directory / "result.json").read_text())


def column(directory: Path, name: str, file: str = "metrics.csv") -> list[float]:
    with (directory / file).open() as rows:
        return [float(row[name]) for row in csv.DictReader(rows) if row.get(name)]


SHAPES = [(name, recipe) for name in PUBLIC for recipe in ("override", "own")]


def target(name: str, *further: str) -> tuple[str, ...]:
    return (f"+model._target_={HERE}.{name}", *further)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("name", "recipe"), SHAPES)
def test_public_shapes_train_test_and_go_on_bit_for_bit(tmp_path, name, recipe):
    settings = (*PUBLIC[name], f"model.recipe={recipe}", "trainer.max_epochs=4")
    straight = train(tmp_path / "straight", *settings)
    cut = resumed(train(tmp_path / "cut", *settings, expect=143, callbacks=[SignalAt(26)]))
    one, other = saved(straight)["state_dict"], saved(cut)["state_dict"]
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert column(straight, "lr") == column(cut, "lr")
    assert column(straight, "step") == column(cut, "step")
    ended = result(straight)
    assert ended["steps"] == 4 * 19 * (2 if name == "gan" else 1)
    if name == "gan":
        assert ended["best"] is None
    elif recipe == "override":
        reached = ended["metrics"]["test/acc" if name == "template" else "test_loss"]
        assert reached >= ENDS[name] if name == "template" else reached <= ENDS[name]


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", PUBLIC)
def test_the_recipe_is_that_of_the_command(tmp_path, name):
    run = train(tmp_path, *PUBLIC[name], "trainer.max_epochs=2", "optimizer.lr=0.01", "scheduler=cosine", "warmup=none")
    assert column(run, "lr") == pytest.approx([0.01 * schedules.cosine(step, 38) for step in range(38)], abs=1e-12)


def test_left_alone_a_module_keeps_its_own_lrs(tmp_path):
    steps = column(train(tmp_path / "a", *PUBLIC["autoencoder"], "trainer.max_epochs=3", "model.recipe=own"), "lr")
    assert steps == [0.001] * 19 + [0.0005] * 19 + [0.00025] * 19
    gan = train(tmp_path / "g", *PUBLIC["gan"], "trainer.max_epochs=1", "model.recipe=own")
    assert set(column(gan, "lr/generator")) == {0.0002}
    assert set(column(gan, "lr/discriminator")) == {0.0008}


@pytest.mark.proof
def test_previews_of_what_stands(tmp_path, capsys):
    own = train(tmp_path / "own", *PUBLIC["autoencoder"], "trainer.max_epochs=3", "model.recipe=own", "mode=preview")
    trained = train(tmp_path / "trained", *PUBLIC["autoencoder"], "trainer.max_epochs=3", "model.recipe=own")
    assert column(own, "lr", "schedule.csv") == column(trained, "lr")
    plateau = train(tmp_path / "plateau", *PUBLIC["template"], "model.recipe=own", "mode=preview")
    assert set(column(plateau, "lr", "schedule.csv")) == {0.001}
    assert "ReduceLROnPlateau cannot be drawn" in " ".join(capsys.readouterr().out.split())
    gan = train(tmp_path / "gan", *PUBLIC["gan"], "trainer.max_epochs=2", "mode=preview")
    assert column(gan, "lr", "schedule.csv") == column(
        train(tmp_path / "trained gan", *PUBLIC["gan"], "trainer.max_epochs=2"), "lr"
    )
    shown = capsys.readouterr().out
    assert "generator_decay" in shown
    assert "discriminator_no_decay" in shown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("model.recipe=own", "optimizer.lr=0.1"), r"optimizer.lr='0.1': has no effect: AutoEncoder configures"),
        (("model.recipe=own", "mode=preview", "scheduler=step"), r"scheduler=step: has no effect"),
        (("model.recipe=own", "mode=find_lr"), r"model=AutoEncoder: configures its optimizer itself.*recipe=override"),
    ],
)
def test_a_recipe_that_is_not_listened_to_is_refused(tmp_path, settings, words):
    with pytest.raises(ConfigError, match=words):
        train(tmp_path, *PUBLIC["autoencoder"], *settings)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("trainer.gradient_clip_val=1.0",), "trainer.gradient_clip_val=1.0: is left to the module"),
        (("trainer.accumulate_grad_batches=2",), "trainer.accumulate_grad_batches=2: is left to the module"),
        (("mode=find_lr",), "model=GAN: optimizes by hand"),
        (("optimizer=sophia",), "optimizer=Sophia: takes its curvature from the one loss"),
        (("trainer.max_steps=50", "trainer.max_epochs=3"), "trainer.max_steps=50: counts the steps of all optimizers"),
        (("trainer.max_steps=50", "warmup.length=1ep"), "warmup.length=1ep: a length in epochs needs"),
    ],
)
def test_what_does_not_go_with_manual_optimization_is_refused(tmp_path, settings, words):
    with pytest.raises(ConfigError, match=words):
        train(tmp_path, *PUBLIC["gan"], *settings)


def test_with_max_steps_the_schedule_of_a_gan_ends_with_the_run(tmp_path):
    """Each batch takes two steps, one of each optimizer."""
    run = train(tmp_path, *PUBLIC["gan"], "trainer.max_steps=30", "warmup=none", "optimizer.lr=0.003")
    assert result(run)["steps"] == 30
    assert column(run, "lr") == pytest.approx([0.003 * (1 - step / 30) for step in range(0, 30, 2)])


def test_a_schedule_that_the_module_steps_itself_is_the_recipes(tmp_path):
    """`lr_schedulers()` hands out as many as the module made, and its step() moves nothing."""
    run = train(tmp_path, *target("SteppingGAN"), "trainer.max_epochs=2", "warmup=none", "optimizer.lr=0.003")
    assert column(run, "lr") == pytest.approx([0.003 * (1 - step / 38) for step in range(38)])
    assert not column(run, "lr/discriminator_decay")  # a column of its own were another lr


def test_averages_of_a_gan_count_batches(tmp_path):
    run = train(tmp_path, *PUBLIC["gan"], "trainer.max_epochs=3", "callbacks=lawa")
    assert int(saved(run)["averaging_state"]["n_averaged"]) == 3


def test_rules_give_each_optimizer_its_own_lr(tmp_path):
    rules = "optimizer.groups.rules=[{match: 'discriminator.*', lr: 4}]"
    run = train(tmp_path, *PUBLIC["gan"], "trainer.max_epochs=1", rules)
    pairs = zip(column(run, "lr/generator_decay"), column(run, "lr/discriminator_decay_lr4"), strict=True)
    assert all(other == pytest.approx(4 * one) for one, other in pairs)


def test_a_module_without_configure_optimizers_is_trained(tmp_path):
    assert result(train(tmp_path, *target("Unconfigured"), "trainer.max_epochs=4"))["best"]["value"] > 0.7


def test_the_parameters_that_a_module_trains_are_its_own_choice(tmp_path, caplog):
    caplog.set_level("INFO", "kasoku")
    run = train(tmp_path, *target("HeadOnly"), "trainer.max_epochs=1")
    torch.manual_seed(0)
    weights = saved(run)["state_dict"]
    groups = saved(run)["optimizer_states"][0]["param_groups"]
    assert sum(len(group["params"]) for group in groups) == 2
    assert "SGD CosineAnnealingLR of HeadOnly set aside" in caplog.text
    assert "group untrained  4 tensors" in caplog.text
    assert weights["backbone.2.weight"].unique().tolist() == [1.0]  # a norm's weight, as it began


def test_a_module_whose_own_optimizer_lacks_its_arguments_is_trained_whole(tmp_path, caplog):
    caplog.set_level("INFO", "kasoku")
    settings = [s for s in PUBLIC["template"] if not s.startswith(("+model.optimizer", "+model.scheduler"))]
    train(tmp_path, *settings, "+model.optimizer=null", "+model.scheduler=null", "trainer.max_epochs=1")
    assert "TemplateClassifier.configure_optimizers fails (TypeError" in caplog.text


def test_a_step_for_the_schedule_that_is_set_aside_moves_nothing(tmp_path):
    run = train(tmp_path, *target("OwnStep"), "trainer.max_epochs=2", "warmup=none", "optimizer.lr=0.1")
    assert column(run, "lr") == pytest.approx([0.1 * (1 - step / 38) for step in range(38)])


def test_hyperparameters_that_are_no_plain_types_are_named_and_left_out(tmp_path, caplog):
    caplog.set_level("INFO", "kasoku")
    run = train(tmp_path, *PUBLIC["template"], "trainer.max_epochs=1")
    assert saved(run)["hyper_parameters"] == {"compile": False}
    assert "hyperparameters of TemplateClassifier: net optimizer scheduler are no plain types" in caplog.text
    again = train(tmp_path / "again", *PUBLIC["template"], "mode=test", f"checkpoint={run}/checkpoints/best.ckpt")
    expected = {name: v for name, v in result(run)["metrics"].items() if name.startswith("test/")}
    assert result(again)["metrics"] == expected


def records(directory: Path) -> list[dict]:
    """What `wandb leet inspect` finds in the files of an offline run."""
    tool = str(Path(sys.executable).with_name("wandb"))
    file = next(directory.glob("wandb/offline-run-*/*.wandb"))
    done = subprocess.run([tool, "leet", "inspect", "--json", str(file)], capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "hparams", "logged"),
    [
        ("template", {}, []),
        ("autoencoder", {"hidden_dim": 16}, ["reconstruction"]),
        ("gan", {"b1": 0.5}, ["generated"]),
    ],
)
def test_with_wandb_nothing_that_is_logged_early_is_lost(tmp_path, monkeypatch, name, hparams, logged):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tmp_path, *PUBLIC[name], "logger=wandb", "trainer.max_epochs=1")
    found = records(tmp_path)
    updates = [record["config"]["update"] for record in found if record["type"] == "config"]
    assert all(any(update.get(key) == value for update in updates) for key, value in hparams.items())
    rows = [record["history"]["item"] for record in found if record["type"] == "history"]
    assert all(any(key in row for row in rows) for key in logged)
    run = next(record["run"] for record in found if record["type"] == "run")
    assert run["config"]["update"]["optimizer"]["lr"] == 0.003
    assert result(tmp_path)["status"] == "completed"


def test_hyperparameters_do_not_write_over_the_runs_own_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbRun(tmp_path, {"optimizer": {"lr": 0.1}})
    logger.log_hyperparams({"optimizer": torch.optim.SGD, "width": 3, "net": torch.nn.Linear(1, 1)})
    logger.begin()
    assert logger.experiment.config["optimizer"] == {"lr": 0.1}
    assert logger.experiment.config["hparams"] == {"optimizer": "SGD"}
    assert (logger.experiment.config["width"], logger.experiment.config["net"]) == (3, "Linear")
    logger.finish(0, {})


def test_sizes_that_the_first_batch_decides(tmp_path):
    run = train(tmp_path, *target("Lazy"), "trainer.max_epochs=2", "callbacks=ema", "optimizer.lr=0.01")
    assert saved(run)["state_dict"]["backbone.1.weight"].shape == (16, 64)
    assert result(run)["best"]["value"] > 0.5
    straight = train(tmp_path / "again", *target("Lazy"), "trainer.max_epochs=2", "callbacks=ema", "optimizer.lr=0.01")
    one, other = saved(run)["state_dict"], saved(straight)["state_dict"]
    assert all(torch.equal(one[key], other[key]) for key in one)
    tested = train(tmp_path / "test", *target("Lazy"), "mode=test", f"checkpoint={run}/checkpoints/best.ckpt")
    assert (tested / "result.json").exists()


def test_a_module_used_without_the_command_says_what_it_lacks():
    import pytorch_lightning as pl

    import kasoku

    class Mine(foreign.Classifier):
        configure_optimizers = kasoku.configure_optimizers

    data = torch.utils.data.TensorDataset(torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(ConfigError, match=r"model=.*Mine: has no recipe.*module.recipe = kasoku.Recipe\("):
        trainer.fit(Mine(), torch.utils.data.DataLoader(data, 4))


@pytest.mark.sample(2)
@pytest.mark.parametrize("choice", ["callbacks=ema", "callbacks=swa", "callbacks=lawa", "optimizer.lr=auto"])
def test_computed_weights_are_copied(tmp_path, choice):
    """The older weight_norm keeps a tensor with a graph, which copy.deepcopy refuses."""
    settings = ("trainer.max_epochs=2", "optimizer.find_lr.steps=25", "scheduler=constant")
    run = train(tmp_path / "run", *target("Normed"), choice, *settings)
    assert result(run)["best"]["value"] > 0.3
    tested = train(tmp_path / "test", *target("Normed"), "mode=test", f"checkpoint={run}/checkpoints/last.ckpt")
    assert result(tested)["status"] == "completed"


def test_what_cannot_be_copied_is_named(tmp_path):
    """A lock, as a module with a queue or a file of its own holds."""
    with pytest.raises(ConfigError, match=r"model=Locked: cannot be copied, which callbacks=ema needs: .*do without"):
        train(tmp_path, f"+model._target_={__name__}.Locked", "callbacks=ema")


class Locked(foreign.Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def kinds_of(directory: Path) -> dict[str, int]:
    groups = saved(directory)["optimizer_states"][0]["param_groups"]
    return {group["name"]: len(group["params"]) for group in groups}


@pytest.mark.proof
def test_muon_finds_the_head_by_the_data(tmp_path, caplog, capsys):
    caplog.set_level("INFO", "kasoku")
    run = train(tmp_path / "run", *target("HeadFirst"), "optimizer=muon", "trainer.max_epochs=1")
    assert kinds_of(run) == {"muon_decay": 1, "adamw_decay_lr2.5": 1, "adamw_no_decay": 2}
    assert "group muon_decay  1 tensors  1,024 parameters" in caplog.text
    assert "head head, last in the flow of data" in caplog.text
    train(tmp_path / "drawn", *target("HeadFirst"), "optimizer=muon", "mode=preview", "optimizer.groups.head=body.1.*")
    shown = capsys.readouterr().out
    assert "head body.1, by optimizer.groups.head" in shown
    assert "160" in shown.partition("adamw_decay")[0]  # now Muon's is the matrix of the layer called head


def test_a_head_that_the_pattern_misses_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"optimizer.groups.head=classifier.\*: matches no parameter"):
        train(tmp_path, *target("HeadFirst"), "optimizer=muon", "optimizer.groups.head=classifier.*")


@pytest.mark.parametrize(("setting", "clipped"), [((), "body"), (("optimizer.groups.head=body.1.*",), "head")])
def test_adaptive_clipping_leaves_out_the_same_head(tmp_path, caplog, setting, clipped):
    caplog.set_level("INFO", "kasoku")
    train(tmp_path, *target("HeadFirst"), "callbacks=agc", "trainer.max_epochs=1", *setting)
    left = "head" if clipped == "body" else "body.1"
    assert f"agc leaves out: head {left}, " in caplog.text


class Noting(Callback):
    """The module after the last batch."""

    def on_train_end(self, trainer, module) -> None:
        self.module = module


def test_a_look_at_a_training_step_leaves_no_trace(tmp_path, caplog):
    """`forward` does not reach the head, so that the step of a copy is looked at."""
    caplog.set_level("INFO", "kasoku")
    one, other = Noting(), Noting()
    settings = (*target("Counting"), "trainer.max_epochs=1", "optimizer=muon")
    train(tmp_path / "looked", *settings, callbacks=[one])
    assert "head head, last in the flow of data" in caplog.text
    train(tmp_path / "told", *settings, "optimizer.groups.head=head.*", callbacks=[other])
    assert one.module.calls == other.module.calls == len(one.module.outputs) == 19
    pairs = zip(one.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert column(tmp_path / "looked", "kept") == column(tmp_path / "told", "kept")


def test_an_error_of_the_configuration_after_the_start_leaves_a_result(tmp_path):
    with pytest.raises(ConfigError, match=r"data.root=photos: holds a broken image"):
        train(tmp_path, *target("Failing"), "trainer.max_epochs=3")
    assert (result(tmp_path)["status"], result(tmp_path)["steps"]) == ("failed", 19)


def test_a_plain_net_in_the_place_of_a_module_is_told_where_it_belongs(tmp_path):
    with pytest.raises(
        ConfigError, match=rf"{HERE}.DenseNet: is no LightningModule; for a plain net: model.net._target"
    ):
        train(tmp_path, f"+model._target_={HERE}.DenseNet")


class Odd(foreign.Classifier):
    """Puts into its checkpoints what no checkpoint may hold, and what can be made plain."""

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["vocabulary"] = object()
        checkpoint["mean"] = np.float64(0.5)
        checkpoint["table"] = np.arange(3)


def test_what_a_checkpoint_cannot_hold_is_said_once(tmp_path, caplog):
    run = train(tmp_path, f"+model._target_={__name__}.Odd", "trainer.max_epochs=2")
    assert saved(run)["mean"] == 0.5
    assert saved(run)["table"].tolist() == [0, 1, 2]
    assert [line for line in caplog.messages if "vocabulary" in line] == [
        "checkpoints: vocabulary hold objects that are no plain types, and are left out"
    ]
    assert resumed(run, "trainer.max_epochs=3")
