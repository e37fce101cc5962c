"""Text in any encoding and token ids of any type have the samples of their plain twin, or are refused with the fix."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kasoku.data.text import Text
from kasoku.data.tokens import widen
from kasoku.faults import ConfigError
from tests.data.test_text import LINE, ready

GERMAN = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\r\n" * 40
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю.\n" * 40
HINDI = "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश\n" * 40
JAPANESE = "いろはにほへと ちりぬるを 散りぬるを我が世誰ぞ常ならむ\n" * 40
IDS = np.random.default_rng(0).zipf(1.2, 4000) % 50257
BIG = IDS + 70_000 * (np.arange(4000) % 7 == 0)


def whole(data: Text) -> torch.Tensor:
    """The classes of the whole file."""
    return torch.cat([widen(part.ids, part.table) for part in (data.train, data.val)])


def same(one: Text, other: Text) -> bool:
    return torch.equal(whole(one), whole(other)) and (one.num_classes, one.characters) == (
        other.num_classes,
        other.characters,
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        ready(path, **options)
    return str(caught.value)


@pytest.fixture
def twin(tmp_path: Path):
    return lambda text: ready(written(tmp_path / "twin.txt", text.encode("utf-8")))


@pytest.mark.parametrize("text", [LINE * 60, GERMAN, RUSSIAN, HINDI, JAPANESE], ids=["ascii", "de", "ru", "hi", "ja"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_says_the_encoding(tmp_path: Path, twin, text: str, encoding: str):
    assert same(ready(written(tmp_path / "a.txt", text.encode(encoding))), twin(text))


@pytest.mark.parametrize("text", [LINE * 60, GERMAN, RUSSIAN, HINDI, JAPANESE], ids=["ascii", "de", "ru", "hi", "ja"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf_16_and_32_without_a_mark_is_refused_and_read_with_the_key(tmp_path: Path, twin, text: str, encoding: str):
    path = written(tmp_path / "a.txt", text.encode(encoding))
    said = refusal(path)
    assert f"data.encoding={encoding}" in said or "must be UTF-8" in said
    assert same(ready(path, encoding=encoding), twin(text))


@pytest.mark.parametrize(("text", "encoding"), [(GERMAN, "latin-1"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift-jis")])
def test_another_encoding_is_refused_and_read_with_the_key(tmp_path: Path, twin, text: str, encoding: str):
    path = written(tmp_path / "a.txt", text.encode(encoding))
    assert "give data.encoding, such as latin-1; data.level=byte takes any file" in refusal(path)
    assert same(ready(path, encoding=encoding), twin(text))


def test_text_with_some_control_characters_is_text(tmp_path: Path):
    text = (LINE + "\0\x1b[1m\f\r\n") * 60
    path = written(tmp_path / "a.txt", text.encode())
    assert ready(path).characters == "".join(sorted(set(text)))
    assert ready(written(tmp_path / "b.txt", b"a\0" * 500), encoding="utf-8").characters == "\0a"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoding": "utf-9"}, "data.encoding=utf-9: must be an encoding of text that Python knows"),
        ({"encoding": "zlib"}, "data.encoding=zlib: must be an encoding of text"),
        ({"encoding": "ascii"}, "must be ASCII for level=char"),
        ({"encoding": "utf-8", "level": "byte"}, "data.encoding=utf-8: must be null for level=byte"),
        ({"dtype": "uint16"}, "data.dtype=uint16: must be null for level=char"),
    ],
)
def test_keys_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, object], said: str):
    assert said in refusal(written(tmp_path / "a.txt", GERMAN.encode()), **options)


ORDERS = ("<", ">")


@pytest.mark.parametrize("dtype", [f"{order}{kind}" for order in ORDERS for kind in ("u4", "i4", "i8", "u8")])
def test_npy_files_are_read_by_their_header(tmp_path: Path, dtype: str):
    np.save(tmp_path / "ids.npy", BIG.astype(dtype))
    assert whole(ready(tmp_path / "ids.npy", level="token")).tolist() == BIG.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "<u4", ">u2", ">u4", "int64", ">i8"])
def test_bin_files_are_read_by_the_key(tmp_path: Path, dtype: str):
    ids = IDS % 256 if dtype == "uint8" else BIG if np.dtype(dtype).itemsize > 2 else IDS
    ids.astype(dtype).tofile(tmp_path / "ids.bin")
    assert whole(ready(tmp_path / "ids.bin", level="token", dtype=dtype)).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("ids", "dtype", "advised"),
    [
        (IDS, "<u4", "uint32"),
        (BIG, "<u4", "uint32"),
        (IDS, "<i8", "int64"),
        (BIG, "<i8", "int64"),
        (IDS, ">u2", ">u2"),
    ],
)
def test_a_bin_file_of_another_type_is_refused_with_its_type(tmp_path: Path, ids: np.ndarray, dtype: str, advised: str):
    ids.astype(dtype).tofile(tmp_path / "ids.bin")
    assert f"give data.dtype={advised}, or data.dtype=uint16" in refusal(tmp_path / "ids.bin", level="token")


@pytest.mark.parametrize("ids", [IDS, IDS % 256, IDS % 60, np.arange(4000), np.zeros(4000, int)])
def test_a_bin_file_of_uint16_needs_no_key(tmp_path: Path, ids: np.ndarray):
    ids.astype("<u2").tofile(tmp_path / "ids.bin")
    assert whole(ready(tmp_path / "ids.bin", level="token")).tolist() == ids.tolist()


@pytest.mark.parametrize(("magic", "version", "dtype", "ids"), [(20240520, 1, "<u2", IDS), (20240801, 7, "<u4", BIG)])
def test_bin_files_of_llm_c_are_read_by_their_header(
    tmp_path: Path, magic: int, version: int, dtype: str, ids: np.ndarray
):
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(ids)
    path = written(tmp_path / "ids.bin", header.tobytes() + ids.astype(dtype).tobytes())
    assert whole(ready(path, level="token")).tolist() == ids.tolist()
    written(path, path.read_bytes()[:-200])
    assert "its header says 4000 tokens, and it holds" in refusal(path, level="token")


class Thing:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("it_ran",)


def test_files_that_hold_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ids.npy"
    npz = tmp_path / "ids.npz"
    np.savez_compressed(npz, ids=IDS)
    things = np.empty(100, object)
    things[:] = [Thing() for _ in range(100)]
    for content, said in (
        (npz.read_bytes(), "it is an .npz archive of arrays"),
        (things, "Python objects"),
        (things.dumps(), "must be a file that can be read"),
        (np.zeros(100, bool), "it holds bool"),
        (np.zeros(100, "M8[s]"), "it holds datetime64"),
        (np.zeros(100, [("id", "u2"), ("x", "u2")]), "not a row of whole numbers"),
        (np.array(5), "of shape []"),
        (np.full(100, 2**40), "it holds the id 1099511627776"),
        (np.full(100, 2**63, np.uint64), "it holds the id 9223372036854775808"),
        (
            b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<u2', 'fortran_order': False, 'shape': (10**15,), }".ljust(118),
            "",
        ),
    ):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        assert f"data.path={path}: must be a file that can be read" in refusal(path, level="token")
        assert said in refusal(path, level="token")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float32", "data.dtype=float32: must be a whole-number type"),
        ("words", "data.dtype=words: must be a whole-number type"),
        ("uint16", "data.dtype=uint16: must be null or int64, which"),
    ],
)
def test_types_that_cannot_be_are_refused(tmp_path: Path, dtype: str, said: str):
    np.save(tmp_path / "ids.npy", IDS)
    assert said in refusal(tmp_path / "ids.npy", level="token", dtype=dtype)


@pytest.mark.skipif(os.name != "posix", reason="pipes in folders are POSIX's")
@pytest.mark.parametrize(
    ("name", "level"), [("a.txt", "char"), ("a.txt", "byte"), ("a.bin", "token"), ("a.npy", "token")]
)
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path, name: str, level: str):
    os.mkfifo(tmp_path / name)
    assert f"data.path={tmp_path / name}: is a pipe" in refusal(tmp_path / name, level=level)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    assert "is a device" in refusal(tmp_path / name, level=level)
