"""Image folders through workers: a run that is cut and resumed ends as the straight one, dropout included."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import run_here
from tests.data.test_image_folder import epoch, fill, ready, same
from tests.training.test_resume import SignalAt, resumed, weights


def folder(path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path / name / f"{number}.png")
    return path


@pytest.mark.sample(2)
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("cut", [2, pytest.param(5, marks=pytest.mark.proof), pytest.param(8, marks=pytest.mark.proof)])
def test_a_resumed_run_with_workers_and_dropout_ends_as_the_straight_one(tmp_path: Path, num_workers: int, cut: int):
    """Five steps an epoch: cuts inside the first, at its end, inside the second."""
    overrides = (
        "data=image_folder",
        f"data.root={folder(tmp_path / 'images')}",
        "data.size=8",
        "data.batch_size=6",
        f"data.num_workers={num_workers}",
        "data.val_fraction=0.25",
        "model=mlp",
        "model.net.dropout=0.5",
        "model.net.hidden=8",
        "trainer=cpu",
        "logger=none",
        "trainer.max_epochs=3",
    )
    assert run_here(tmp_path / "straight", *overrides) == 0
    assert run_here(tmp_path / "cut", *overrides, callbacks=[SignalAt(cut)]) == 143
    assert not multiprocessing.active_children()  # who is not ended lives on for 5 seconds
    assert resumed(tmp_path / "cut") == 0
    straight, again = weights(tmp_path / "straight"), weights(tmp_path / "cut")
    assert all(torch.equal(straight[name], again[name]) for name in straight)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loaders_draw_nothing_from_torchs_generator(tmp_path: Path, num_workers: int):
    data = ready(fill(tmp_path), num_workers=num_workers)
    loaders = data.train_dataloader(), data.val_dataloader()
    before = torch.get_rng_state()
    for loader in loaders:
        list(loader)
        list(loader.first(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_first_batches_leave_a_running_epoch_alone(tmp_path: Path, num_workers: int):
    data = ready(fill(tmp_path), num_workers=num_workers)
    whole = epoch(data, 0)
    loader = data.train_dataloader()
    running = iter(loader)
    shown = [next(running), next(running)]
    data.begin = lambda: 2 * data.batch_size
    assert same(list(loader.first(3)), whole[:3])
    assert same([*shown, *running], whole)
