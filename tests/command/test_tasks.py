"""A command's task, model and data beside one another: defaults, losses, sizes, modules of one's own."""

import math

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn

from kasoku.command.build import build
from kasoku.config import trust
from kasoku.faults import ConfigError
from tests.conftest import CONF, composed

HERE = __name__


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setenv("KASOKU_TRUST", HERE)


def built(directory, *overrides):
    run = build(composed(*overrides, "logger=none"), directory, trust.trusted(CONF), overrides)
    return run.module


CHOSEN = [
    ([], "classification", "val/acc", "max"),
    (["model=gpt"], "language_modelling", "val/acc", "max"),
    (["data=text"], "language_modelling", "val/acc", "max"),
    (["model=gpt", "data=text"], "language_modelling", "val/acc", "max"),
    (["model=gpt", "data=text", "task=classification"], "classification", "val/acc", "max"),
    (["model=fcn"], "segmentation", "val/iou", "max"),
    (["model=fcn", "task=binary"], "binary", "val/acc", "max"),
    (["task=regression"], "regression", "val/mae", "min"),
    (["task=regression", "target.metric=val/loss"], "regression", "val/loss", "min"),
    (["task=custom"], "custom", "val/loss", "min"),
    (["experiment=shakespeare"], "language_modelling", "val/loss", "min"),
    (["experiment=cifar10_cpu"], "classification", "val/acc", "max"),
]


@pytest.mark.parametrize(("overrides", "task", "metric", "mode"), CHOSEN)
def test_model_and_data_choose_a_task_and_the_command_another(overrides, task, metric, mode):
    cfg = composed(*overrides)
    assert cfg.task._target_.rpartition(".")[2].lower() == task.replace("_", "")
    assert (cfg.target.metric, cfg.target.mode) == (metric, mode)


def test_settings_of_the_loss_are_written_as_before():
    assert composed("model.loss.label_smoothing=0.1").model.loss.label_smoothing == 0.1
    assert composed("model=speednet").model.loss.label_smoothing == 0.2
    assert composed("experiment=cifar10_cpu").model.loss.label_smoothing == 0.1
    assert set(composed("+model.metrics.f1._target_=a.B").model.metrics) == {"acc", "f1"}


def scaled(outputs, y, scale=2.0, weight: torch.Tensor | None = None):
    return scale * nn.functional.cross_entropy(outputs, y, weight)


class Margin(nn.Module):
    """Takes no label smoothing."""

    def __init__(self, margin: float = 1.0):
        super().__init__()
        self.margin = margin

    def forward(self, outputs, y):
        return nn.functional.multi_margin_loss(outputs, y, margin=self.margin)


LOSSES = [
    (["model.loss._target_=torch.nn.functional.cross_entropy"], math.log(10)),
    ([f"model.loss._target_={HERE}.scaled"], 2 * math.log(10)),
    ([f"model.loss._target_={HERE}.scaled", "+model.loss.scale=3.0"], 3 * math.log(10)),
    ([f"model.loss._target_={HERE}.scaled", "+model.loss._partial_=true"], 2 * math.log(10)),
    ([f"model.loss._target_={HERE}.Margin", "+model.loss.margin=0.5"], 0.45),
    (["model.loss._target_=torch.nn.NLLLoss"], 0.0),
]


@pytest.mark.parametrize(("overrides", "value"), LOSSES)
def test_a_loss_is_a_module_or_a_function(tmp_path, overrides, value):
    """Of ten outputs that are all 0; settings of the loss it replaces are not for it."""
    loss = built(tmp_path, "model=mlp", *overrides).loss
    assert isinstance(loss, nn.Module)
    assert loss(torch.zeros(4, 10), torch.arange(4)).item() == pytest.approx(value)


def test_a_file_may_replace_the_loss_without_naming_what_the_task_set(tmp_path):
    """As in a model file of one's own, which no override shows."""
    cfg = composed("model=mlp", "logger=none")
    cfg.model.loss._target_ = "torch.nn.MultiMarginLoss"
    loss = build(cfg, tmp_path, trust.trusted(CONF)).module.loss
    assert isinstance(loss, nn.MultiMarginLoss)
    cfg.model.loss.label_smoothing = 0.1  # this one somebody meant
    with pytest.raises(ConfigError, match=r"model.loss.label_smoothing=0.1"):
        build(cfg, tmp_path, trust.trusted(CONF))


def test_weights_are_tensors_that_follow_the_net(tmp_path):
    ten = "[1,2,3,4,5,6,7,8,9,10]"
    for loss in ([], [f"model.loss._target_={HERE}.scaled"]):
        module = built(tmp_path, "model=mlp", *loss, f"+model.loss.weight={ten}")
        assert module.loss.weight.tolist() == [*range(1, 11)]
        assert module.to(torch.float64).loss.weight.dtype == torch.float64
    assert "loss.weight" not in module.state_dict()  # of a function: a setting, not what is trained


def test_weights_stay_a_list_where_no_tensor_is_wanted(tmp_path):
    assert built(tmp_path, "model=resnet", "model.net.blocks=[1,1]") is not None


class Sized(nn.Module):
    """Asks for sizes under the names it likes."""

    def __init__(self, num_outputs, width=8):
        super().__init__()
        self.num_outputs = num_outputs

    def forward(self, x):
        return x


class Blank(Sized):
    """Does not say how many outputs it has."""

    def __init__(self):
        super().__init__(0)


SIZES = [
    ([], 10),
    (["task=regression"], 1),
    (["task=binary"], 1),
    (["task=custom"], 10),
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("overrides", "size"), SIZES)
def test_a_net_has_as_many_outputs_as_the_task_needs(tmp_path, overrides, size):
    assert built(tmp_path, "model=mlp", *overrides).net.layers[-1].out_features == size
    net = [f"model.net._target_={HERE}.Sized", "+model.net.width=4"]
    assert built(tmp_path, "model=mlp", *overrides, *net).net.num_outputs == size
    assert isinstance(built(tmp_path, "model=mlp", *overrides, f"model.net._target_={HERE}.Blank").net, Blank)


def test_what_nobody_says_must_be_given(tmp_path):
    with pytest.raises(ConfigError, match="how many outputs task=multilabel needs"):
        built(tmp_path, "model=mlp", "task=multilabel", "~model.metrics")


METRICS = [
    (["+model.metrics.x._target_=torchmetrics.ConfusionMatrix"], "num_classes", 10),
    (["+model.metrics.x._target_=torchmetrics.classification.MulticlassAUROC"], "num_classes", 10),
    (["task=binary", "+model.metrics.x._target_=torchmetrics.F1Score"], "threshold", 0.5),
    (["task=regression", "+model.metrics.x._target_=torchmetrics.PearsonCorrCoef"], "num_outputs", 1),
]


@pytest.mark.parametrize(("overrides", "name", "value"), METRICS)
def test_metrics_are_told_what_the_data_knows(tmp_path, overrides, name, value):
    assert getattr(built(tmp_path, "model=mlp", *overrides).metrics["val"]["x"], name) == value


def test_metrics_inside_of_metrics_are_told_it_too(tmp_path):
    inner = "{_target_:torchmetrics.MinMaxMetric,base_metric:{_target_:torchmetrics.Accuracy}}"
    several = "{_target_:torchmetrics.MetricCollection,metrics:[{_target_:torchmetrics.F1Score}]}"
    metrics = built(tmp_path, "model=mlp", f"+model.metrics.x={inner}", f"+model.metrics.y={several}").metrics["val"]
    assert metrics["x"]._base_metric.num_classes == metrics["y"]["MulticlassF1Score"].num_classes == 10


def test_a_metric_may_be_replaced_by_one_of_another_kind(tmp_path):
    replaced = "model.metrics.acc._target_=torchmetrics.classification.BinaryAccuracy"
    assert built(tmp_path, "model=mlp", replaced).metrics["val"]["acc"].threshold == 0.5


class Whole(pl.LightningModule):
    """A module of one's own, with neither loss nor metrics among its arguments."""

    def __init__(self, width: int = 3):
        super().__init__()
        self.layer = nn.Linear(width, 1)


class WithLoss(pl.LightningModule):
    def __init__(self, loss: nn.Module | None = None):
        super().__init__()
        self.loss = loss


def of_file(target, **settings):
    """The configuration of a model file that says `_target_: target`, merged as Hydra merges it."""
    cfg = composed("model=mlp", "logger=none")
    OmegaConf.set_struct(cfg, False)
    del cfg.model["net"]
    cfg.model = OmegaConf.merge(cfg.model, {"_target_": f"{HERE}.{target}"}, settings)
    return cfg


def test_a_module_of_ones_own_is_spared_the_tasks_loss_and_metrics(tmp_path):
    module = build(of_file("Whole", width=5), tmp_path, trust.trusted(CONF)).module
    assert module.layer.in_features == 5


def test_a_loss_that_might_be_the_modules_is_asked_about(tmp_path):
    with pytest.raises(ConfigError, match="task=custom"):
        build(of_file("WithLoss"), tmp_path, trust.trusted(CONF))
    own = of_file("WithLoss", loss={"_target_": "torch.nn.L1Loss"})
    assert isinstance(build(own, tmp_path, trust.trusted(CONF)).module.loss, nn.L1Loss)
    cfg = of_file("WithLoss")
    custom = composed("task=custom")
    cfg.task, cfg.model.loss, cfg.model.metrics = custom.task, custom.model.loss, {}
    assert build(cfg, tmp_path, trust.trusted(CONF)).module.loss is None


class Unsaid(pl.LightningDataModule):
    """Pixels and a label for each of five tags, of which it says nothing."""

    batch_size = 4

    def train_dataloader(self):
        samples = torch.utils.data.TensorDataset(torch.rand(8, 4), torch.randint(0, 2, (8, 5)).float())
        return torch.utils.data.DataLoader(samples, batch_size=4)


class Tagger(nn.Linear):
    def __init__(self, num_classes: int = 5):
        super().__init__(4, num_classes)


class Mute(nn.Linear):
    def __init__(self, tags: int = 5):
        super().__init__(4, tags)


UNSAID = ("task=multilabel", f"data._target_={HERE}.Unsaid", "logger=none")


@pytest.mark.parametrize(("words", "outputs"), [((), 5), (("model.net.num_classes=7",), 7)])
def test_what_the_data_does_not_say_a_net_keeps_and_tells_the_metrics(tmp_path, words, outputs):
    module = built(tmp_path, *UNSAID, f"model.net._target_={HERE}.Tagger", *words)
    assert module.net.out_features == outputs
    assert {metric.num_labels for metric in module.metrics["val"].values()} == {outputs}


def test_what_nobody_says_is_asked_for_by_its_key(tmp_path):
    with pytest.raises(ConfigError) as refused:
        built(tmp_path, *UNSAID, f"model.net._target_={HERE}.Mute")
    assert "model.metrics.acc.num_labels=null: neither the data nor the net says how many there are" in str(
        refused.value
    )
    assert "give it: model.metrics.acc.num_labels=NUMBER" in str(refused.value)
