"""Image files as RGB pixels the right way up, whatever their mode, depth, transparency and orientation."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from kasoku.faults import ConfigError, Fault

# Of Pillow's formats those of pixels alone: some others start programs (EPS) or read what is no picture (HDF5).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI", "ICO", "TGA")
UPRIGHT = {  # EXIF 2.32, tag 0x0112, by the turn that puts the stored pixels right
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0
TWO_BYTES = 0xFFFF


def opened(path: Path) -> Image.Image:
    """The image `path`, of which the header alone is read. Raises what Pillow raises: see `fault`."""
    return Image.open(path, formats=FORMATS)


def fault(path: Path, error: Exception) -> Fault:
    """The fault of an image that cannot be opened or decoded."""
    if isinstance(error, ConfigError):
        return error.faults[0]
    if isinstance(error, Image.DecompressionBombError):
        return Fault("data.root", path.parent, f"{path.name} has too many pixels ({error})", "shrink or remove it")
    must = f"{path} must be an image ({type(error).__name__}: {error})"
    return Fault("data.root", path.parent, must, "repair or remove it")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, of an `image` whose pixels are stored in that way; 1 if its EXIF is broken."""
    if image.format == "TIFF":
        return 1  # Pillow turns it while it decodes
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # it fails in any way, and the pixels are whole
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of `image` the right way up, before it is decoded."""
    width, height = image.size
    return (height, width) if orientation(image) in SIDEWAYS else (width, height)


def upright(image: Image.Image, white: float | None = None) -> Image.Image:
    """`image` decoded, as RGB, the right way up: its first frame, transparency laid on white.

    Grey values of more than 8 bits are scaled so that `white` becomes 255. By default that is 1 for floats and the
    largest value of 16 bits, or of the bits that a TIFF states. Colour profiles are not applied.

    Raises:
        ConfigError: grey values are below 0, above white, or of 32 bits without a `white`.
    """
    turn = UPRIGHT.get(orientation(image))
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, white)
    if image.has_transparency_data:
        image = _on_white(image)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper


def _eight_bits(image: Image.Image, white: float | None) -> Image.Image:
    """L, or LA where one grey value is declared transparent."""
    values = np.asarray(image)
    top = _largest(image) if white is None else white
    low, high = values.min(), values.max()
    if top is None or not (low >= 0 and high <= top):  # not a number is neither
        name, span = getattr(image, "filename", "") or "the image", f"go from {low:g} to {high:g}"
        must = f"must be the grey value that is white, the {values.dtype.name} pixels of {name} {span}"
        raise ConfigError(Fault("data.white", white, must, "give it, or scale the files"))
    grey = np.rint(values * (255 / top)).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if transparent is None:
        return Image.fromarray(grey)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _largest(image: Image.Image) -> float | None:
    """The value of white by the file's format; None where it does not say."""
    if image.mode == "F":
        return 1.0
    if image.mode == "I":
        return TWO_BYTES if image.format in ("PPM", "PNG") else None  # Pillow scales a PGM to 16 bits
    bits = image.tag_v2.get(BITS, (16,))[0] if image.format == "TIFF" else 16  # type: ignore[attr-defined]
    return 2**bits - 1
