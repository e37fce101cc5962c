"""Twelve shapes of task and their kin, each trained by the command's own way to a value known beforehand."""

import math
from pathlib import Path

import pytest
from pytorch_lightning.loggers.logger import DummyLogger

from kasoku.command.build import build
from kasoku.config import trust
from kasoku.faults import ConfigError
from kasoku.training.session import fit
from tests.conftest import CONF, composed, read_result, run_here

WORLDS = "tests.training.worlds"


def epochs(count: int) -> list[str]:
    return [f"trainer.max_epochs={count}", f"trainer.check_val_every_n_epoch={count}"]


FAST = (
    "trainer=cpu",
    "logger=none",
    "optimizer=adam",
    "optimizer.lr=0.1",
    "warmup=none",
    *epochs(40),
)
LINEAR = "model.net.depth=0"
EXACT = 2e-3  # of a loss whose least value is 0


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setenv("KASOKU_TRUST", WORLDS)


def world(name: str, **facts: int) -> list[str]:
    of_facts = [f"+data.facts.{key}={value}" for key, value in facts.items()]
    return [f"data._target_={WORLDS}.World", f"+data.make={name}", *of_facts]


def net(name: str) -> str:
    return f"model.net._target_={WORLDS}.{name}"


def trained(directory: Path, *overrides: str) -> dict[str, float]:
    assert run_here(directory, *FAST, *overrides) == 0
    return read_result(directory)["metrics"]


def refusal(directory: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        run_here(directory, *FAST, *overrides)
    assert not (directory / "result.json").exists()
    return str(error.value)


LINES = [
    pytest.param(["model=mlp", LINEAR, *world("line")], id="[B,1] of an mlp with [B]"),
    pytest.param(["model=mlp", net("Flat"), *world("line")], id="[B] with [B]"),
    pytest.param(["model=mlp", net("Flat"), *world("column")], id="[B] with [B,1]"),
    pytest.param(["model=mlp", LINEAR, *world("column")], id="[B,1] with [B,1]"),
    pytest.param(["model=mlp", LINEAR, *world("double")], id="targets in float64"),
    pytest.param(["model=mlp", LINEAR, *world("lines", num_outputs=3)], id="three targets"),
    pytest.param([net("Two"), *world("pair")], id="((a, b), y)"),
    pytest.param([net("OneTuple"), *world("pair")], id="((a, b), y) of a net that takes the tuple"),
    pytest.param([net("Two"), *world("three")], id="(a, b, y)"),
    pytest.param([net("Two"), *world("by_name")], id="({b, a}, y)"),
    pytest.param([net("Two"), *world("entries"), "batch.y=value"], id="a dict, by the names of forward"),
    pytest.param([net("Two"), *world("entries"), "batch.y=value", "batch.x=[left,right]"], id="a dict, names given"),
    pytest.param(
        [net("Two"), *world("entries"), "batch.y=value", "batch.x={right:right,left:left}"], id="a dict, renamed"
    ),
    pytest.param([net("Heads"), *world("line"), "batch.output=out"], id="a dict of outputs"),
    pytest.param(
        ["model=mlp", LINEAR, "model.loss._target_=torch.nn.functional.mse_loss", *world("line")], id="function"
    ),
    pytest.param(["model=mlp", LINEAR, f"model.loss._target_={WORLDS}.half_square", *world("line")], id="own function"),
    pytest.param(["model=mlp", LINEAR, f"model.loss._target_={WORLDS}.make_loss", *world("line")], id="a factory"),
]


@pytest.mark.sample(9)
@pytest.mark.parametrize("overrides", LINES)
def test_a_line_is_found(tmp_path, overrides):
    """With outputs and targets crossed, as by broadcasting, the loss would stay at the variance of y, about 1.2."""
    metrics = trained(tmp_path, "task=regression", *overrides)
    assert metrics["val/loss"] < EXACT
    assert metrics["val/r2"] == pytest.approx(1, abs=EXACT)
    assert metrics["val/mae"] < 0.05
    best = read_result(tmp_path)["best"]
    assert best["metric"] == "val/mae"
    assert best["value"] == metrics["val/mae"]


CLASSES = [
    pytest.param(["model=mlp", LINEAR, *world("classes", num_classes=3)], "acc", id="classification"),
    pytest.param(["model=mlp", LINEAR, *world("class_column", num_classes=3)], "acc", id="classes in a column"),
    pytest.param(["model=mlp", LINEAR, *world("shares", num_classes=3)], "acc", id="shares of classes"),
    pytest.param([net("Linear"), *world("steps", num_classes=2)], "acc", id="sequences [B,T,C] with [B,T]"),
    pytest.param(
        [net("Linear"), *world("steps", num_classes=2), "task=language_modelling"], "acc", id="the same as a language"
    ),
    pytest.param(
        ["model=mlp", net("Linear"), *world("pixel_values", num_classes=3), "batch.x=pixel_values", "batch.y=labels"],
        "acc",
        id="a dict",
    ),
    pytest.param(
        [net("Linear"), *world("pixel_values", num_classes=3), "batch.y=labels"], "acc", id="one entry is left"
    ),
    pytest.param([net("OwnLoss"), *world("pixel_values", num_classes=3), "batch.y=labels"], "acc", id="own loss"),
    pytest.param(["task=binary", "model=mlp", LINEAR, *world("signs")], "acc", id="binary [B,1] with [B]"),
    pytest.param(["task=binary", "model=mlp", LINEAR, *world("sign_column")], "acc", id="binary [B,1] with [B,1]"),
    pytest.param(["task=binary", net("Flat"), *world("signs")], "acc", id="binary [B] with [B]"),
    pytest.param(["task=binary", net("Flat"), *world("sign_column")], "f1", id="binary [B] with [B,1]"),
    pytest.param(["task=multilabel", "model=mlp", LINEAR, *world("labels", num_outputs=3)], "f1", id="multi-label"),
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("overrides", "metric"), CLASSES)
def test_what_can_be_told_apart_is(tmp_path, overrides, metric):
    metrics = trained(tmp_path, *overrides, "optimizer.weight_decay=0")
    assert metrics[f"val/{metric}"] > 0.97
    assert metrics["val/loss"] < 0.2


def test_pixels_are_told_apart(tmp_path):
    facts = {"num_classes": 3, "input_shape": "[1,8,8]"}
    metrics = trained(tmp_path, "model=fcn", *world("maps", **facts), "optimizer.lr=0.03", *epochs(10))
    assert metrics["val/iou"] > 0.95
    assert read_result(tmp_path)["best"]["metric"] == "val/iou"


WEIGHTED = [
    ["+model.loss.weight=[1,3]"],
    ["model.loss._target_=torch.nn.functional.cross_entropy", "+model.loss.weight=[1,3]"],
    [f"model.loss._target_={WORLDS}.Weighted", "+model.loss.weights=[1,3]"],
]


@pytest.mark.parametrize("weights", WEIGHTED, ids=["module", "function", "own"])
def test_classes_weigh_what_they_are_given(tmp_path, weights):
    """Three quarters of class 0 with weight 1, a quarter of class 1 with weight 3: both are as probable, ln 2."""
    metrics = trained(tmp_path, net("Linear"), *world("rare", num_classes=2), *weights)
    assert metrics["val/loss"] == pytest.approx(math.log(2), abs=1e-3)


def test_the_weight_of_ones_is_taken(tmp_path):
    metrics = trained(tmp_path, "task=binary", net("Flat"), *world("rare"), "+model.loss.pos_weight=[3]")
    assert metrics["val/loss"] == pytest.approx(1.5 * math.log(2), abs=1e-3)  # (3/4 + 3/4) ln 2


def test_a_net_that_only_returns_its_loss(tmp_path):
    metrics = trained(tmp_path, "task=custom", net("Reconstruction"), *world("alone"))
    assert metrics["val/loss"] < EXACT
    assert read_result(tmp_path)["best"]["metric"] == "val/loss"


def test_an_autoencoder_has_its_input_for_a_target(tmp_path):
    here = ["task=regression", net("Linear"), *world("alone", num_outputs=4), "batch.x=0", "batch.y=0"]
    assert trained(tmp_path, *here)["val/loss"] < EXACT


REFUSED = [
    (
        ["model=mlp", *world("lines", num_outputs=2)],
        ["[64, 2]", "[64, 3]", "model.net.num_classes=3"],
    ),
    ([net("Flat"), *world("lines")], ["task=regression", "[64]", "[64, 3]"]),
    (["task=classification", "model=mlp", *world("line", num_classes=3)], ["float32 [64, 3]", "float32 [64]"]),
    (["task=classification", net("Flat"), *world("signs")], ["[64]", "task=binary"]),
    (
        ["task=classification", "model=mlp", *world("labels", num_classes=3)],
        ["int64 [64, 3]", "under task=binary, multilabel"],
    ),
    (["task=binary", net("Linear"), "+model.net.num_outputs=2", *world("signs")], ["[64, 2]", "[64]"]),
    (["task=multilabel", net("Linear"), *world("labels", num_outputs=4)], ["[64, 4]", "[64, 3]"]),
    (["task=multilabel", net("Flat"), *world("signs", num_outputs=2)], ["[64]", "task=binary"]),
    (["task=segmentation", "model=mlp", *world("classes", num_classes=3)], ["[64, 3]", "[64]", "task=classification"]),
    (["task=language_modelling", "model=mlp", *world("classes", num_classes=3)], ["[64, 3]", "[64]"]),
    (["task=binary", "model=mlp", *world("line")], ["targets must be 0 or 1"]),
    (["task=classification", "model=mlp", *world("classes", num_classes=2)], ["0 to 1 for 2 outputs", "0 to 2"]),
    ([net("Two"), *world("line")], ["batch.x", "Two takes left right"]),
    (["model=mlp", *world("three")], ["batch.x", "3 entries"]),
    ([net("Flat"), *world("entries")], ["batch.x", "identifier"]),
    ([net("Two"), *world("entries")], ["batch.y", "batch.y=NAME"]),
    ([net("Two"), *world("entries"), "batch.y=valeu"], ["batch.y=valeu", "did you mean value?"]),
    ([net("Two"), *world("entries"), "batch.y=value", "batch.x=[left,rihgt]"], ["did you mean right?"]),
    (["model=mlp", *world("line"), "batch.y=1"], ["batch.y=1", "batch.x=0"]),
    ([net("Heads"), *world("line")], ["batch.output", "out aux"]),
    (["model=mlp", "task=custom", *world("line", num_outputs=1)], ["model.loss", "no dict"]),
    (["model=mlp", *world("line"), "+model.loss.reduction=none"], ["model.loss=MSELoss", "[64]", "reduction"]),
    (["task=classification", net("Linear"), *world("rare", num_classes=2), "+model.loss.weight=[1,2,3]"], ["weight"]),
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("overrides", "words"), REFUSED)
def test_what_does_not_pair_is_refused_before_the_first_step(tmp_path, overrides, words):
    said = refusal(tmp_path, "task=regression", *overrides)
    assert all(word in said for word in words), said


@pytest.mark.parametrize("turned_off", ["trainer.num_sanity_val_steps=0", "trainer.limit_val_batches=0"])
@pytest.mark.parametrize(("overrides", "words"), REFUSED[::7])
def test_and_where_nothing_is_validated_before_it(tmp_path, overrides, words, turned_off):
    said = refusal(tmp_path, "task=regression", *overrides, turned_off)
    assert all(word in said for word in words), said


@pytest.mark.parametrize("loss", ["torch.nn.MSELoss", f"{WORLDS}.whatever"])
def test_no_loss_broadcasts_where_no_task_pairs(tmp_path, loss):
    """[B, 1] beside [B], which the task custom hands on as they are."""
    of_loss = f"model.loss._target_={loss}"
    said = refusal(tmp_path, "task=custom", "model=mlp", *world("line", num_outputs=1), of_loss)
    assert "float32 [64, 1]" in said
    assert "float32 [64]" in said


class Beginning(DummyLogger):
    """A logger that leaves something once it is told that the run begins."""

    begun = False

    def begin(self):
        self.begun = True


def test_a_refused_run_leaves_its_loggers_alone(tmp_path):
    """Where nothing is validated before the first step, a training batch is looked at before they are told."""
    overrides = ["task=regression", "model=mlp", *world("lines", num_outputs=2), "trainer.num_sanity_val_steps=0"]
    run = build(composed(*FAST, *overrides), tmp_path, [*trust.trusted(CONF)], [*FAST, *overrides])
    run.loggers = [Beginning()]
    with pytest.raises(ConfigError):
        fit(run)
    assert not run.loggers[0].begun


def test_looking_ahead_changes_no_number(tmp_path):
    """Neither the random numbers of the order and the dropout nor the statistics of batch norm."""
    here = ["task=regression", net("Normed"), *world("three"), *epochs(2)]
    looked = trained(tmp_path / "0", *here, "trainer.num_sanity_val_steps=0")
    assert looked == trained(tmp_path / "1", *here, "trainer.num_sanity_val_steps=1")


def test_a_stream_is_looked_at_with_its_first_step(tmp_path):
    here = [f"data._target_={WORLDS}.Stream", "model=mlp", "trainer.max_steps=3"]
    said = refusal(tmp_path, "task=classification", net("Linear"), *here, "+model.net.num_outputs=2")
    assert "float32 [64, 2]" in said
    assert "float32 [64, 1]" in said


def test_a_fault_that_only_the_test_shows_loses_no_training(tmp_path):
    with pytest.raises(ConfigError, match=r"task=regression: pairs"):
        run_here(tmp_path, *FAST, "task=regression", "model=mlp", *world("line"), "+data.test=lines", *epochs(1))
    assert read_result(tmp_path)["steps"] == 4


AVERAGES = [
    ["callbacks=ema", "callbacks.ema.decay=0.5"],
    ["callbacks=swa"],
    ["optimizer=schedulefree_sgd", "warmup=none"],
]


@pytest.mark.parametrize("average", AVERAGES, ids=lambda words: words[0])
def test_batch_norm_is_taken_anew_with_inputs_by_name(tmp_path, average):
    """The statistics of an average of the weights come from training batches, called as the net is called."""
    here = ["task=regression", net("Normed"), *world("entries"), "batch.y=value", *average]
    assert trained(tmp_path, *here)["val/loss"] < 0.1


def test_an_lr_is_found_with_inputs_by_name(tmp_path):
    here = ["task=regression", net("Two"), *world("entries"), "batch.y=value", "mode=find_lr"]
    assert run_here(tmp_path, *FAST, *here) == 0
    assert (tmp_path / "lr_finder.png").exists()


def test_an_error_in_the_users_own_loss_keeps_its_traceback(tmp_path):
    with pytest.raises(KeyError, match="gone"):
        run_here(
            tmp_path, *FAST, "task=regression", "model=mlp", *world("line"), f"model.loss._target_={WORLDS}.own_fault"
        )


def test_the_evaluated_loss_is_that_of_all_samples_at_once(tmp_path):
    """However they are cut into batches, with weights of classes and ignored targets."""
    settings = [net("Linear"), *world("rare", num_classes=2), *epochs(1), "+model.loss.weight=[1,5]"]
    found = {
        size: trained(tmp_path / f"{size}", *settings, "optimizer=sgd", "optimizer.lr=1e-9", f"data.batch_size={size}")
        for size in (256, 50)
    }
    assert found[50]["val/loss"] == pytest.approx(found[256]["val/loss"], rel=1e-6)
