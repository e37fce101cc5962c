"""From an image file to the pixels that a net sees: decode, crop, resize, mirror."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]  # left, top, right, bottom
NARROWEST = 3 / 4  # width over height of a random crop before it is clipped to the image, up to the inverse


@dataclass(frozen=True)
class Crop:
    """How an image becomes `size` x `size` pixels.

    Args:
        size: pixels of a side.
        flip: whether half of the training images are mirrored left-right.
        min_scale: least share of the image's area that a random crop has (C. Szegedy et al., arXiv 1409.4842); 1 for
            the square in the middle, which evaluation takes.
    """

    size: int
    flip: bool = False
    min_scale: float = 1.0


def pixels(path: Path, crop: Crop, rng: np.random.Generator | None) -> np.ndarray:
    """uint8 [3, size, size] of the image `path`: random by `rng`, or the middle square. OSError if it is broken."""
    with Image.open(path) as image:
        if rng is not None and crop.min_scale < 1:
            box = random_box(image.size, crop.min_scale, rng)
        else:
            box = middle(image.size)
        box = drafted(image, box, crop.size)
        small = image.convert("RGB").resize((crop.size, crop.size), Image.Resampling.BILINEAR, box)
    array = np.asarray(small)
    if rng is not None and crop.flip and rng.random() < 0.5:
        array = array[:, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def drafted(image: Image.Image, box: Box, size: int) -> Box:
    """`box` in the pixels of `image`, which is a JPEG decoded at a half, quarter or eighth where that is enough."""
    spare = min(box[2] - box[0], box[3] - box[1]) / size
    if spare < 2:
        return box
    width, height = image.size
    image.draft("RGB", (int(width / spare), int(height / spare)))
    across, down = image.size[0] / width, image.size[1] / height
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


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
