"""The best weights are those that a ModelCheckpoint tracks; the last those that a run can be gone on from."""

import json
import os
from pathlib import Path

import pytest
import torch

from kasoku.config.directory import last_checkpoint, overrides_of
from tests.conftest import SMALL, read_result, run_here

# Early in this run val/acc is best and val/loss is not: the best weights and the last ones differ.
RUN = (*SMALL, "trainer.max_epochs=11", "optimizer.lr=0.03", "scheduler=constant", "warmup=none")
CHECKPOINT = "pytorch_lightning.callbacks.ModelCheckpoint"


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("usual")
    assert run_here(directory, *RUN) == 0
    return directory


def figures(directory: Path) -> dict[str, float]:
    return {name: v for name, v in read_result(directory)["metrics"].items() if name.startswith("test/")}


def test_the_best_weights_are_not_the_last(usual):
    best, last = (torch.load(usual / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["global_step"] == read_result(usual)["best"]["step"] < last["global_step"]


@pytest.mark.sample(5)
@pytest.mark.parametrize(
    "overrides",
    [
        ['callbacks.best.filename="epoch_{epoch:03d}"'],
        ['callbacks.best.filename="best-{val/acc:.3f}"'],
        ["+callbacks.best.dirpath=elsewhere"],
        ["+callbacks.best.save_top_k=2", 'callbacks.best.filename="{step}"'],
        [
            "~callbacks.best",
            f"+callbacks.mine._target_={CHECKPOINT}",
            "+callbacks.mine.monitor=val/acc",
            "+callbacks.mine.mode=max",
            "+callbacks.mine.save_last=true",
        ],
    ],
    ids=lambda value: value[-1],
)
def test_they_are_tested_whatever_they_are_called_and_wherever_they_lie(tmp_path, monkeypatch, usual, overrides):
    monkeypatch.chdir(tmp_path)
    assert run_here(tmp_path / "run", *RUN, *overrides) == 0
    assert figures(tmp_path / "run") == figures(usual)


def test_the_target_has_the_say_where_two_are_tracked(tmp_path, usual):
    other = [f"+callbacks.a._target_={CHECKPOINT}", "+callbacks.a.monitor=val/loss", "+callbacks.a.filename=of_loss"]
    assert run_here(tmp_path, *RUN, *other) == 0
    assert figures(tmp_path) == figures(usual)


def test_without_a_best_the_last_weights_are_figures(tmp_path, usual):
    assert run_here(tmp_path, *RUN, "~callbacks.best") == 0
    assert figures(tmp_path) != figures(usual)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", ["end", '"{epoch}"', '"at/{step}"'])
def test_a_run_is_gone_on_with_from_its_last_checkpoint_under_any_name(tmp_path, name):
    short = (*SMALL, "trainer.max_epochs=1", f"callbacks.last.filename={name}")
    assert run_here(tmp_path, *short) == 0
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert last_checkpoint(tmp_path).is_file()
    assert run_here(tmp_path, *overrides_of(tmp_path), "trainer.max_epochs=2", f"resume={tmp_path}") == 0
    assert read_result(tmp_path)["steps"] == 38


def test_the_newest_is_the_last(tmp_path):
    node = {"_target_": CHECKPOINT, "filename": "end-{epoch}", "dirpath": str(tmp_path / "there")}
    best = {"_target_": CHECKPOINT, "filename": "best", "monitor": "val/acc"}
    (tmp_path / "config.yaml").write_text(json.dumps({"callbacks": {"last": node, "best": best, "none": None}}))
    usual = tmp_path / "checkpoints" / "last.ckpt"
    assert last_checkpoint(tmp_path) == usual  # there is none: this is where it would be
    kept = (usual, tmp_path / "there" / "end-epoch=1.ckpt", tmp_path / "checkpoints" / "best.ckpt")
    for seconds, path in enumerate(kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert last_checkpoint(tmp_path).name == "end-epoch=1.ckpt"
    usual.touch()  # an interrupted run leaves it
    assert last_checkpoint(tmp_path) == usual
