"""Folders of images: found, split, decoded by workers, augmented by (seed, epoch, number)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kasoku.data import crops
from kasoku.data.crops import Crop, pixels
from kasoku.data.image_folder import ImageFolder
from kasoku.faults import ConfigError

CLASSES = ("ant", "bee", "cat")
EACH = 8


def fill(folder: Path, classes: tuple[str, ...] = CLASSES, each: int = EACH) -> Path:
    """A folder of noise for each class, PNG and JPEG in turn."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            array = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
            Image.fromarray(array).save(folder / name / f"{number}.{'png' if number % 2 else 'jpg'}")
    return folder


def ready(root: Path, **options: object) -> ImageFolder:
    data = ImageFolder(
        root=str(root), **({"size": 16, "batch_size": 4, "num_workers": 0, "val_fraction": 0.25} | options)
    )
    data.setup()
    return data


def epoch(data: ImageFolder, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data.order.set_epoch(number)
    return list(data.train_dataloader())


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True)
    )


def test_the_contract(tmp_path: Path):
    data = ready(fill(tmp_path))
    x, y = epoch(data, 0)[0]
    assert (x.shape, x.dtype, y.dtype) == ((4, 3, 16, 16), torch.float32, torch.int64)
    assert (data.input_shape, data.num_classes, data.train_size) == ((3, 16, 16), 3, 18)
    assert len(data.train_dataloader()) == 4
    assert data.parts.classes == list(CLASSES)
    assert data.sample(5).shape == (5, 3, 16, 16)


def test_the_split_is_whole_and_stratified(tmp_path: Path):
    root = fill(tmp_path)
    parts = ready(root, test_fraction=0.25).parts
    found = [path for files in (parts.train, parts.val, parts.test) for path in files.paths]
    assert sorted(found) == sorted(root.rglob("*.*"))
    for files, count in ((parts.train, 4), (parts.val, 2), (parts.test, 2)):
        assert np.bincount(files.labels).tolist() == [count] * 3
        assert [CLASSES[label] for label in files.labels] == [path.parent.name for path in files.paths]


def test_folders_of_the_parts_are_taken_as_they_are(tmp_path: Path):
    fill(tmp_path / "train")
    fill(tmp_path / "val", CLASSES[:2], each=3)
    data = ready(tmp_path)
    assert [len(part) for part in (data.parts.train, data.parts.val, data.parts.test)] == [24, 6, 6]
    fill(tmp_path / "test", each=1)
    assert {path.parent.parent.name for path in ready(tmp_path).parts.test.paths} == {"test"}


def test_workers_change_nothing(tmp_path: Path):
    root = fill(tmp_path)
    alone, helped = ready(root, num_workers=0), ready(root, num_workers=2)
    loader = helped.train_dataloader()
    for number in (0, 1):
        helped.order.set_epoch(number)
        assert same(epoch(alone, number), list(loader))
    assert same(list(alone.val_dataloader()), list(helped.val_dataloader()))


def test_epochs_differ_and_repeat(tmp_path: Path):
    data = ready(fill(tmp_path))
    assert same(epoch(data, 3), epoch(data, 3))
    assert not same(epoch(data, 3), epoch(data, 4))
    assert same(list(data.val_dataloader()), list(data.val_dataloader()))


def test_the_rest_of_an_epoch_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = ready(fill(tmp_path))
    whole = epoch(data, 1)
    monkeypatch.setattr(data, "begin", lambda: 2 * data.batch_size)
    assert same(epoch(data, 1), whole[2:])
    assert len(data.train_dataloader()) == len(whole)


def test_evaluation_shows_the_middle_square_scaled(tmp_path: Path):
    (tmp_path / "a").mkdir()
    array = np.zeros((10, 20, 3), np.uint8)
    array[:, 5:15] = (200, 100, 50)
    for number in range(4):
        Image.fromarray(array).save(tmp_path / "a" / f"{number}.png")
    data = ready(tmp_path, size=4, batch_size=1)
    x, _ = next(iter(data.val_dataloader()))
    want = [(value / 255 - mean) / std for value, mean, std in zip((200, 100, 50), *data.scale, strict=True)]
    inner = x[0, :, :, 1:3].numpy()  # smoothing takes in a neighbour at the border
    np.testing.assert_allclose(inner, np.broadcast_to(np.array(want)[:, None, None], inner.shape), atol=1e-5)


def test_crops_stay_inside_and_have_their_area():
    rng = np.random.default_rng(0)
    boxes = np.array([crops.random_box((40, 30), 0.25, rng) for _ in range(2000)])
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 40
    assert boxes[:, 3].max() <= 30
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1200
    assert 0.2 < area.min() < 0.3
    assert area.max() <= 1
    assert area.mean() == pytest.approx(0.6, abs=0.05)


def test_a_large_jpeg_is_cropped_as_if_it_were_decoded_whole(tmp_path: Path):
    ramp = np.add.outer(np.arange(400), np.arange(600)).astype(np.float32)
    array = np.stack([ramp / 4] * 3, -1).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(array).save(tmp_path / "a.png")
    for seed in range(5):
        drafted, whole = (
            pixels(tmp_path / name, Crop(32, True, 0.5), np.random.default_rng(seed)) for name in ("a.jpg", "a.png")
        )
        assert np.abs(drafted.astype(int) - whole).max() <= 6


def test_half_of_the_images_are_mirrored(tmp_path: Path):
    array = np.zeros((8, 8, 3), np.uint8)
    array[:, :4] = 255
    Image.fromarray(array).save(tmp_path / "a.png")
    mirrored = [
        pixels(tmp_path / "a.png", Crop(8, flip=True), np.random.default_rng(seed))[0, 0, 0] == 0 for seed in range(200)
    ]
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_named(tmp_path: Path, num_workers: int):
    data = ready(fill(tmp_path), num_workers=num_workers, batch_size=18)
    broken = data.parts.train.paths[0]
    broken.write_bytes(broken.read_bytes()[:100])
    said = ""
    try:
        list(data.train_dataloader())
    except ConfigError as error:  # pytest.raises would keep the workers alive by the traceback
        said = str(error)
    assert f"{broken} must be an image" in said


def test_refused(tmp_path: Path):
    root = fill(tmp_path / "images")
    fill(tmp_path / "parts" / "train")
    fill(tmp_path / "parts" / "val", ("dog",), each=1)
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    for options, said in (
        ({"root": None}, "data.root=null: must name a folder of images; data.root=FOLDER"),
        ({"root": str(tmp_path / "nowhere")}, "there is no such folder"),
        ({"root": str(root / "ant")}, "must have a folder of images for each class"),
        ({"root": str(tmp_path / "parts")}, "no class of the training images: [dog]"),
        ({"root": str(tmp_path / "hollow")}, "folders without images: [a]"),
        ({"root": str(root), "val_fraction": 0.01}, "data.val_fraction=0.01: must leave at least one of the 24 images"),
        ({"root": str(root), "std": [1.0, 0.0, 1.0]}, "data.std=[1.0,0.0,1.0]: must be a list"),
        ({"root": str(root), "batch_size": 64}, "data.batch_size=64: must be <= 22"),
    ):
        with pytest.raises(ConfigError) as caught:
            ImageFolder(**options).setup()
        assert said in str(caught.value)
    shutil.rmtree(root)
