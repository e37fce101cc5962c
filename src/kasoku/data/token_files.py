"""Files of token ids: `.npy` and llm.c's `.bin` by their headers, any other `.bin` by the type that is given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kasoku.faults import ConfigError, Fault

SUFFIXES = (".bin", ".npy")
UNSTATED = "<u2"  # the type of nanoGPT's files
# https://github.com/karpathy/llm.c, dev/data/data_common.py: 256 int32 (magic, version, count), then the ids
LLM_C = {(20240520, 1): "<u2", (20240801, 7): "<u4"}
HEADER = 256 * 4
LARGEST = 2**31 - 1  # no vocabulary is larger
SCANNED = 1 << 24  # ids looked at in one go
FEW = 64  # the upper half of an id of a usual vocabulary is below


def read_ids(path: Path, dtype: str | None = None) -> np.ndarray:
    """Token ids [N] of any whole-number type, in the machine's byte order; mapped unless that had to be turned.

    Args:
        dtype: numpy's name of the type, such as uint32 or >u2 (big-endian); None: by the header, else uint16.

    Raises:
        ConfigError: `data.dtype` is no such type, or the file looks as if it were of another one.
        ValueError, OSError: the file holds something else.
    """
    wanted = None if dtype is None else _whole(dtype)
    ids = _of_npy(path) if path.suffix.lower() == ".npy" else _of_bin(path, wanted)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not ids.size:
        raise ValueError(f"it holds {ids.dtype} of shape {list(ids.shape)}, not a row of whole numbers")
    if wanted is not None and ids.dtype != wanted:
        raise ConfigError(Fault("data.dtype", dtype, f"must be null or {ids.dtype}, which {path} states"))
    return ids if ids.dtype.isnative else ids.astype(ids.dtype.newbyteorder("="))


def extremes(ids: np.ndarray) -> tuple[int, int]:
    """The smallest and the largest of `ids`. Raises ValueError where one is no token's id."""
    low, high = min(int(part.min()) for part in parts(ids)), max(int(part.max()) for part in parts(ids))
    if low < 0 or high > LARGEST:
        raise ValueError(f"it holds the id {low if low < 0 else high}")
    return low, high


def parts(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Stretches of `ids`, in order, that fit into memory."""
    return (ids[start : start + SCANNED] for start in range(0, len(ids), SCANNED))


def _whole(dtype: str) -> np.dtype:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        wanted = np.dtype(object)
    if wanted.kind not in "iu":
        must = "must be a whole-number type of numpy, such as uint8, uint16, uint32, int64, or >u2 for big-endian"
        raise ConfigError(Fault("data.dtype", dtype, must))
    return wanted


def _of_npy(path: Path) -> np.ndarray:
    found = np.load(path, mmap_mode="c", allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("it is an .npz archive of arrays; save the one with the ids by numpy.save")
    return found


def _of_bin(path: Path, wanted: np.dtype | None) -> np.ndarray:
    # mode "c" maps privately: torch wants a writable array, and nothing ever reaches the file
    if path.stat().st_size >= HEADER:
        magic, version, count = np.fromfile(path, "<i4", 3).tolist()
        if (magic, version) in LLM_C:
            ids = np.memmap(path, LLM_C[magic, version], "c", HEADER)
            if len(ids) != count:
                raise ValueError(f"its header says {count} tokens, and it holds {len(ids)}")
            return ids
    ids = np.memmap(path, wanted or UNSTATED, "c")
    if wanted is None:
        _refuse_other_types(ids)
    return ids


def _refuse_other_types(ids: np.ndarray) -> None:
    """Raise ConfigError where uint16 `ids` look like halves of wider ones, or like ones of the other byte order."""
    words = [max((int(part[place::4].max(initial=0)) for part in parts(ids)), default=0) for place in range(4)]
    if max(words[1], words[3]) < FEW <= max(words[0], words[2]):
        wide = "int64" if words[2] < FEW else "uint32"
        raise ConfigError(_looks_like(wide, f"every second id is below {FEW}"))
    octets = ids.view(np.uint8)
    low, high = (max(int(part[place::2].max(initial=0)) for part in parts(octets)) for place in range(2))
    if low < high:
        raise ConfigError(_looks_like(">u2", f"no lower byte is above {low}, but upper ones go to {high}"))


def _looks_like(dtype: str, why: str) -> Fault:
    must = f"read as uint16 {why}, as in a file of {dtype}"
    return Fault("data.dtype", None, must, f"give data.dtype={dtype}, or data.dtype=uint16 if the ids are so")
