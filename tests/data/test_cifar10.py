"""CIFAR-10 on files of the official layout, made small here."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from kasoku.data import cifar10, cifar10_files
from kasoku.data.cifar10 import CIFAR10
from kasoku.faults import ConfigError

EACH = 40  # images of a batch


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the six batches, EACH images in each."""
    folder = tmp_path / cifar10_files.FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(cifar10_files.TRAIN + cifar10_files.TEST):
        data = rng.integers(0, 256, (EACH, 3072), dtype=np.uint8)
        batch = {b"data": data, b"labels": [i % 10 for i in range(EACH)], b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2 + number % 4))
    monkeypatch.setattr(cifar10, "IMAGES", 5 * EACH)
    return tmp_path


def ready(root: Path, **options: object) -> CIFAR10:
    data = CIFAR10(root=str(root), **({"batch_size": 20, "val_size": 50} | options))
    data.prepare_data()
    data.setup()
    return data


def test_the_contract(root: Path):
    data = ready(root)
    x, y = next(iter(data.train_dataloader()))
    assert (x.shape, x.dtype, y.dtype) == ((20, 3, 32, 32), torch.float32, torch.int64)
    assert (data.input_shape, data.num_classes, data.train_size) == ((3, 32, 32), 10, 150)
    assert [len(data.val), len(data.test)] == [50, EACH]
    assert torch.bincount(data.val.y).tolist() == [5] * 10
    assert data.sample(7).shape == (7, 3, 32, 32)


def test_pixels_are_read_in_order_and_standardized(root: Path):
    data = ready(root, val_size=0, flip="none", translate=0)
    batch = pickle.loads((root / cifar10_files.FOLDER / "data_batch_2").read_bytes(), encoding="bytes")
    pixel = batch[b"data"][3].reshape(3, 32, 32)[1, 4, 5]
    assert data.train.x[EACH + 3, 1, 4, 5] == pytest.approx((pixel / 255 - 0.4822) / 0.2435, abs=1e-5)
    assert data.val is data.test or torch.equal(data.val.x, data.test.x)


def test_smaller_images_are_means_of_squares(root: Path):
    whole, small = (ready(root, val_size=0, translate=0, size=size).train.x for size in (32, 8))
    want = whole.numpy().reshape(5 * EACH, 3, 8, 4, 8, 4).mean((3, 5))
    np.testing.assert_allclose(small.numpy(), want, atol=1e-4)


def test_a_pickle_that_would_run_something_is_refused(root: Path):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    (root / cifar10_files.FOLDER / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(ConfigError, match=r"builtins.print has no place"):
        ready(root)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({b"data": [[1]]}), pickle.dumps([1])])
def test_a_broken_batch_is_named(root: Path, content: bytes):
    path = root / cifar10_files.FOLDER / "data_batch_3"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"data\.root=.*data_batch_3: must be a batch of CIFAR-10"):
        ready(root)


def test_unpacked_from_the_archive_beside_it(root: Path, monkeypatch: pytest.MonkeyPatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(root / cifar10_files.FOLDER, arcname=cifar10_files.FOLDER)
    folder = root / "empty"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match="checksum"):
        ready(folder)
    monkeypatch.setattr(cifar10_files, "MD5", hashlib.md5(buffer.getvalue()).hexdigest())
    assert torch.equal(ready(folder).train.x, ready(root).train.x)
    assert sorted(path.name for path in folder.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_what_cannot_be_downloaded_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cifar10_files, "URL", (tmp_path / "nowhere" / "a.tar.gz").as_uri())
    with pytest.raises(ConfigError) as caught:
        ready(tmp_path / "new")
    assert "must hold cifar-10-batches-py/ with data_batch_1 .. data_batch_5 and test_batch" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 5}, "data.size=5: must divide 32"),
        ({"size": 8, "translate": 8}, "data.translate=8: must be below the images' size of 8"),
        ({"cutout": 33}, "data.cutout=33: must be at most"),
        ({"val_size": 5 * EACH}, "data.val_size=200: must be below 200"),
        ({"flip": "up"}, "data.flip=up: must be one of none random alternate"),
        ({"batch_size": 151}, "data.batch_size=151: must be <= 150"),
    ],
)
def test_refused(root: Path, options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        ready(root, **options)
    assert said in str(caught.value)
