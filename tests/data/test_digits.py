"""The digits: complete, split, scaled, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kasoku.data import digits
from kasoku.data.digits import Digits
from kasoku.faults import ConfigError


def ready(**options: object) -> Digits:
    data = Digits(**options)
    data.setup()
    return data


def test_the_images_are_those_of_scikit_learn():
    x, y = digits.read()
    theirs = load_digits()
    np.testing.assert_array_equal(x[:, 0].numpy() * 16, theirs.images)
    np.testing.assert_array_equal(y.numpy(), theirs.target)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_split_is_whole_and_stratified(seed: int):
    data = ready(seed=seed, standardize=False)
    parts = [data.train, data.val, data.test]
    assert [len(part) for part in parts] == [1257, 270, 270]
    rows = torch.cat([part.x.flatten(1) for part in parts]).numpy()
    everything = digits.read()[0].flatten(1).numpy()
    assert sorted(map(bytes, rows)) == sorted(map(bytes, everything))
    for part in parts:
        share = torch.bincount(part.y, minlength=10) / len(part)
        assert share.sub(0.1).abs().max() < 0.01


def test_standardized_by_the_training_images():
    data = ready()
    assert data.train.x.mean() == pytest.approx(0, abs=1e-5)
    assert data.train.x.std() == pytest.approx(1, abs=1e-5)
    assert ready(standardize=False).train.x.min() == 0
    assert ready(standardize=False).train.x.max() == 1


def test_the_contract():
    data = ready(batch_size=50)
    x, y = next(iter(data.train_dataloader()))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((50, 1, 8, 8), torch.float32, (50,), torch.int64)
    assert (data.input_shape, data.num_classes, data.train_size, data.tokens_per_sample) == ((1, 8, 8), 10, 1257, None)
    assert len(data.train_dataloader()) == 25
    assert len(ready(batch_size=50, drop_last=False).train_dataloader()) == 26
    assert sum(len(y) for _, y in data.val_dataloader()) == sum(len(y) for _, y in data.test_dataloader()) == 270


def test_a_second_setup_keeps_what_there_is():
    data = ready()
    before = data.train.x
    data.setup("test")
    assert data.train.x is before
    assert torch.equal(data.sample(5), before[:5])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "data.batch_size=0: must be a whole number >= 1"),
        ({"batch_size": 1258}, "data.batch_size=1258: must be <= 1257, the training set has 1257 samples"),
        ({"val_size": 1600, "test_size": 270}, "data.val_size=1600: val_size + test_size must be below 1797"),
        ({"seed": -1}, "data.seed=-1: "),
        ({"seed": 2**32}, "data.seed=4294967296: "),
        ({"standardize": 1}, "data.standardize=1: must be true or false"),
    ],
)
def test_refused(options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        ready(**options)
    assert said in str(caught.value)


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install scikit-learn"):
        ready()
