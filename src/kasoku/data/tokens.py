"""Text as numbers: files of characters, bytes or token ids, memory-mapped, and the windows of a language model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from kasoku.data import text_files, token_files
from kasoku.data.memory import Batch, Gather
from kasoku.data.order import Order, permutation
from kasoku.faults import ConfigError, Fault

Level = Literal["char", "byte", "token"]
Sampling = Literal["random", "blocks"]

CPU = torch.device("cpu")
ASCII = 128
RESIDENT_BYTES = 1 << 30  # a larger file stays in host memory, its windows are sent to the device


@dataclass(frozen=True)
class Tokens:
    """A whole file: `ids` [N] of any whole-number type, `table` from an id to its class (None: they are the same)."""

    ids: Tensor
    num_classes: int
    table: Tensor | None = None
    characters: str = ""


def read(path: Path, level: Level, dtype: str | None = None, encoding: str | None = None) -> Tokens:
    """The file as numbers.

    `char`: classes are the distinct characters in order of their code points; an ASCII file is mapped, another decoded
    into memory (see `kasoku.data.text_files`). `byte`: mapped, 256 classes. `token`: a `.bin` or `.npy` file (see
    `kasoku.data.token_files`), mapped; classes up to the largest id. Raises ConfigError naming `data.<key>`.
    """
    if (level == "token") != (path.suffix.lower() in token_files.SUFFIXES):
        must = "must be char or byte for a text file, token for a .bin or .npy file"
        raise ConfigError(Fault("data.level", level, f"{must}, {path} is given"))
    for key, value, reads in (("dtype", dtype, "token"), ("encoding", encoding, "char")):
        if value is not None and level != reads:
            raise ConfigError(Fault(f"data.{key}", value, f"must be null for level={level}, {reads} alone reads it"))
    try:
        if level == "byte":
            return _bytes(path)
        return _characters(path, encoding) if level == "char" else _token_ids(path, dtype)
    except UnicodeError as error:
        name, why = getattr(error, "encoding", str(encoding)), getattr(error, "reason", error)
        must = f"must be {name.upper()} for level=char ({why} at byte {getattr(error, 'start', 0)})"
        fix = "give data.encoding, such as latin-1; data.level=byte takes any file"
        raise ConfigError(Fault("data.path", path, must, fix)) from error
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(Fault("data.path", path, f"must be a file that can be read ({error})")) from error


def _bytes(path: Path) -> Tokens:
    # mode "c" maps privately: torch wants a writable array, and nothing ever reaches the file
    return Tokens(torch.from_numpy(np.memmap(path, np.uint8, "c")), 256)


def _characters(path: Path, given: str | None) -> Tokens:
    counted = text_files.counts(path)
    encoding = text_files.encoding_of(path, counted, given)
    used = np.flatnonzero(counted)
    if encoding != text_files.UTF8 or used[-1] >= ASCII:
        return _decoded(text_files.decode(path, encoding))
    table = torch.zeros(256, dtype=torch.int64)
    table[used] = torch.arange(len(used))
    return Tokens(_bytes(path).ids, len(used), table, "".join(map(chr, used)))


def _decoded(text: str) -> Tokens:
    points, numbers = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    return Tokens(torch.from_numpy(numbers.astype(np.int32)), len(points), characters="".join(map(chr, points)))


def _token_ids(path: Path, dtype: str | None) -> Tokens:
    ids = token_files.read_ids(path, dtype)
    _, high = token_files.extremes(ids)
    # few operations of torch take unsigned numbers: the same bits as signed ones, put right by `widen`
    signed = ids if ids.dtype == np.uint8 else ids.view(f"i{ids.itemsize}")
    return Tokens(torch.from_numpy(signed), high + 1)


def widen(ids: Tensor, table: Tensor | None) -> Tensor:
    """int64 classes of `ids`; int16 holds the bits of uint16."""
    wide = ids.long()
    if ids.dtype == torch.int16:
        wide &= 0xFFFF
    return wide if table is None else table[wide]


@dataclass(frozen=True)
class Windows:
    """A stretch of a text: samples are x = ids[o : o + block_size] and y = ids[o + 1 : o + block_size + 1].

    For training the offsets o of an epoch are drawn by `sampling`: `random`, len // block_size anywhere in the stretch,
    so that an epoch shows each token once on average; `blocks`, side by side from a random first one, in random order.
    For evaluation they are 0, block_size, 2 * block_size, ...; `rest` is the shorter window that is left.
    """

    ids: Tensor
    table: Tensor | None
    block_size: int
    sampling: Sampling = "random"
    device: torch.device = CPU

    @property
    def row_bytes(self) -> int:
        return (self.block_size + 1) * torch.int64.itemsize

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.block_size

    def to(self, device: torch.device) -> Self:
        resident = self.ids.nbytes <= RESIDENT_BYTES
        table = None if self.table is None else self.table.to(device)
        return replace(self, ids=self.ids.to(device) if resident else self.ids, table=table, device=device)

    def order(self, seed: int) -> Order:
        blocks = self.sampling == "blocks"
        count = len(self.ids) // self.block_size - blocks
        return Order(count, seed, self._side_by_side if blocks else self._anywhere)

    def _anywhere(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randint(len(self.ids) - self.block_size, (count,), generator=rng)

    def _side_by_side(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randint(self.block_size, (1,), generator=rng) + self.block_size * permutation(count, rng)

    def gather(self, index: Tensor, epoch: int) -> Gather:
        index = index.to(self.ids.device)
        windows = self.ids.unfold(0, self.block_size + 1, 1)

        def gathered(part: slice) -> Batch:
            window = widen(windows[index[part]].to(self.device), self.table)
            return window[:, :-1], window[:, 1:]

        return gathered

    def batch(self, start: int, end: int) -> Batch:
        return self._blocks(start * self.block_size, end * self.block_size, self.block_size)

    def rest(self) -> list[Batch]:
        """The end of the stretch that fills no block: a batch of one window, or nothing."""
        start, end = len(self) * self.block_size, len(self.ids) - 1
        return [self._blocks(start, end, end - start)] if end > start else []

    def _blocks(self, start: int, end: int, length: int) -> Batch:
        ids = widen(self.ids[start : end + 1].to(self.device), self.table)
        return ids[:-1].view(-1, length), ids[1:].view(-1, length)
