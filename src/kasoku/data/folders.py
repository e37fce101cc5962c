"""Image files in folders named by class, and their split into training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kasoku.data.order import stratified
from kasoku.faults import ConfigError, Fault, show

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Files:
    """Image files and the numbers of their classes, int64 [N]."""

    paths: list[Path]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Sequence[int]) -> "Files":
        """The files `index`."""
        return Files([self.paths[i] for i in index], self.labels[list(index)])


@dataclass(frozen=True)
class Parts:
    """The classes in alphabetical order, and the files of each part."""

    classes: list[str]
    train: Files
    val: Files
    test: Files


def find(root: Path, val_fraction: float, test_fraction: float, seed: int) -> Parts:
    """The parts of `root`: its folders `train`, `val` and `test`, or else folders of classes that are split.

    A part without a folder of its own is taken from the training files by its fraction, every class in proportion; the
    test is on validation where it has neither. Raises ConfigError naming `data.root` or `data.val_fraction`.
    """
    if not root.is_dir():
        raise ConfigError(Fault("data.root", root, "there is no such folder"))
    divided = (root / "train").is_dir()
    classes = names(root / "train" if divided else root)
    train = listed(root / "train" if divided else root, classes)
    given = {part: listed(root / part, classes) for part in ("val", "test") if divided and (root / part).is_dir()}
    fractions = {"val": val_fraction, "test": test_fraction}
    sizes = {part: 0 if part in given else round(len(train) * fractions[part]) for part in fractions}
    left = len(train) - sum(sizes.values())
    if left < 1 or not (given.get("val") or sizes["val"]):
        must = f"must leave at least one of the {len(train)} images for training and one for validation"
        raise ConfigError(Fault("data.val_fraction", val_fraction, must))
    indices = stratified(train.labels, [left, sizes["val"], sizes["test"]], seed)
    cut = [train.take(index.tolist()) for index in indices]
    val = given.get("val") or cut[1]
    return Parts(classes, cut[0], val, given.get("test") or cut[2] or val)


def names(folder: Path) -> list[str]:
    """The class names: the folders in `folder` that are not hidden."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise ConfigError(Fault("data.root", folder, "must have a folder of images for each class"))
    return classes


def listed(folder: Path, classes: Sequence[str]) -> Files:
    """The image files in the folders `classes` of `folder`, deeper ones too, in alphabetical order."""
    if strange := sorted(set(names(folder)) - set(classes)):
        must = f"has folders that are no class of the training images: {show(strange)}"
        raise ConfigError(Fault("data.root", folder, must))
    found = [sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES) for name in classes]
    if empty := [name for name, paths in zip(classes, found, strict=True) if not paths and (folder / name).is_dir()]:
        raise ConfigError(Fault("data.root", folder, f"has folders without images: {show(empty)}"))
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in found])
    return Files([path for paths in found for path in paths], labels)
