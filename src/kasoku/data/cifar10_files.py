"""CIFAR-10's official python batches: fetched, and read without running what a pickle may hold."""

import hashlib
import pickle
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from kasoku.faults import ConfigError, Fault

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
TEST = ["test_batch"]
SECONDS = 30.0  # without an answer

ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class ArraysOnly(pickle.Unpickler):
    """Reads containers and numpy arrays; any other object is refused before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of images")
        return super().find_class(module, name)


def read(root: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 3, 32, 32] and int64 [N] from the batches `names` under `root`. ConfigError naming a broken file."""
    pixels, labels = zip(*(_batch(root / FOLDER / name) for name in names), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file:
            batch = ArraysOnly(file, encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], dtype=np.int64)
        return pixels.reshape(len(labels), 3, 32, 32), labels
    except Exception as error:  # a pickle that is no batch can fail in any way
        must = f"must be a batch of CIFAR-10 ({type(error).__name__}: {error})"
        raise ConfigError(Fault("data.root", path, must, f"delete {path.parent} to download it again")) from error


def ensure(root: Path) -> None:
    """Have the batches in `root`: from its archive if that is there, else downloaded. ConfigError if that fails."""
    if all((root / FOLDER / name).is_file() for name in TRAIN + TEST):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            archive = root / URL.rpartition("/")[2]
            if not archive.is_file():
                archive = Path(temporary) / archive.name
                download(URL, archive)
            _unpack(archive, root)
    except OSError as error:
        must = f"must hold {FOLDER}/ with {TRAIN[0]} .. {TRAIN[-1]} and {TEST[0]}; downloading it failed ({error})"
        raise ConfigError(Fault("data.root", root, must, f"put {URL} there, or name a folder that has it")) from error


def _unpack(archive: Path, root: Path) -> None:
    """The batches of `archive`, each written whole before it has its name: several processes may do it at once."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != MD5:
        raise OSError(f"{archive.name} has the checksum {found}, not {MD5}")
    (root / FOLDER).mkdir(exist_ok=True)
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=root) as temporary:
        for name in TRAIN + TEST:
            part = Path(temporary) / name
            member = tar.extractfile(f"{FOLDER}/{name}")
            part.write_bytes(member.read() if member else b"")
            part.replace(root / FOLDER / name)


def download(url: str, path: Path) -> None:
    """`url` into the file `path`. OSError where it cannot be reached."""
    with urllib.request.urlopen(url, timeout=SECONDS) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
