"""Hugging Face's datasets from disk: dicts of tensors, parts by their names, classes by their feature."""

import sys
from pathlib import Path

import pytest
import torch

from kasoku.data.foreign import datamodule
from kasoku.data.huggingface import from_disk
from kasoku.faults import ConfigError
from tests.conftest import run_here
from tests.data.own import plane


def test_without_the_package_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"data=huggingface: needs a package .*; pip install datasets"):
        from_disk(str(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    labels = datasets.ClassLabel(names=["below", "above"])

    def part(size: int, seed: int):
        x, y = plane(size, seed)
        made = datasets.Dataset.from_dict({"features": x.tolist(), "label": y.tolist(), "name": ["a"] * size})
        return made.cast_column("label", labels)

    part(50, 0).save_to_disk(str(tmp_path / "one"))
    parts = {"train": part(40, 0), "validation": part(10, 1), "test": part(5, 2)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "parts"))
    return tmp_path


def test_samples_are_dicts_of_tensors(folder: Path):
    data = datamodule(from_disk(str(folder / "one"), ["features", "label"]), {"batch_size": 9}, "one")
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "features": ((9, 4), torch.float32),
        "label": ((9,), torch.int64),
    }
    assert (data.num_classes, data.train_size) == (2, 45)
    x, _ = plane(50, 0)
    shown = torch.cat(
        [batch["features"] for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]
    )
    torch.testing.assert_close(shown.sort(0).values, x.sort(0).values)


def test_parts_are_known_by_their_names(folder: Path):
    data = datamodule(from_disk(str(folder / "parts")), {"batch_size": 8}, "parts")
    data.setup()
    sizes = [sum(len(batch["label"]) for batch in loader) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert (data.train_size, sizes) == (40, [10, 5])
    assert next(iter(data.val_dataloader()))["name"] == ["a"] * 10


def test_it_trains(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KASOKU_TRUST", "tests.data.own")
    overrides = (
        "data=huggingface",
        f"data.path={folder / 'parts'}",
        "data.columns=[features,label]",
        "data.batch_size=8",
        "model=mlp",
        "model.net._target_=tests.data.own.NamedNet",
        "target.metric=val/loss",
        "target.mode=min",
        "trainer=cpu",
        "trainer.max_epochs=2",
        "logger=none",
    )
    assert run_here(tmp_path / "run", *overrides) == 0


def test_refused(folder: Path):
    for path, columns, said in (
        (None, None, "data.path=null: must name a folder"),
        (str(folder / "nowhere"), None, "there is no such folder"),
        (str(folder), None, "must be a folder that save_to_disk wrote"),
        (
            str(folder / "one"),
            ["feature"],
            "no such column, the columns are: features label name; did you mean features?",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            from_disk(path, columns)
        assert said in str(caught.value)
    (folder / "one" / "state.json").write_text("{")
    with pytest.raises(ConfigError, match="must be a folder that save_to_disk wrote"):
        from_disk(str(folder / "one"))
