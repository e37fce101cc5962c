"""Folders as people have them: hidden files, parts under their usual names, strays, links, pipes, rare classes."""

import io
import logging
import os
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kasoku.data import inspection, listing
from kasoku.data.folders import Parts, find
from kasoku.data.image_folder import ImageFolder
from kasoku.faults import ConfigError
from tests.data.test_image_folder import fill, ready


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


PNG = png()


def put(root: Path, *names: str, content: bytes = PNG) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def found(root: Path, val_fraction: float = 0.25) -> Parts:
    return find(root, val_fraction, 0.0, seed=0)


def images(parts: Parts, root: Path) -> list[str]:
    everything = {*parts.train.paths, *parts.val.paths, *parts.test.paths}
    return sorted(str(path.relative_to(root)) for path in everything)


def refusal(root: Path, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        ready(root, batch_size=1, **options)
    return str(caught.value)


CLASSES = [f"{name}/{number}.png" for name in ("a", "b") for number in range(4)]
JUNK = [
    ".ipynb_checkpoints/0-checkpoint.png",
    "a/.ipynb_checkpoints/0-checkpoint.png",
    "a/deep/.cache/0.png",
    "a/._0.png",
    "b/.DS_Store",
    "__MACOSX/a/0.png",
    "b/__MACOSX/0.png",
    "@eaDir/0.png",
    "a/@eaDir/0.png/thumb.png",
]


def test_hidden_files_at_any_depth_are_left_out_and_counted(tmp_path: Path):
    put(tmp_path, *CLASSES, *JUNK)
    parts = found(tmp_path)
    assert images(parts, tmp_path) == CLASSES
    assert parts.left_out == {"hidden": len(JUNK)}


def test_what_is_no_image_is_counted_by_its_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    put(tmp_path, *CLASSES)
    put(tmp_path, "a/Thumbs.db", "a/x.heic", "b/y.HEIC", "b/notes", "a/0.json", "b/1.part.2", content=b"no image")
    put(tmp_path, "stray.png")
    assert found(tmp_path).left_out == {
        ".db": 1, ".heic": 2, "without suffix": 2, ".json": 1, listing.OUTSIDE: 1,
    }  # fmt: skip
    with caplog.at_level(logging.INFO, "kasoku"):
        ready(tmp_path)
    assert f"data.root={tmp_path}: left out 2 .heic, 2 without suffix, 1 .db" in caplog.text


def test_any_suffix_of_a_format_counts_and_the_content_where_there_is_none(tmp_path: Path):
    names = [f"{name}/{image}" for name in ("a", "b") for image in ("0.jfif", "1.JPEG", "2.PnG", "3", "4.2019.08.01")]
    names += ["a/5.avif", "a/6.jp2", "b/7.TIF", "b/8.pbm", "b/9.mpo"]
    put(tmp_path, *names)
    assert images(found(tmp_path), tmp_path) == sorted(names)
    for format in ("JPEG", "GIF", "TIFF", "WEBP"):
        Image.new("RGB", (4, 4)).save(tmp_path / "a" / format, format)
    assert len(images(found(tmp_path), tmp_path)) == len(names) + 4


@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev", "Valid"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_the_parts_are_known_by_their_usual_names(tmp_path: Path, train: str, val: str, test: str):
    put(tmp_path, *(f"{train}/{name}" for name in CLASSES), f"{val}/a/v.png", f"{val}/b/v.png", f"{test}/a/t.png")
    put(tmp_path, "__MACOSX/train/a/0.png", "README.txt")
    parts = found(tmp_path)
    names = [sorted(path.name for path in files.paths) for files in (parts.train, parts.val, parts.test)]
    assert names == [sorted(name[2:] for name in CLASSES), ["v.png", "v.png"], ["t.png"]]
    assert parts.left_out == {"hidden": 1}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["car/0.png", "plane/0.png", "train/0.png"], ["car", "plane", "train"]),
        (["car/0.png", "plane/deep/0.png", "train/0.png"], ["car", "plane", "train"]),
        (["car/0.png", "test/0.png", "val/0.png"], ["car", "test", "val"]),
        (["exam/0.png", "test/0.png", "train/0.png"], ["exam", "test", "train"]),
    ],
)
def test_a_class_may_be_called_as_a_part(tmp_path: Path, names: list[str], classes: list[str]):
    put(tmp_path, *names, *(name.replace("0.png", "1.png") for name in names))
    assert found(tmp_path).classes == classes


def test_folders_beside_the_parts_are_left_out_with_a_count(tmp_path: Path):
    put(tmp_path, *(f"train/{name}" for name in CLASSES), "test/a/0.png", "extra/0.png", "extra/deep/1.png")
    parts = found(tmp_path)
    assert parts.classes == ["a", "b"]
    assert len(parts.test) == 1
    assert parts.left_out == {listing.OUTSIDE: 2}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/a/0.png", "extra/0.png"], "has [train] beside [extra]: parts, or classes?"),
        (["val/a/0.png", "test/a/0.png"], "has [val,test], but no folder train"),
        (["train/a/0.png", "val/a/0.png", "valid/a/0.png"], "has [val,valid]"),
        (["train/0.png", "test/0.png"], "must have a folder of images for each class"),
        (["a/0.heic", "a/1.heic", "b/0.png"], "has folders without images: [a], but 2 .heic"),
        (["a/.x.png", "b/0.png"], "has folders without images: [a], but 1 hidden"),
    ],
)
def test_what_could_be_read_in_two_ways_or_in_none_is_refused(tmp_path: Path, names: list[str], said: str):
    assert said in refusal(put(tmp_path, *names))


@pytest.mark.skipif(os.name != "posix", reason="pipes in folders are POSIX's")
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path):
    put(tmp_path, *CLASSES)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "b" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b" / "self.png").symlink_to(tmp_path / "b" / "self.png")
    os.mkfifo(tmp_path / "b" / "no_suffix")
    said = refusal(tmp_path)
    for name, noun in (("pipe", "pipe"), ("zero", "device"), ("gone", "link to nothing"), ("self", "link to nothing")):
        assert f"{name}.png must be an image file, it is a {noun}" in said
    os.mkfifo(tmp_path / "root")
    assert "is a pipe" in refusal(tmp_path / "root")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_are_followed_once(tmp_path: Path):
    put(tmp_path / "store", *CLASSES)
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "store" / "a")
    put(root, "b/0.png")
    (root / "b" / "more").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "store" / "b" / "loop").symlink_to(root / "b")
    assert Counter(found(root).train.labels.tolist()) + Counter(found(root).val.labels.tolist()) == {0: 4, 1: 5}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path):
    put(tmp_path, *CLASSES, "a/deep/0.png", "lost+found/x")
    try:
        for name in ("a/deep", "lost+found"):
            (tmp_path / name).chmod(0)
        assert f"{tmp_path / 'a' / 'deep'}: cannot be read" in refusal(tmp_path)
    finally:
        for name in ("a/deep", "lost+found"):
            (tmp_path / name).chmod(0o700)


def test_classes_of_one_image_are_trained_on_or_refused(tmp_path: Path):
    put(tmp_path, *CLASSES, "c/0.png", "d/0.png")
    for seed in range(20):
        parts = find(tmp_path, 0.4, 0.2, seed)
        assert {"c", "d"} <= {path.parent.name for path in parts.train.paths}
    assert "one of each class for training" in refusal(tmp_path, val_fraction=0.7)


def bomb(side: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_of_pixels_is_a_sentence(tmp_path: Path):
    put(put(tmp_path, *CLASSES), "b/big.png", content=bomb(20_000))
    said = refusal(tmp_path)
    assert "big.png has too many pixels" in said
    assert "shrink or remove it" in said
    assert len(said.splitlines()) == 2


def noise(suffix: str) -> bytes:
    file = io.BytesIO()
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(array).save(file, Image.registered_extensions()[suffix])
    return file.getvalue()


USUAL, RARE = (".png", ".jpg", ".gif", ".webp", ".tif", ".bmp"), (".ppm", ".avif", ".jp2", ".qoi", ".ico", ".tga")


@pytest.mark.parametrize(
    ("suffix", "share"),
    [
        *((suffix, share) for suffix in USUAL for share in (0.0, 0.02, 0.6, 0.98)),
        *((suffix, 0.6) for suffix in RARE),
        (".avif", 0.9),
    ],
)
def test_a_file_cut_short_is_known_before_training(tmp_path: Path, suffix: str, share: float):
    """Among more files than are decoded, and none of those."""
    whole = noise(suffix)
    put(tmp_path, *(f"a/{number}.png" for number in range(100)), "b/0.png", "b/1.png")
    put(tmp_path, f"a/1{suffix}", content=whole[: int(len(whole) * share)])
    assert f"1{suffix} must be an image" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [*USUAL, *RARE, ".pgm", ".dib"])
def test_a_whole_file_passes_for_whole_and_one_cut_short_does_not(tmp_path: Path, suffix: str):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(noise(suffix))
    assert inspection._is_whole(path)
    path.write_bytes(noise(suffix)[: len(noise(suffix)) * 99 // 100])
    assert not inspection._is_whole(path)


def test_every_broken_file_is_named_at_once(tmp_path: Path):
    put(tmp_path, *CLASSES)
    put(tmp_path, "a/x.png", "a/y.jpg", "b/z.gif", content=b"no image")
    assert refusal(tmp_path).startswith("wrong configuration, 3 faults:")


def test_verify_decodes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file whole at both ends and broken inside, beyond the few that are decoded in any case."""
    monkeypatch.setattr(inspection, "MOST_DECODED", 0)
    whole = bytearray(noise(".png"))
    whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    put(put(tmp_path, *CLASSES), "a/x.png", content=bytes(whole))
    ready(tmp_path, batch_size=1)
    assert "x.png must be an image" in refusal(tmp_path, verify=True)


def test_of_many_files_a_sample_from_everywhere_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(inspection, "MOST_HEADERS", 4)
    paths = sorted(fill(tmp_path).rglob("*.*"))
    assert inspection.evenly(paths, 4) == [paths[0], paths[6], paths[12], paths[18]]
    assert inspection.evenly(paths, 100) == paths
    with caplog.at_level(logging.INFO, "kasoku"):
        inspection.inspect(paths, None, everything=False)
    assert "4 of 24 image files looked at" in caplog.text


def test_greys_beyond_white_are_refused_before_training(tmp_path: Path):
    put(tmp_path, *CLASSES)
    Image.fromarray(np.full((4, 4), 90, np.float32)).save(tmp_path / "a" / "x.tif")
    assert "data.white=null: must be the grey value that is white" in refusal(tmp_path)
    assert ImageFolder(root=str(tmp_path), white=90, val_fraction=0.25, batch_size=1).setup() is None


def test_files_that_one_setting_puts_right_are_one_fault(tmp_path):
    for number in range(3):
        Image.fromarray(np.full((4, 4), 200.0, dtype=np.float32)).save(tmp_path / f"{number}.tif")
    with pytest.raises(ConfigError) as caught:
        inspection.inspect(sorted(tmp_path.iterdir()), None, everything=False)
    assert len(caught.value.faults) == 1
    assert "and those of 2 more files do not fit; give it" in str(caught.value)
