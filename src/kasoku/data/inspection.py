"""Image files looked at before training, so that a broken one is known before the first step."""

import logging
import math
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from kasoku.data import decoding
from kasoku.faults import ConfigError, Fault

log = logging.getLogger("kasoku")

MOST_HEADERS = 20_000  # about a second from a warm disk
MOST_DECODED = 32
THREADS = 8
ONE_BYTE = 255
# The end of a whole file, and how many of its last bytes to look for it in: programs append to JPEGs.
ENDS = {
    "JPEG": (b"\xff\xd9", 4096),
    "MPO": (b"\xff\xd9", 4096),
    "JPEG2000": (b"\xff\xd9", 64),
    "PNG": (b"IEND", 64),
    "GIF": (b";", 1),
    "QOI": (b"\0\0\0\0\0\0\0\1", 8),
}
STRIPS, TILES = (273, 279), (324, 325)  # TIFF 6.0: tags of their offsets and byte counts


def inspect(paths: Sequence[Path], white: float | None, everything: bool) -> None:
    """Open every image of `paths`, or MOST_HEADERS of them evenly drawn, and decode those that seem cut short.

    A few are decoded in any case, and all of them where `everything` is asked for. Raises ConfigError with a fault for
    each file that cannot be read.
    """
    looked_at = list(paths) if everything else evenly(paths, MOST_HEADERS)
    if len(looked_at) < len(paths):
        log.info("%d of %d image files looked at; data.verify=true decodes all", len(looked_at), len(paths))
    decoded = set(looked_at if everything else evenly(looked_at, MOST_DECODED))

    def judge(path: Path) -> Fault | None:
        return _decoded(path, white, everything) if path in decoded or not _is_whole(path) else None

    shares = [looked_at[first :: 4 * THREADS] for first in range(4 * THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = [fault for faults in pool.map(_each(judge), shares) for fault in faults]
    if found:
        raise ConfigError(*_alike_once(sorted(found, key=str)))


def _alike_once(faults: Sequence[Fault]) -> list[Fault]:
    """`faults` with one for all files that one setting puts right; a broken file each has its own."""
    broken = [fault for fault in faults if fault.key == "data.root"]
    others = [fault for fault in faults if fault.key != "data.root"]
    if len(others) > 1:
        others = [replace(others[0], must=f"{others[0].must}, and those of {len(others) - 1} more files do not fit")]
    return [*others, *broken]


def evenly(items: Sequence[Path], count: int) -> list[Path]:
    """`count` of `items` from everywhere, all of them where there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


def _each(judge: Callable[[Path], Fault | None]) -> Callable[[Sequence[Path]], list[Fault]]:
    return lambda paths: [fault for path in paths if (fault := judge(path))]


def _is_whole(path: Path) -> bool:
    """True if the header of `path` can be read and the file is as long as it says, or ends as its format does."""
    try:
        size = path.stat().st_size
        with decoding.opened(path) as image:
            end, length = ENDS.get(str(image.format), (b"", 0))
            if size < _stated_size(image):
                return False
            is_boxed = image.format == "AVIF"
        with path.open("rb") as file:
            if is_boxed and size < _end_of_boxes(file):
                return False
            file.seek(-min(length, size), os.SEEK_END)
            return end in file.read()
    except Exception:  # broken files fail in any way; `_decoded` says how
        return False


def _stated_size(image: Image.Image) -> float:
    """The bytes that the header of `image` says the file has; 0 where its end tells, inf where only decoding does."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        spans = [zip(tags.get(start, ()), tags.get(count, ()), strict=False) for start, count in (STRIPS, TILES)]
        return max(start + count for span in spans for start, count in span)
    if image.format in ("BMP", "DIB"):
        _, (_, _, _, height), offset, (_, stride, _) = image.tile[0]  # type: ignore[attr-defined]
        return offset + height * stride
    if image.format in ("PPM", "TGA"):
        decoder, (_, _, width, height), offset, args = image.tile[0]  # type: ignore[attr-defined]
        if decoder not in ("raw", "ppm"):  # run lengths, or digits: only decoding tells
            return math.inf
        deep = image.mode.startswith("I") or (decoder == "ppm" and args[-1] > ONE_BYTE)
        bits = 1 if image.mode == "1" else 8 * len(image.getbands()) * (2 if deep else 1)
        return offset + height * math.ceil(width * bits / 8)
    return 0


def _end_of_boxes(file: BinaryIO) -> int:
    """The end, in bytes, of the last box that says its size: ISO/IEC 14496-12, 4.2."""
    end = 0
    while len(head := file.read(16)) >= 8:
        (size,) = struct.unpack(">I", head[:4])
        if size == 1:
            (size,) = struct.unpack(">Q", head[8:16])
        if size < 8:  # up to the end of the file
            return end
        end += size
        file.seek(end)
    return end


def _decoded(path: Path, white: float | None, checksums: bool) -> Fault | None:
    try:
        if checksums:  # which decoding leaves alone
            with decoding.opened(path) as image:
                image.verify()
        with decoding.opened(path) as image:
            decoding.upright(image, white)
    except Exception as error:  # broken files fail in any way
        return decoding.fault(path, error)
    return None
