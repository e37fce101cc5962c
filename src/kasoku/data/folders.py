"""Image files in folders named by class, and their split into training, validation and test."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kasoku.data.listing import OUTSIDE, has_images, holds_images, images_in, subfolders
from kasoku.data.order import stratified
from kasoku.faults import ConfigError, Fault, show
from kasoku.files import kind

PARTS = {  # by their names, in any case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


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
    """The classes in alphabetical order, the files of each part, and the number of files left out by reason."""

    classes: list[str]
    train: Files
    val: Files
    test: Files
    left_out: Counter[str] = field(default_factory=Counter)


def find(root: Path, val_fraction: float, test_fraction: float, seed: int) -> Parts:
    """The parts of `root`: its folders for training, validation and test, or else folders of classes that are split.

    A part without a folder of its own is taken from the training files by its fraction, every class in proportion and
    none without a training file; the test is on validation where it has neither. Raises ConfigError naming `data.root`
    or `data.val_fraction`.
    """
    folders = arranged(root)
    classes = names(folders["train"])
    left_out: Counter[str] = Counter()
    given = {part: listed(folder, classes, left_out) for part, folder in folders.items()}
    _count_outside(root, [folder / name for folder in folders.values() for name in classes], left_out)
    train = given["train"]
    fractions = {"val": val_fraction, "test": test_fraction}
    sizes = {part: 0 if part in given else round(len(train) * fractions[part]) for part in fractions}
    left = len(train) - sum(sizes.values())
    if left < len(classes) or not (given.get("val") or sizes["val"]):
        must = f"must leave at least one of the {len(train)} images for validation, and one of each class for training"
        raise ConfigError(Fault("data.val_fraction", val_fraction, must))
    indices = stratified(train.labels, [left, sizes["val"], sizes["test"]], seed)
    cut = [train.take(index.tolist()) for index in indices]
    val = given.get("val") or cut[1]
    return Parts(classes, cut[0], val, given.get("test") or cut[2] or val, left_out)


def arranged(root: Path) -> dict[str, Path]:
    """The folder of each part: `root` itself for "train" where it holds the classes.

    `root` is divided where a folder named as the training part has class folders in it and the others are parts too,
    or hold the same classes. Raises ConfigError where it could be both.
    """
    if (noun := kind(root)) != "folder":
        raise ConfigError(Fault("data.root", root, "there is no such folder" if noun == "nothing" else f"is a {noun}"))
    inside = subfolders(root)
    named = {part: [folder for folder in inside if folder.name.casefold() in words] for part, words in PARTS.items()}
    of_parts = [folder for folders in named.values() for folder in folders]
    others = [folder for folder in inside if folder not in of_parts and has_images(folder)] if of_parts else []
    are_classes = others and (not named["train"] or any(map(holds_images, named["train"])))
    if not of_parts or are_classes:
        return {"train": root}
    if not named["train"]:
        raise ConfigError(Fault("data.root", root, f"has {_shown(of_parts)}, but no folder train"))
    if others and not _share_classes(named):
        must = f"has {_shown(of_parts)} beside {_shown(others)}: parts, or classes?"
        raise ConfigError(Fault("data.root", root, must, "move the folders that are no parts elsewhere"))
    if double := [folders for folders in named.values() if len(folders) > 1]:
        must = f"must have one folder for each part, and has {_shown(double[0])}"
        raise ConfigError(Fault("data.root", root, must))
    return {part: folders[0] for part, folders in named.items() if folders}


def _share_classes(named: dict[str, list[Path]]) -> bool:
    """True if a folder of another part has class folders of the training part."""
    train, rest = ({inner.name for part in parts for folder in named[part] for inner in subfolders(folder)}
                   for parts in (["train"], ["val", "test"]))  # fmt: skip
    return bool(train & rest)


def _shown(folders: Sequence[Path]) -> str:
    return show([folder.name for folder in folders])


def names(folder: Path) -> list[str]:
    """The class names: the folders in `folder` that are not hidden."""
    classes = [inner.name for inner in subfolders(folder)]
    if not classes:
        raise ConfigError(Fault("data.root", folder, "must have a folder of images for each class"))
    return classes


def listed(folder: Path, classes: Sequence[str], left_out: Counter[str]) -> Files:
    """The image files in the folders `classes` of `folder`, deeper ones too, in alphabetical order.

    The number of those that are none is added to `left_out`. Raises ConfigError for unreadable files, for folders that
    are no class, and for classes without an image.
    """
    if strange := sorted(set(names(folder)) - set(classes)):
        must = f"has folders that are no class of the training images: {show(strange)}"
        raise ConfigError(Fault("data.root", folder, must))
    found = {name: images_in(folder / name) for name in classes if (folder / name).is_dir()}
    if faults := [fault for listing in found.values() for fault in listing.faults]:
        raise ConfigError(*faults)
    if empty := [name for name, listing in found.items() if not listing.images]:
        others = sum((found[name].left_out for name in empty), Counter())
        instead = f", but {said(others)}" if others else ""
        raise ConfigError(Fault("data.root", folder, f"has folders without images: {show(empty)}{instead}"))
    for listing in found.values():
        left_out.update(listing.left_out)
    labels = [number for number, name in enumerate(classes) if name in found for _ in found[name].images]
    return Files([path for listing in found.values() for path in listing.images], np.array(labels, dtype=np.int64))


def _count_outside(root: Path, class_folders: Sequence[Path], left_out: Counter[str]) -> None:
    """Add to `left_out` the images of `root` that lie in no class folder, and what is hidden there."""
    outside = images_in(root, class_folders)
    left_out.update({OUTSIDE: len(outside.images)} if outside.images else {})
    left_out.update({name: outside.left_out[name] for name in ("hidden",) if name in outside.left_out})


def said(left_out: Counter[str]) -> str:
    """The reasons with their counts: `12 hidden, 3 .txt`."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
