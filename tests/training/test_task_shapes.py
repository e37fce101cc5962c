"""Every pairing of shapes by every task, what metrics see of it, and no loss of torch that broadcasts."""

import inspect
import itertools
import math

import pytest
import torch
from torch import nn

from kasoku.faults import ConfigError
from kasoku.training.first_batch import first_loss
from kasoku.training.losses import Function, MeanLoss
from kasoku.training.tasks import (
    Binary,
    Classification,
    Custom,
    LanguageModelling,
    Multilabel,
    Regression,
    Segmentation,
)

B, C, T = 5, 3, 4


def whole(*shape):
    return torch.zeros(shape, dtype=torch.long)


def floating(*shape):
    return torch.zeros(shape)


PAIRED = [
    (Classification(), (B, C), whole(B), (B, C), (B,)),
    (Classification(), (B, C), whole(B, 1), (B, C), (B,)),
    (Classification(), (B, C), whole(B).int(), (B, C), (B,)),
    (Classification(), (B, C), floating(B, C), (B, C), (B, C)),
    (Classification(), (B, T, C), whole(B, T), (B * T, C), (B * T,)),
    (Classification(), (B, 2, T, C), whole(B, 2, T), (B * 2 * T, C), (B * 2 * T,)),
    (Classification(), (B, T, C), whole(B, T, 1), (B * T, C), (B * T,)),
    (LanguageModelling(), (B, T, C), whole(B, T), (B * T, C), (B * T,)),
    (Segmentation(), (B, C, 8, 9), whole(B, 8, 9), (B, C, 8, 9), (B, 8, 9)),
    (Segmentation(), (B, C, 8, 9), whole(B, 1, 8, 9), (B, C, 8, 9), (B, 8, 9)),
    (Segmentation(), (B, C, 2, 8, 9), whole(B, 2, 8, 9).to(torch.uint8), (B, C, 2, 8, 9), (B, 2, 8, 9)),
    (Segmentation(), (B, C, T), whole(B, T), (B, C, T), (B, T)),
    (Binary(), (B,), whole(B), (B,), (B,)),
    (Binary(), (B, 1), whole(B).bool(), (B,), (B,)),
    (Binary(), (B,), floating(B, 1), (B,), (B,)),
    (Binary(), (B, 1, 8, 9), whole(B, 8, 9), (B, 8, 9), (B, 8, 9)),
    (Binary(), (B, T, 1), whole(B, T), (B, T), (B, T)),
    (Multilabel(), (B, C), whole(B, C), (B, C), (B, C)),
    (Multilabel(), (B, C, T), floating(B, C, T), (B, C, T), (B, C, T)),
    (Regression(), (B,), floating(B), (B,), (B,)),
    (Regression(), (B, 1), floating(B), (B,), (B,)),
    (Regression(), (B,), floating(B, 1), (B,), (B,)),
    (Regression(), (1, 1), floating(1), (1,), (1,)),
    (Regression(), (), floating(1), (), ()),
    (Regression(), (B, C), whole(B, C), (B, C), (B, C)),
    (Regression(), (B, T, 1), floating(B, T), (B, T), (B, T)),
    (Regression(), (B, C, 8, 9), floating(B, C, 8, 9), (B, C, 8, 9), (B, C, 8, 9)),
]


@pytest.mark.parametrize(("task", "shape", "y", "of_outputs", "of_targets"), PAIRED)
def test_these_pair(task, shape, y, of_outputs, of_targets):
    outputs, targets = task.pair(torch.zeros(shape), y)
    assert (tuple(outputs.shape), tuple(targets.shape)) == (of_outputs, of_targets)
    assert targets.dtype == (outputs.dtype if targets.is_floating_point() else torch.long)
    loss = task.default_loss()
    assert first_loss(loss, task, outputs, targets, None).ndim == 0


SHAPES = [(), (B,), (B, 1), (1, B), (B, C), (B, B), (B, T), (B, T, C), (B, C, T), (B, 1, T), (B, T, 1), (B + 1,), (1,)]


@pytest.mark.parametrize("task", [Classification(), Binary(), Multilabel(), Regression(), Segmentation()])
def test_what_pairs_is_never_broadcast(task):
    """Whatever is paired has lost nothing and has been copied nowhere: one element, or C of them, for each target."""
    for shape, of_y, kind in itertools.product(SHAPES, SHAPES, (whole, floating)):
        if (pair := paired(task, torch.zeros(shape), kind(*of_y))) is None:
            continue
        in_classes = isinstance(task, Classification | Segmentation) and not pair[1].is_floating_point()
        assert pair[0].numel() == math.prod(shape)
        assert pair[1].numel() == math.prod(of_y)
        assert pair[0].numel() == pair[1].numel() * (pair[0].shape[1] if in_classes else 1), (shape, of_y)


def paired(task, outputs, y):
    """Both as the task pairs them; None where it refuses, naming both shapes."""
    try:
        return task.pair(outputs, y)
    except ConfigError as refusal:
        said = str(refusal)
    assert f" {list(outputs.shape)}, targets" in said
    assert f" {list(y.shape)};" in said
    return None


def test_elements_stay_beside_their_own():
    """Not only the shape: element i of the outputs is beside element i of the targets."""
    y = torch.arange(B * T).view(B, T)
    for outputs in (y[..., None].float(), y[:, None].float()):
        found, targets = Regression().pair(outputs, y)
        assert torch.equal(found, targets)
    logits = nn.functional.one_hot(y % C, C).float()
    found, targets = Classification().pair(logits, y % C)
    assert torch.equal(found.argmax(1), targets)


def test_targets_keep_their_precision_beside_short_outputs():
    """Under autocast outputs are bfloat16, and the loss is taken in float32."""
    exact = torch.tensor([1.0009765625])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for y in (exact, exact.double()):
            assert Regression().pair(torch.zeros(1, dtype=torch.bfloat16), y)[1].item() == exact.item()
    assert Regression().pair(torch.zeros(1, dtype=torch.float64), torch.ones(1))[1].dtype == torch.float32


def test_metrics_see_probabilities_however_small_the_logits():
    """All logits within [0, 1], which torchmetrics takes for probabilities: 0.3 is a yes."""
    outputs, y = Binary().seen(torch.tensor([0.3, -0.3]), torch.tensor([1.0, 0.0]))
    assert (outputs > 0.5).tolist() == [True, False]
    assert y.dtype == torch.long
    assert Binary(outputs="probabilities").seen(torch.tensor([0.3]), torch.ones(1))[0].item() == pytest.approx(0.3)
    found, classes = Classification().seen(torch.rand(B, C), torch.eye(C)[torch.arange(B) % C])
    assert torch.allclose(found.sum(1), torch.ones(B))
    assert classes.tolist() == [0, 1, 2, 0, 1]


def test_metrics_of_numbers_are_in_the_targets_own_unit():
    task = Regression(target_mean=[10.0, -5.0], target_std=[2.0, 100.0])
    outputs, y = task.seen(torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2))
    assert outputs.tolist() == [[12.0, 95.0]]
    assert y.tolist() == [[10.0, -5.0]]
    assert Regression(target_mean=[10.0], target_std=[2.0]).seen(torch.ones(1), torch.zeros(1))[0].tolist() == [12.0]


def losses_of_torch():
    """Those that can be made without settings."""
    for name in dir(nn):
        parameters = list(inspect.signature(getattr(nn, name)).parameters.values()) if name.endswith("Loss") else []
        if parameters and not any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
            yield pytest.param(getattr(nn, name)(), id=name)


OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
BROADCAST = [((B, 1), (B,)), ((B,), (B, 1)), ((B, C), (B, 1)), ((B, T, 1), (B, T)), ((B, B), (B,))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("loss", list(losses_of_torch()))
def test_no_loss_of_torch_gives_a_number_for_shapes_that_it_broadcasts(loss):
    """Only losses of classes do, and rightly so, for classes [B] beside outputs with an axis more."""
    for (shape, of_y), kind in itertools.product(BROADCAST, (whole, floating)):
        try:
            first_loss(loss, Custom(), torch.rand(shape), kind(*of_y), None)
        except ConfigError:
            continue
        assert isinstance(loss, OF_CLASSES)
        assert len(shape) == len(of_y) + 1
        assert kind is whole


def test_the_mean_of_the_batches_is_that_of_the_samples():
    """torchmetrics' MeanMetric loses the weights where NaN is to stay (1.9.0)."""
    mean = MeanLoss()
    mean.update(torch.tensor(2.0), 3)
    mean.update(torch.tensor(6.0), torch.tensor(1.0))
    mean.update(torch.tensor(float("nan")), 0)  # nothing but ignored targets
    assert mean.compute().item() == 3
    mean.update(torch.tensor(float("nan")), 1)
    assert mean.compute().isnan()


def test_a_loss_of_probabilities_wants_them():
    y = torch.tensor([1.0, 0.0])
    inside = torch.tensor([0.6, 0.3])
    for loss in (nn.BCELoss(), Function(nn.functional.binary_cross_entropy)):
        with pytest.raises(ConfigError, match=r"task.outputs=probabilities"):
            first_loss(loss, Binary(), inside, y, None)
        first_loss(loss, Binary(outputs="probabilities"), inside, y, None)
    first_loss(nn.BCEWithLogitsLoss(), Binary(), inside, y, None)
    first_loss(nn.MSELoss(), Binary(outputs="probabilities"), inside, y, None)
    with pytest.raises(ConfigError, match="takes logits"):
        first_loss(nn.BCEWithLogitsLoss(), Binary(outputs="probabilities"), inside, y, None)


def test_ignored_targets_may_be_anything():
    y = torch.tensor([0, 255, 2])
    with pytest.raises(ConfigError, match="0 to 2 for 3 outputs, found 0 to 255"):
        first_loss(nn.CrossEntropyLoss(), Classification(), torch.zeros(3, 3), y, None)
    loss = nn.CrossEntropyLoss(ignore_index=255)
    assert first_loss(loss, Classification(), torch.zeros(3, 3), y, None) > 0
    assert Classification().weight(y, loss) == 2
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 2.0]), ignore_index=255)
    assert Classification().weight(y, weighted) == 3
