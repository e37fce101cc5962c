"""The image files below a folder: those that count, those that are left out and why, and those that cannot be read."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from kasoku.data.decoding import FORMATS
from kasoku.faults import ConfigError, Fault
from kasoku.files import kind

# Folders that systems put beside the user's: macOS archives, Synology, Windows, ext4, Python.
SYSTEM = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
RIFF, WEBP = b"RIFF", b"WEBP"
HIDDEN, NAMELESS, OUTSIDE = "hidden", "without suffix", "outside the class folders"


@dataclass
class Listing:
    """Image files in alphabetical order, the number of files left out by reason, and a fault for each unreadable."""

    images: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)


def images_in(folder: Path, skip: Collection[Path] = ()) -> Listing:
    """The files of `folder` and of the folders in it, at any depth, but those in `skip`.

    Images are told by their suffix (any that Pillow has for a format of `kasoku.data.decoding`), and by their first
    bytes where a name has none, or a number for one. Names that begin with a dot, and folders that systems make, are
    hidden with all that is in them.
    """
    found = Listing()
    for path, is_hidden in walk(folder, set(skip)):
        reason = HIDDEN if is_hidden else _reason_against(path)
        if reason:
            found.left_out[reason] += 1
        elif (noun := kind(path)) != "file":
            must = f"{path.name} must be an image file, it is a {noun}"
            found.faults.append(Fault("data.root", path.parent, must, "remove it"))
        else:
            found.images.append(path)
    found.images.sort()
    return found


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder` that are not hidden, in alphabetical order."""
    return sorted(Path(entry) for entry in _entries(folder) if _is_folder(entry) and not hides(entry.name))


def has_images(folder: Path) -> bool:
    """True if an image lies in `folder` or deeper."""
    return any(not is_hidden and not _reason_against(path) for path, is_hidden in walk(folder))


def holds_images(folder: Path) -> bool:
    """True if an image lies directly in `folder`."""
    files = (Path(entry) for entry in _entries(folder) if not _is_folder(entry) and not hides(entry.name))
    return any(not _reason_against(path) for path in files)


def hides(name: str) -> bool:
    """True for the name of a hidden file or folder."""
    return name.startswith(".") or name.casefold() in SYSTEM


def walk(folder: Path, skip: Collection[Path] = ()) -> Iterator[tuple[Path, bool]]:
    """Every file below `folder`, and True if it is hidden. Links are followed; a folder is entered once."""
    entered = set()
    left = [(folder, False)]
    while left:
        inner, is_hidden = left.pop()
        identity = inner.stat().st_dev, inner.stat().st_ino
        if inner in skip or identity in entered:
            continue
        entered.add(identity)
        for entry in _entries(inner, is_hidden):
            found = Path(entry), is_hidden or hides(entry.name)
            if _is_folder(entry):
                left.append(found)
            else:
                yield found


def _entries(folder: Path, is_hidden: bool = False) -> list[os.DirEntry[str]]:
    """The entries of `folder`; none where it is hidden and cannot be read, as a disk's lost+found."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if is_hidden:
            return []
        raise ConfigError(Fault("data.root", folder, f"cannot be read ({error.strerror})")) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _reason_against(path: Path) -> str:
    """The reason to leave `path` out; nothing for an image."""
    suffix = path.suffix.lower()
    if suffix in suffixes():
        return ""
    if suffix and not suffix[1:].isdigit():
        return suffix
    return "" if _begins_as_an_image(path) else NAMELESS


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read, in lower case."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO"))


def _begins_as_an_image(path: Path) -> bool:
    if kind(path) != "file":
        return False
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith(BEGINNINGS) or (start[:4], start[8:]) == (RIFF, WEBP)
