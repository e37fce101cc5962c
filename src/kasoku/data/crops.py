"""From an image file to the pixels that a net sees: decode, crop, resize, mirror."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kasoku.data.decoding import opened, upright, upright_size

Box = tuple[float, float, float, float]  # left, top, right, bottom
NARROWEST = 3 / 4  # width over height of a random crop before it is clipped to the image, up to the inverse


@dataclass(frozen=True)
class Crop:
    """Cuts and scales an image to `size` x `size` pixels.

    Args:
        size: pixels of a side.
        flip: mirrors half of the training images left-right.
        min_scale: least share of the image's area that a random crop has (C. Szegedy et al., arXiv 1409.4842); 1 for
            the square in the middle, which evaluation takes.
        white: the grey value that is white in images of more than 8 bits, see `kasoku.data.decoding.upright`.
    """

    size: int
    flip: bool = False
    min_scale: float = 1.0
    white: float | None = None


def pixels(path: Path, crop: Crop, rng: np.random.Generator | None) -> np.ndarray:
    """uint8 [3, size, size] of the image `path`: random by `rng`, or the middle square.

    Raises what Pillow raises for a broken file (see `kasoku.data.decoding.fault`), ConfigError naming `data.white`.
    """
    with opened(path) as image:
        size = upright_size(image)
        if rng is not None and crop.min_scale < 1:
            box = random_box(size, crop.min_scale, rng)
        else:
            box = middle(size)
        draft(image, min(box[2] - box[0], box[3] - box[1]) / crop.size)
        whole = upright(image, crop.white)
    across, down = whole.width / size[0], whole.height / size[1]
    box = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    array = np.asarray(whole.resize((crop.size, crop.size), Image.Resampling.BILINEAR, box))
    if rng is not None and crop.flip and rng.random() < 0.5:
        array = array[:, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def draft(image: Image.Image, spare: float) -> None:
    """Have a JPEG decoded at a half, quarter or eighth, where it has `spare` times the pixels of a side needed."""
    if spare >= 2:
        image.draft("RGB", (int(image.width / spare), int(image.height / spare)))


def middle(size: tuple[int, int]) -> Box:
    """The largest square in the middle of an image of `size` (width, height)."""
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def random_box(size: tuple[int, int], min_scale: float, rng: np.random.Generator) -> Box:
    """A crop whose share of `size` (from `min_scale` to 1), shape and place are random."""
    area = size[0] * size[1] * rng.uniform(min_scale, 1)
    shape = math.exp(rng.uniform(math.log(NARROWEST), -math.log(NARROWEST)))
    width, height = min(size[0], math.sqrt(area * shape)), min(size[1], math.sqrt(area / shape))
    left, top = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
    return left, top, left + width, top + height
