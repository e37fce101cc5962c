"""Text: vocabulary, split by position, training windows and a whole validation part."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kasoku.data.order import Shard
from kasoku.data.text import Text
from kasoku.faults import ConfigError

LINE = "to be, or not to be\n"
TEXT = LINE * 60


def ready(path: Path, **options: object) -> Text:
    data = Text(path=str(path), **({"block_size": 8, "batch_size": 4} | options))
    data.setup()
    return data


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "text.txt"
    path.write_bytes(text.encode())
    return path


def spelled(data: Text, ids: torch.Tensor) -> str:
    return "".join(data.characters[i] for i in ids.tolist())


def test_the_contract(tmp_path: Path):
    data = ready(written(tmp_path))
    x, y = next(iter(data.train_dataloader()))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((4, 8), torch.int64, (4, 8), torch.int64)
    assert (data.input_shape, data.num_classes, data.tokens_per_sample) == ((8,), len(set(TEXT)), 8)
    assert data.train_size == 1080 // 8
    assert data.characters == "".join(sorted(set(TEXT)))
    for row, shifted in zip(x, y, strict=True):
        assert spelled(data, row) in TEXT
        assert row[1:].tolist() == shifted[:-1].tolist()
        assert spelled(data, row) + spelled(data, shifted[-1:]) in TEXT


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("o", "ö"), TEXT.replace("t", "🙂")])
@pytest.mark.parametrize("test_fraction", [0.0, 0.2])
def test_the_parts_follow_one_another(tmp_path: Path, text: str, test_fraction: float):
    data = ready(written(tmp_path, text), test_fraction=test_fraction)
    size = len(text)
    ends = [0, int(size * (0.9 - test_fraction)), int(size * (1 - test_fraction)), size]
    parts = [data.train, data.val, *([data.test] if test_fraction else [])]
    for part, start, end in zip(parts, ends, ends[1:], strict=False):
        ids = torch.cat([x.flatten() for x, _ in [part.batch(0, len(part)), *part.rest()]])
        assert spelled(data, ids) == text[start : end - 1]  # the last token is predicted only
    if not test_fraction:
        assert data.test is data.val or torch.equal(data.test.ids, data.val.ids)


@pytest.mark.parametrize("eval_batch_size", [1, 3, 100])
def test_validation_predicts_each_token_once(tmp_path: Path, eval_batch_size: int):
    data = ready(written(tmp_path), eval_batch_size=eval_batch_size)
    batches = list(data.val_dataloader())
    assert len(batches) == len(data.val_dataloader())
    assert spelled(data, torch.cat([y.flatten() for _, y in batches])) == TEXT[1080 + 1 :]
    assert all(len(y) <= eval_batch_size for _, y in batches)


def test_processes_share_the_whole_blocks_of_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = ready(written(tmp_path), eval_batch_size=2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(data, "shard", lambda rank=rank: Shard(rank, 2))
        seen.append(list(data.val_dataloader()))
    assert len(seen[0]) == len(seen[1])
    targets = torch.cat([y.flatten() for part in seen for _, y in part])
    assert spelled(data, targets) == TEXT[1081 : 1081 + len(data.val) * 8]


def test_blocks_show_each_token_once_an_epoch(tmp_path: Path):
    numbers = np.arange(1000, dtype=np.uint16)
    numbers.tofile(tmp_path / "ids.bin")
    data = ready(tmp_path / "ids.bin", level="token", sampling="blocks", drop_last=False)
    starts = set()
    for epoch in range(20):
        data.order.set_epoch(epoch)
        x = torch.cat([x for x, _ in data.train_dataloader()])
        assert x.unique().numel() == x.numel() == data.train_size * 8 >= 900 - 16
        assert torch.equal(x, x[:, :1] + torch.arange(8))
        starts.add(int(x.min()))
    assert starts == set(range(8))


def test_random_windows_come_from_everywhere(tmp_path: Path):
    np.arange(50, dtype=np.uint16).tofile(tmp_path / "ids.bin")
    data = ready(tmp_path / "ids.bin", level="token", val_fraction=0.4, drop_last=False, batch_size=2)
    offsets = set()
    for epoch in range(200):
        data.order.set_epoch(epoch)
        offsets |= {int(i) for x, _ in data.train_dataloader() for i in x[:, 0]}
    assert offsets == set(range(30 - 8))


def test_bytes_and_token_files(tmp_path: Path):
    data = ready(written(tmp_path, "ÿ" + TEXT), level="byte")
    assert data.num_classes == 256
    assert data.val.batch(0, 1)[0].tolist() == [list(("ÿ" + TEXT).encode())[1081:1089]]
    ids = np.array([65535, 3, 40000] * 100)
    for dtype in (np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        np.save(tmp_path / "ids.npy", ids.astype(dtype))
        data = ready(tmp_path / "ids.npy", level="token")
        assert data.num_classes == 65536
        assert data.val.batch(0, 1)[0].tolist() == [ids[270:278].tolist()]
    assert ready(tmp_path / "ids.npy", level="token", vocab_size=70000).num_classes == 70000


def test_the_file_is_mapped_and_never_written(tmp_path: Path):
    path = written(tmp_path)
    data = ready(path)
    data.train.ids.fill_(0)
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": None}, "data.path=null: must name a text or token file; data.path=FILE"),
        ({"path": "nowhere.txt"}, "data.path=nowhere.txt: there is no such file"),
        ({"path": "."}, "data.path=.: is a folder"),
        ({"level": "token"}, "data.level=token: must be char or byte for a text file"),
        ({"level": "word"}, "data.level=word: must be one of char byte token"),
        ({"block_size": 100}, "data.block_size=100: must be at most half of the shortest part"),
        ({"vocab_size": 3}, "data.vocab_size=3: must be >= 9"),
        (
            {"val_fraction": 0.6, "test_fraction": 0.5},
            "data.val_fraction=0.6: val_fraction + test_fraction must be below 1",
        ),
        ({"batch_size": 1000}, "data.batch_size=1000: must be <= 135"),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        Text(**({"path": str(written(tmp_path)), "block_size": 8, "batch_size": 4} | options)).setup()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "level", "said"),
    [
        ("text.txt", b"", "char", "is empty"),
        ("text.txt", b"abc\xff" * 50, "char", "must be UTF-8 for level=char"),
        ("ids.bin", b"abc", "token", "must be a file that can be read"),
        ("ids.npy", b"no array", "token", "must be a file that can be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, level: str, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        ready(tmp_path / name, level=level)
    assert str(caught.value).startswith(f"wrong configuration:\n  data.path={tmp_path / name}: {said}")


@pytest.mark.parametrize("ids", [np.zeros((20, 20), int), np.linspace(0, 1, 100), np.arange(100) - 5])
def test_an_array_that_is_no_row_of_ids_is_named(tmp_path: Path, ids: np.ndarray):
    np.save(tmp_path / "ids.npy", ids)
    with pytest.raises(ConfigError, match="it holds"):
        ready(tmp_path / "ids.npy", level="token")
