"""Orders, shards and splits: every sample once, the same for any number of processes."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kasoku.data.order import Order, Shard, eval_bounds, generator, stratified, train_batches, train_positions

sizes = st.integers(1, 200)
batch_sizes = st.integers(1, 20)
worlds = st.integers(1, 5)


@given(size=sizes, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_visits_every_sample_once(size: int, seed: int, epoch: int):
    order = Order(size, seed)
    order.set_epoch(epoch)
    assert sorted(order().tolist()) == list(range(size))
    assert torch.equal(order(), order())


def test_epochs_and_seeds_have_their_own_orders():
    orders = set()
    for seed in range(20):
        order = Order(50, seed)
        for epoch in range(20):
            order.set_epoch(epoch)
            orders.add(tuple(order().tolist()))
    assert len(orders) == 400


def test_the_order_is_the_same_on_every_machine():
    order = Order(6, seed=1)
    order.set_epoch(2)
    assert order().tolist() == torch.randperm(6, generator=generator(1, 2, 1)).tolist()
    assert generator(1, 2).initial_seed() == int(np.random.SeedSequence([1, 2]).generate_state(1, np.uint64)[0]) >> 1


def test_align_shifts_the_counted_epochs():
    order = Order(3, 0)
    order.set_epoch(5)
    order.align(4)
    assert order.epoch == 4
    order.set_epoch(6)
    assert order.epoch == 5


@given(size=sizes, batch_size=batch_sizes, world=worlds, drop_last=st.booleans())
def test_processes_share_the_batch_of_one(size: int, batch_size: int, world: int, drop_last: bool):
    parts = [train_positions(size, batch_size, Shard(rank, world), drop_last) for rank in range(world)]
    whole = size // (batch_size * world)
    for step in range(whole):
        mine = [part[step * batch_size : (step + 1) * batch_size].tolist() for part in parts]
        one = train_positions(size, batch_size * world, Shard(), drop_last)
        assert [i for part in mine for i in part] == one[
            step * batch_size * world : (step + 1) * batch_size * world
        ].tolist()
    used = torch.cat(parts).tolist()
    assert len(used) == len(set(used)) >= size - (batch_size * world - 1 if drop_last else world - 1)
    assert len({len(part) for part in parts}) == 1
    assert train_batches(size, batch_size, Shard(0, world), drop_last) == -(-len(parts[0]) // batch_size)


@given(size=sizes, batch_size=batch_sizes, world=worlds)
def test_evaluation_sees_every_sample_once(size: int, batch_size: int, world: int):
    ranks = [eval_bounds(size, batch_size, Shard(rank, world)) for rank in range(world)]
    assert len({len(bounds) for bounds in ranks}) == 1
    seen = [i for bounds in ranks for start, end in bounds for i in range(start, end)]
    assert seen == list(range(size))
    widths = [end - start for bounds in ranks for start, end in bounds]
    assert max(widths) <= batch_size
    assert max(widths) - min(widths) <= 1


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fractions=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    seed=st.integers(0, 1000),
)
def test_a_split_is_whole_disjoint_and_stratified(counts: list[int], fractions: tuple[float, float], seed: int):
    labels = np.repeat(np.arange(len(counts)), counts)
    total = len(labels)
    sizes = [int(total * fraction) for fraction in fractions]
    sizes = [total - sum(sizes), *sizes]
    parts = stratified(labels, sizes, seed)
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(total))
    rare = sum(count * sizes[0] < total for count in counts)  # may owe their place in the first part to its being first
    for part, size in zip(parts, sizes, strict=True):
        for label, count in enumerate(counts):
            assert abs((labels[part.numpy()] == label).sum() - count * size / total) < 2 + rare
    if sizes[0] >= len(counts):
        assert set(labels[parts[0].numpy()]) == set(range(len(counts)))


def test_splits_depend_on_the_seed():
    labels = np.arange(100) % 10
    one, again, other = (stratified(labels, [80, 20], seed)[1].tolist() for seed in (0, 0, 1))
    assert one == again != other
