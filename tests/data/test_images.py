"""Augmentation against slow copies in numpy, and its dependence on seed and epoch alone."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kasoku.data.images import Augment, Draws, images
from kasoku.data.memory import TrainLoader
from kasoku.data.order import Order, Shard, generator, train_positions

SIZE, SIDES = 12, (6, 8)
X = torch.randn(SIZE, 3, *SIDES, generator=generator(0))
Y = torch.arange(SIZE)
EVERYTHING = Augment(flip="random", translate=2, padding="reflect", cutout=3)


def slowly(
    image: np.ndarray, augment: Augment, flip: bool, corner: tuple[int, int], centre: tuple[int, int]
) -> np.ndarray:
    """One image [C, H, W], augmented pixel by pixel."""
    t = augment.translate
    mode = {"mode": "reflect"} if augment.padding == "reflect" else {"constant_values": 0}
    padded = np.pad(image, ((0, 0), (t, t), (t, t)), **mode)
    moved = padded[:, corner[0] : corner[0] + image.shape[1], corner[1] : corner[1] + image.shape[2]].copy()
    moved = moved[:, :, ::-1].copy() if flip and augment.flip != "none" else moved
    first = [middle - augment.cutout // 2 for middle in centre]
    for row in range(first[0], first[0] + augment.cutout):
        for column in range(first[1], first[1] + augment.cutout):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                moved[:, row, column] = 0
    return moved


@settings(max_examples=60, deadline=None)
@given(
    augment=st.builds(
        Augment,
        flip=st.sampled_from(["none", "random", "alternate"]),
        translate=st.integers(0, 4),
        padding=st.sampled_from(["reflect", "zero"]),
        cutout=st.integers(0, 6),
    ),
    epoch=st.integers(0, 50),
    index=st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=20),
)
def test_images_are_augmented_as_pixel_by_pixel(augment: Augment, epoch: int, index: list[int]):
    x, y = images(X, Y, augment, seed=5).gather(torch.tensor(index), epoch)(slice(None))
    drawn = Draws.of(augment, SIZE, SIDES, 5, epoch)
    for got, label, i in zip(x.numpy(), y.tolist(), index, strict=True):
        want = slowly(X[i].numpy(), augment, bool(drawn.flip[i]), drawn.corner[i].tolist(), drawn.centre[i].tolist())
        np.testing.assert_array_equal(got, want)
        assert label == i


def test_draws_are_uniform():
    drawn = Draws.of(EVERYTHING, 100_000, SIDES, 1, 2)
    assert drawn.flip.float().mean() == pytest.approx(0.5, abs=0.01)
    for values, count in (
        (drawn.corner[:, 0], 5),
        (drawn.corner[:, 1], 5),
        (drawn.centre[:, 0], 6),
        (drawn.centre[:, 1], 8),
    ):
        shares = torch.bincount(values, minlength=count) / len(values)
        assert len(shares) == count
        assert shares.sub(1 / count).abs().max() < 0.01


def test_draws_differ_between_epochs_and_seeds_only():
    same, other_epoch, other_seed = (Draws.of(EVERYTHING, 50, SIDES, *key) for key in ((1, 2), (1, 3), (2, 2)))
    again = Draws.of(EVERYTHING, 50, SIDES, 1, 2)
    assert all(torch.equal(getattr(same, name), getattr(again, name)) for name in vars(same))
    for other in (other_epoch, other_seed):
        assert all(not torch.equal(getattr(same, name), getattr(other, name)) for name in vars(same))


def test_alternate_flips_each_image_every_other_epoch():
    flips = [Draws.of(Augment(flip="alternate"), 1000, SIDES, 7, epoch).flip for epoch in range(6)]
    assert 400 < int(flips[0].sum()) < 600
    for before, after in itertools.pairwise(flips):
        assert torch.equal(before, ~after)


@pytest.mark.parametrize("chunk_batches", [1, 2, 100])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(chunk_batches: int, monkeypatch: pytest.MonkeyPatch):
    rows = images(X, Y, EVERYTHING, 3)
    args = rows, Order(SIZE, 3), 5, Shard(), False, lambda: 0
    one = list(TrainLoader(*args))
    monkeypatch.setattr("kasoku.data.memory.CHUNK_BYTES", chunk_batches * 5 * rows.row_bytes)
    for got, want in zip(TrainLoader(*args), one, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_two_processes_see_the_images_that_one_does():
    rows = images(X, Y, EVERYTHING, 3)
    one = list(TrainLoader(rows, Order(SIZE, 3), 4, Shard(), True, lambda: 0))
    two = [list(TrainLoader(rows, Order(SIZE, 3), 2, Shard(rank, 2), True, lambda: 0)) for rank in range(2)]
    assert len(train_positions(SIZE, 2, Shard(0, 2), True)) == SIZE // 2
    for whole, *halves in zip(one, *two, strict=True):
        assert torch.equal(whole[0], torch.cat([x for x, _ in halves]))


def test_evaluation_shows_images_as_they_are():
    x, y = images(X, Y, EVERYTHING, 3).batch(2, 7)
    assert torch.equal(x, X[2:7])
    assert y.tolist() == [2, 3, 4, 5, 6]
