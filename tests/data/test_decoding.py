"""A folder of images in any mode, depth, transparency and orientation gives the tensors of its twin in plain RGB."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kasoku.data import decoding
from kasoku.data.crops import Crop, pixels
from kasoku.faults import ConfigError

WIDTH, HEIGHT = 20, 12
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
PICTURE = Image.fromarray(RGB)
PALETTE = PICTURE.quantize(8)
ORIENTATION = 0x0112


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def laid_on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share))


def white_where(mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], 255, colours)


def read(content: bytes, white: float | None = None) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=decoding.FORMATS) as image:
        return np.asarray(decoding.upright(image, white)).astype(int)


def saved(image: Image.Image, suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[suffix], **options)
    return file.getvalue()


def png_of_16_bits(colours: np.ndarray, transparent: np.ndarray) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in colours)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    key = struct.pack(">HHH", *(transparent.astype(int) * 257).tolist())
    parts = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def inverted_tiff(values: np.ndarray) -> bytes:
    """A TIFF of 16 bits whose zero is white."""
    content = saved(Image.fromarray(values), ".tif")
    tag = struct.pack("<HHI", 262, 3, 1)
    place = content.index(tag) + len(tag)
    return content[:place] + struct.pack("<I", 0) + content[place + 4 :]


DEEP = GREY.astype(np.uint16) * 257
TWELVE = np.rint(GREY / 255 * 4095)
FIRST = int(GREY[0, 0])
ALIKE = np.all(RGB[0, 0] == RGB, axis=-1)
CASES: dict[str, tuple[bytes, np.ndarray]] = {
    "RGB": (saved(PICTURE, ".png"), RGB),
    "L": (saved(Image.fromarray(GREY), ".png"), grey(GREY)),
    "1": (saved(Image.fromarray(GREY > 127), ".png"), grey(np.where(GREY > 127, 255, 0))),
    "16 bit PNG": (saved(Image.fromarray(DEEP), ".png"), grey(GREY)),
    "16 bit TIFF": (saved(Image.fromarray(DEEP), ".tif"), grey(GREY)),
    "16 bit TIFF, big-endian": (saved(Image.fromarray(DEEP.astype(">u2")), ".tif"), grey(GREY)),
    "16 bit TIFF, zero is white": (inverted_tiff(DEEP), grey(255 - GREY)),
    "16 bit JPEG 2000": (saved(Image.fromarray(DEEP), ".jp2"), grey(GREY)),
    "12 bit PGM": (b"P5 20 12 4095\n" + TWELVE.astype(">u2").tobytes(), grey(GREY)),
    "float TIFF": (saved(Image.fromarray((GREY / 255).astype(np.float32)), ".tif"), grey(GREY)),
    "RGBA": (saved(Image.fromarray(np.dstack([RGB, ALPHA])), ".png"), laid_on_white(RGB, ALPHA)),
    "RGBA WebP": (
        saved(Image.fromarray(np.dstack([RGB, ALPHA])), ".webp", lossless=True, exact=True),
        laid_on_white(RGB, ALPHA),
    ),
    "LA": (saved(Image.fromarray(np.dstack([GREY, ALPHA])), ".png"), laid_on_white(grey(GREY), ALPHA)),
    "P": (saved(PALETTE, ".png"), np.asarray(PALETTE.convert("RGB"))),
    "P, one colour transparent": (
        saved(PALETTE, ".png", transparency=3),
        white_where(np.asarray(PALETTE) == 3, np.asarray(PALETTE.convert("RGB"))),
    ),
    "P, alpha for each colour": (
        saved(PALETTE, ".png", transparency=bytes([255, 255, 128, 0, 255, 255, 255, 255])),
        laid_on_white(
            np.asarray(PALETTE.convert("RGB")), np.array([255, 255, 128, 0, *[255] * 4])[np.asarray(PALETTE)]
        ),
    ),
    "GIF, transparent": (
        saved(PALETTE, ".gif", transparency=3),
        white_where(np.asarray(PALETTE) == 3, np.asarray(PALETTE.convert("RGB"))),
    ),
    "RGB, one colour transparent": (
        saved(PICTURE, ".png", transparency=tuple(map(int, RGB[0, 0]))),
        white_where(ALIKE, RGB),
    ),
    "L, one grey transparent": (
        saved(Image.fromarray(GREY), ".png", transparency=FIRST),
        white_where(GREY == FIRST, grey(GREY)),
    ),
    "16 bit, one grey transparent": (
        saved(Image.fromarray(DEEP), ".png", transparency=FIRST * 257),
        white_where(GREY == FIRST, grey(GREY)),
    ),
    "16 bit RGB, one colour transparent": (
        png_of_16_bits(RGB, RGB[0, 0]),
        white_where(ALIKE, RGB),
    ),
    "CMYK TIFF": (saved(PICTURE.convert("CMYK"), ".tif"), RGB),
    "CMYK JPEG": (saved(PICTURE.convert("CMYK"), ".jpg", quality=100, subsampling=0), RGB),
    "YCbCr TIFF": (saved(PICTURE.convert("YCbCr"), ".tif"), np.asarray(PICTURE.convert("YCbCr").convert("RGB"))),
    "LAB TIFF": (saved(PICTURE.convert("LAB"), ".tif"), np.asarray(PICTURE.convert("LAB").convert("RGB"))),
    "BMP": (saved(PICTURE, ".bmp"), RGB),
    "TGA": (saved(PICTURE, ".tga"), RGB),
    "QOI": (saved(PICTURE, ".qoi"), RGB),
}


@pytest.mark.parametrize("name", CASES)
def test_any_image_has_the_pixels_of_its_twin(name: str):
    content, want = CASES[name]
    assert np.abs(read(content) - want).max() <= (1 if "JPEG" in name or "alpha" in name else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".mpo"])
def test_any_orientation_gives_the_tensor_of_the_upright_twin(tmp_path: Path, suffix: str, orientation: int):
    """Squares from anywhere in the picture: the crop is chosen in the upright picture, whose sides may have swapped."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    PICTURE.save(tmp_path / f"turned{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(tmp_path / f"turned{suffix}") as image:
        twin = ImageOps.exif_transpose(image).convert("RGB")
    assert twin.size == ((HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT))
    twin.save(tmp_path / "twin.png")
    for rng in (lambda: None, lambda: np.random.default_rng(1)):
        turned, upright = (pixels(tmp_path / n, Crop(8, True, 0.3), rng()) for n in (f"turned{suffix}", "twin.png"))
        np.testing.assert_array_equal(turned, upright)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_turned_jpeg_is_cropped_as_if_it_were_decoded_whole(tmp_path: Path, orientation: int):
    ramp = np.add.outer(np.arange(400), 2 * np.arange(600)).astype(np.float32)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = Image.fromarray(grey((ramp / 8).astype(np.uint8)))
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    picture.save(tmp_path / "a.png", exif=exif)
    for seed in range(5):
        drafted, whole = (
            pixels(tmp_path / name, Crop(32, True, 0.5), np.random.default_rng(seed)) for name in ("a.jpg", "a.png")
        )
        assert np.abs(drafted.astype(int) - whole).max() <= 6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@given(st.data())
def test_a_broken_exif_costs_no_image(suffix: str, data: st.DataObject):
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = 6, "a description"
    content = bytearray(exif.tobytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(1, len(content)))])
    read(saved(PICTURE, suffix, exif=cut))


def floats(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values.astype(np.float32)), ".tif")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (floats(GREY), "the float32 pixels of the image go from"),
        (floats(GREY / 255 - 0.5), "go from -0.492157 to 0.496078"),
        (floats(np.where(GREY > 100, np.nan, 0)), "go from nan to nan"),
        (saved(Image.fromarray(GREY.astype(np.int32)), ".tif"), "the int32 pixels"),
    ],
)
def test_greys_whose_white_is_not_known_are_refused(content: bytes, said: str):
    with pytest.raises(ConfigError, match=r"data.white=null: must be the grey value that is white") as caught:
        read(content)
    assert said in str(caught.value)


def test_white_is_what_the_key_says():
    for content in (floats(GREY), saved(Image.fromarray(GREY.astype(np.int32)), ".tif")):
        np.testing.assert_array_equal(read(content, white=255), grey(GREY))
    twelve_in_sixteen = saved(Image.fromarray(TWELVE.astype(np.uint16)), ".png")
    np.testing.assert_array_equal(read(twelve_in_sixteen, white=4095), grey(GREY))
    with pytest.raises(ConfigError, match=r"data.white=100: must be"):
        read(twelve_in_sixteen, white=100)


def test_formats_that_start_programs_are_not_opened(tmp_path: Path):
    PICTURE.save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(OSError, match="cannot identify image file"):
        decoding.opened(tmp_path / "a.png")
