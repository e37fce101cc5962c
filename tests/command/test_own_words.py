"""Classes and functions of one's own in the place of the project's, named on the command line alone."""

from pathlib import Path

import pytest
import yaml

from kasoku.config.replaced import adding, given
from tests.command.conftest import Kasoku


def config(directory: Path) -> dict:
    return yaml.safe_load((directory / "config.yaml").read_text())


def test_the_keys_of_a_new_net_are_those_of_its_own_signature(kasoku: Kasoku):
    done = kasoku("model.net._target_=mine.Net", "model.net.hidden=5")
    assert done.code == 0, done.err
    assert done.result["parameters"] == (64 + 1) * 5 + (5 + 1) * 10
    assert config(done.directory)["model"]["net"] == {
        "_target_": "mine.Net",
        "hidden": 5,
        "input_shape": None,
        "num_classes": None,
    }


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["model.net._target_=mine.Net", "model.net.hiden=5"],
            "model.net.hiden=5: no such key, the keys are: hidden num_classes; did you mean hidden?",
        ),
        (
            ["+model.net._target_=mine.Net", "+model.net.depth=5"],
            "model.net.depth=5: no such key, the keys are: hidden",
        ),
        (["optimizer._target_=mine.Opt", "optimizer.betas=[0,1]"], "optimizer.betas=[0,1]: no such key"),
        (["optimizer._target_=mine.OptWithoutLr"], "optimizer.lr: must be given"),
        (["optimizer._target_=torch.optim.RMSprop"], "optimizer.lr: must be given"),
        (["optimizer._target_=torch.optim.RMSprp"], "did you mean RMSprop?"),
        (["scheduler._target_=mine.decay", "scheduler.pow=3"], "did you mean power?"),
        (["model.loss._target_=mine.twice", "model.loss.gamma=3"], "model.loss.gamma=3: no such key"),
        (["model.loss._target_=mine.lone"], "add _partial_: true"),
        (["scheduler._target_=torch.optim.lr_scheduler.StepLR"], "StepLR: is a class, and a schedule is a function"),
        (["model.net._target_=json.tool.main"], "export KASOKU_TRUST=json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_the_new_one_is_refused_by_its_key(kasoku: Kasoku, words, line):
    done = kasoku(*words)
    assert done.code == 2
    assert line in done.err
    assert len(done.err.splitlines()) == 2
    assert not done.directory.exists()


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "words",
    [
        ["model.net={_target_:mine.Net,hidden:5}"],
        ["optimizer._target_=mine.Opt", "optimizer.nu=0.1"],
        ["optimizer={_target_:mine.Opt,nu:0.1}"],
        ["scheduler._target_=mine.decay", "scheduler.power=3"],
        ["scheduler=onecycle", "scheduler._target_=mine.decay"],
        ["scheduler=step", "scheduler._target_=kasoku.schedules.cosine"],
        ["model.metrics.acc._target_=torchmetrics.classification.MulticlassF1Score"],
        ["model.metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:10}"],
        ["callbacks.es._target_=pytorch_lightning.callbacks.EarlyStopping", "callbacks.es.monitor=val/acc"],
        ["model._target_=mine.Lit", "model.width=4", "target.metric=val_loss", "target.mode=min"],
    ],
    ids=" ".join,
)
def test_other_nodes_are_replaced_alike(kasoku: Kasoku, words):
    done = kasoku(*words, "trainer.max_steps=2", "trainer.limit_val_batches=1")
    assert done.code == 0, done.err


def test_a_function_is_a_loss_as_it_stands(kasoku: Kasoku):
    """Twice the loss at half of the lr is the same training."""
    usual = kasoku("optimizer=sgd", "optimizer.lr=0.2", name="usual").result["metrics"]
    torchs = kasoku("optimizer=sgd", "optimizer.lr=0.2", "model.loss._target_=torch.nn.functional.cross_entropy")
    twice = ("model.loss._target_=mine.twice", "model.loss.factor=2")
    doubled = kasoku("optimizer=sgd", "optimizer.lr=0.1", *twice, name="doubled").result["metrics"]
    assert torchs.result["metrics"] == usual
    assert doubled["val/acc"] == usual["val/acc"]
    assert doubled["val/loss"] == pytest.approx(2 * usual["val/loss"], rel=1e-5)


def test_an_optimizer_of_ones_own_is_one_file_with_what_it_needs(kasoku: Kasoku, tmp_path):
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text("_target_: mine.Opt\nnu: 0.7\n")
    done = kasoku("--config-dir=conf", "optimizer=mine", "optimizer.groups.no_decay=false")
    assert done.code == 0, done.err
    node = config(done.directory)["optimizer"]
    assert node["nu"] == 0.7
    assert node["groups"]["no_decay"] is False
    assert "lr 0.3 " in done.out  # of its signature


EXPERIMENT = """# @package _global_
defaults:
  - override /optimizer: adamw
model:
  net: {_target_: mine.Net, hidden: 5}
  metrics:
    acc: {_target_: torchmetrics.classification.MulticlassF1Score}
optimizer: {_target_: mine.Opt, nu: 0.4}
"""


def experiment(folder: Path, text: str) -> None:
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "own.yaml").write_text(text)


@pytest.mark.sample(2)
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=1,2", "hydra.sweep.dir=sweep")], ids=["run", "sweep"])
def test_a_class_that_a_file_replaces_leaves_no_key_behind(kasoku: Kasoku, tmp_path, sweep):
    experiment(tmp_path, EXPERIMENT)
    done = kasoku("--config-dir=conf", "experiment=own", *sweep)
    assert done.code == 0, done.err
    cfg = config(Path("sweep/0") if sweep else done.directory)
    assert cfg["model"]["net"] == {"_target_": "mine.Net", "hidden": 5, "input_shape": None, "num_classes": None}
    assert cfg["model"]["metrics"]["acc"] == {
        "_target_": "torchmetrics.classification.MulticlassF1Score",
        "num_classes": None,
    }
    assert cfg["model"]["loss"]["label_smoothing"] == 0.0
    assert cfg["optimizer"]["nu"] == 0.4
    assert not {"lr", "betas", "weight_decay"} & cfg["optimizer"].keys()
    assert cfg["optimizer"]["groups"]


def test_a_file_inherits_from_the_one_that_it_names(kasoku: Kasoku, tmp_path):
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "heir.yaml").write_text("defaults: [momentum, _self_]\n_target_: mine.Heir\n")
    with (tmp_path / "mine.py").open("a") as mine:
        mine.write("\n\nclass Heir(torch.optim.SGD):\n    pass\n")
    done = kasoku("--config-dir=conf", "optimizer=heir")
    assert done.code == 0, done.err
    assert config(done.directory)["optimizer"]["momentum"] == 0.9


def test_a_group_misspelt_in_a_files_defaults_is_named_with_the_file(kasoku: Kasoku, tmp_path):
    experiment(tmp_path, "# @package _global_\ndefaults:\n  - override /optimiser: adamw\n")
    done = kasoku("--config-dir=conf", "experiment=own")
    assert done.code == 2
    assert "experiment/own.yaml: its defaults list overrides optimiser" in done.err
    assert "did you mean optimizer?" in done.err


@pytest.mark.proof
def test_a_sweep_varies_keys_of_ones_own(kasoku: Kasoku):
    done = kasoku(
        "-m", "model.net._target_=mine.Net", "model.net.hidden=4,5", "trainer.max_steps=2", "hydra.sweep.dir=sweep"
    )
    assert done.code == 0, done.err
    sizes = {yaml.safe_load(path.read_text())["parameters"] for path in Path("sweep").glob("*/result.json")}
    assert sizes == {(64 + 1) * n + (n + 1) * 10 for n in (4, 5)}


def test_a_run_with_them_is_gone_on_with(kasoku: Kasoku):
    """In the second command the keys are those of the new classes too."""
    words = ("model.net._target_=mine.Net", "model.net.hidden=5", "optimizer._target_=mine.Opt", "optimizer.nu=0.1")
    assert kasoku(*words).code == 0
    done = kasoku("resume=run", "trainer.max_epochs=2", "optimizer.nu=0.2", small=())
    assert done.code == 0, done.err
    assert "optimizer.nu: 0.1 -> 0.2" in done.out
    assert done.result["steps"] == 38
    assert "parameters" in done.result


def test_without_trust_the_present_folder_is_not_in_the_path(kasoku: Kasoku, monkeypatch):
    monkeypatch.delenv("KASOKU_TRUST")
    done = kasoku("model.net._target_=mine.Net")
    assert done.code == 2
    assert "is not trusted" in done.err


def test_only_what_lies_inside_a_replaced_node_is_added():
    argv = [
        "-m",
        "--dir=a.b",
        "model.net._target_=x.Y",
        "model.net.a=1",
        "+model.net.b=2",
        "~model.net.c",
        "seed=1",
    ]
    assert adding(argv) == [
        "-m", "--dir=a.b", "++model.net._target_=x.Y", "++model.net.a=1", "++model.net.b=2", "~model.net.c", "seed=1",
    ]  # fmt: skip
    assert given(argv) == {"model.net": {"_target_", "a", "b"}}
    assert given(["optimizer={_target_:x.Y,lr:1}", "optimizer.nu=2"]) == {"optimizer": {"_target_", "lr", "nu"}}
