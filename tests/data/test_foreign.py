"""Data of one's own by `data._target_`: every kind trains; what is none is refused; exact where it is said to be."""

import logging
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kasoku.command.tasks import facts_of
from kasoku.data.exact import made_exact
from kasoku.data.foreign import datamodule
from kasoku.data.order import Shard
from kasoku.data.seeded import same
from kasoku.data.wrapped import Numbered, classes_of
from kasoku.faults import ConfigError
from tests.conftest import ROOT, command, read_result, run_here
from tests.data import own
from tests.training.test_resume import SignalAt, resumed, weights

WORDS = (
    "model=mlp",
    "model.net._target_=tests.data.own.Net",
    "trainer=cpu",
    "logger=none",
    "trainer.max_epochs=3",
    "warmup=none",
)


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KASOKU_TRUST", "tests.data.own")


def words(target: str, *others: str) -> tuple[str, ...]:
    return (*WORDS, f"data._target_=tests.data.own.{target}", *others)


def refusal(directory: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        run_here(directory, *overrides)
    return str(caught.value)


TRAINED = {
    "a Dataset": (words("Points", "data.batch_size=8"), 18),
    "with validation and test": (
        words("Points", "data.batch_size=8", "+data.val={_target_:tests.data.own.Points,split:val}",
              "+data.test={_target_:tests.data.own.Points,split:test}"), 21,
    ),
    "its workers": (words("Points", "data.batch_size=8", "+data.num_workers=1", "+data.size=40"), 12),
    "the rest of an epoch": (words("Points", "data.batch_size=8", "data.drop_last=false"), 21),
    "an IterableDataset": (words("Stream", "trainer.max_epochs=null", "trainer.max_steps=10", "data.batch_size=8"), 10),
    "an IterableDataset by epochs": (words("Stream", "scheduler=constant", "data.batch_size=8"), 24),
    "its validation": (
        words("Stream", "scheduler=constant", "data.batch_size=8", "+data.val._target_=tests.data.own.Stream"), 24,
    ),
    "a DataLoader": (words("loader"), 24),
    "its exact order": (words("loader", "+data.order=exact", "+data.val._target_=tests.data.own.Points"), 24),
    "a LightningDataModule": (words("Module"), 24),
    "in an exact order": (words("Module", "+data.order=exact", "+data.num_workers=1"), 24),
    "a tuple": (words("halves", "data.batch_size=8"), 21),
    "a mapping": (words("splits", "data.batch_size=8"), 21),
}  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", TRAINED)
def test_every_kind_trains(name: str, tmp_path: Path):
    overrides, steps = TRAINED[name]
    assert run_here(tmp_path, *overrides) == 0
    result = read_result(tmp_path)
    assert result["steps"] == steps
    is_validated = name not in ("an IterableDataset", "an IterableDataset by epochs", "a DataLoader")
    assert ("val/loss" in result["metrics"]) == is_validated


def test_the_classes_of_what_a_dataset_is_made_of_are_its_own(tmp_path: Path):
    """Mutant: only the outermost dataset is asked."""
    assert classes_of(own.parts_of_points()) == classes_of(DataLoader(own.parts_of_points())) == 2
    different = torch.utils.data.ConcatDataset([own.Points(), [(torch.zeros(4), 0)]])
    assert classes_of(different) is None


@pytest.mark.parametrize(
    ("make", "options"), [(own.parts_of_points, {"batch_size": 8}), (own.loader, {}), (own.Module, {})]
)
def test_a_net_that_asks_for_sizes_gets_those_that_any_data_shows(make: Callable[[], Any], options: dict[str, Any]):
    fact = facts_of(datamodule(make(), options, "mine"))
    assert (fact("input_shape"), fact("num_classes")) == ([4], 2)


def test_a_shape_that_the_data_does_not_show_is_asked_for(tmp_path: Path):
    net = ("model.net._target_=kasoku.nets.mlp.MLP", "+model.net.num_classes=2")
    assert "input_shape=null: the data does not say the shape of a sample; give it" in refusal(
        tmp_path, *words("Named", "data.batch_size=8"), *net
    )


def test_batches_may_be_dicts(tmp_path: Path):
    model = ("model=mlp", "model.net._target_=tests.data.own.NamedNet")
    names = ("target.metric=val/loss", "target.mode=min")
    assert run_here(tmp_path, *words("Named", "data.batch_size=8"), *model, *names) == 0
    assert read_result(tmp_path)["metrics"]["val/loss"] > 0


@pytest.mark.parametrize("mode", ["preview", "find_lr"])
def test_the_other_modes_take_it_too(tmp_path: Path, mode: str):
    assert run_here(tmp_path, *words("Points", "data.batch_size=8", f"mode={mode}")) == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (words("nothing"), "data=tests.data.own.nothing: must make a LightningDataModule, or a Dataset, an Iterable"),
        (words("Points", "+data.val._target_=tests.data.own.nothing"), "data.val=tests.data.own.Points: must make a"),
        (words("Points", "+data.size=0"), "data=tests.data.own.Points: has no samples"),
        (words("Points", "+data.sise=10"), "data.sise=10: no such key, the keys are: batch_size collate"),
        (words("Points", "+data.order=exat"), "data.order=exat: must be one of own exact, did you mean exact?"),
        (words("Points", "data.batch_size=100"), "data.batch_size=100: must be <= 54, the training set has 54"),
        (
            words("Points", "+data.size=1", "data.batch_size=1", "+data.val_fraction=0.9"),
            "at least one of the 1 samples",
        ),
        (
            words("Module", "data.batch_size=4"),
            "data.batch_size=4: is for data around a Dataset, and tests.data.own.Mo",
        ),
        (words("Stream", "+data.order=exact"), "data.order=exact: needs numbered samples, Stream is an Iterable"),
        (words("Fickle", "+data.order=exact", "data.batch_size=8"), "the dataset (Fickle) draws random numbers of its"),
        (
            words("Stream"),
            "scheduler=linear: needs to know how many steps the run has, and this data has no length; gi",
        ),
        (words("too_few"), "data: gives no batch to train on; give it more samples, or a smaller batch_size"),
        (words("Silent", "scheduler=constant"), "data: gives no batch to train on"),
        (words("Stream", "warmup=linear"), "and this data has no length: give trainer.max_steps"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: Sequence[str], said: str, tmp_path: Path):
    text = refusal(tmp_path, *overrides)
    assert said in text
    assert len(text.splitlines()) <= 3


def test_all_faults_are_said_together(tmp_path: Path):
    text = refusal(tmp_path, *words("Points", "+data.sise=10", "+data.order=exat", "+data.num_workers=-1"))
    assert "3 faults" in text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("loader", "the order of tests.data.own.loader is its own: a run that is cut"),
        ("Module", "data.order=exact makes it exact"),
        ("Stream", "an IterableDataset has no numbered samples"),
        ("Fickle", "the dataset draws random numbers of its own"),
        ("loader", "nothing to validate with; give data.val"),
    ],
)
def test_what_is_not_exact_is_said(target: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    size = () if target in ("Module", "loader") else ("data.batch_size=8",)
    with caplog.at_level(logging.INFO, "kasoku"):
        run_here(tmp_path, *words(target, "scheduler=constant", "trainer.max_epochs=1", *size))
    assert said in caplog.text


@pytest.mark.parametrize("target", ["Points", "splits"])
def test_what_is_exact_says_nothing(target: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "kasoku"):
        run_here(tmp_path, *words(target, "data.batch_size=8", "trainer.max_epochs=1"))
    assert "its own" not in caplog.text
    assert "nothing to validate" not in caplog.text


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "data",
    [
        ("Points", "data.batch_size=8", "data.drop_last=false"),
        ("Points", "data.batch_size=8", "+data.num_workers=1", "data.drop_last=false"),
        ("loader", "+data.order=exact", "+data.val._target_=tests.data.own.Points"),
        pytest.param(("loader", "+data.order=exact", "+data.num_workers=1"), marks=pytest.mark.proof),
        ("weighted", "+data.order=exact"),
        ("Module", "+data.order=exact", "+data.num_workers=1"),
    ],
    ids=" ".join,
)
def test_a_cut_run_ends_as_the_straight_one(tmp_path: Path, data: Sequence[str]):
    """With noise from three generators in each sample, and dropout in the net."""
    assert run_here(tmp_path / "straight", *words(*data)) == 0
    straight = weights(tmp_path / "straight")
    for cut in (3, 13):
        assert run_here(tmp_path / str(cut), *words(*data), callbacks=[SignalAt(cut)]) == 143
        assert resumed(tmp_path / str(cut)) == 0
        again = weights(tmp_path / str(cut))
        assert all(torch.equal(straight[name], again[name]) for name in straight), cut


def wrapped(made: Any, **options: Any) -> Any:
    data = datamodule(made, {"seed": 0} | options, "mine")
    data.setup("fit")
    return data


def epoch(data: Any, number: int) -> list[Any]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def numbers(batches: Sequence[Any]) -> list[int]:
    return [int(number) for x, _ in batches for number in x[:, 0]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_is_a_function_of_seed_and_epoch(num_workers: int):
    data = wrapped(own.Points(), batch_size=8, num_workers=num_workers)
    alone = wrapped(own.Points(), batch_size=8)
    before = torch.get_rng_state()
    epochs = [epoch(data, number) for number in (0, 1, 0)]
    assert torch.equal(torch.get_rng_state(), before)
    assert same(epochs[0], epochs[2])
    assert not same(epochs[0], epochs[1])
    assert same(epochs[1], epoch(alone, 1))
    assert not same(epochs[0], epoch(wrapped(own.Points(), batch_size=8, seed=1), 0))
    assert same(list(data.val_dataloader()), list(data.val_dataloader()))


def test_the_split_is_whole_and_by_the_seed():
    options = {"batch_size": 1, "val_fraction": 0.2, "test_fraction": 0.1}
    data, other = wrapped(own.Numbers(), **options), wrapped(own.Numbers(), seed=1, **options)
    parts = [numbers(loader) for loader in (epoch(data, 0), data.val_dataloader(), data.test_dataloader())]
    assert [len(part) for part in parts] == [42, 12, 6]
    assert sorted(chain(*parts)) == list(range(own.SIZE))
    assert parts[1] != numbers(other.val_dataloader())


def test_processes_share_the_samples(monkeypatch: pytest.MonkeyPatch):
    data = wrapped(own.Numbers(), batch_size=4, val=own.Numbers(11))
    alone = [numbers([batch]) for batch in epoch(wrapped(own.Numbers(), batch_size=8, val=own.Numbers(11)), 2)]
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(data, "shard", lambda rank=rank: Shard(rank, 2))
        ranks.append([numbers([batch]) for batch in epoch(data, 2)])
        assert len(numbers(data.val_dataloader())) in (5, 6)
    assert [one + other for one, other in zip(*ranks, strict=True)] == alone


def test_facts_are_those_of_the_dataset():
    data = wrapped(own.Points(), batch_size=8)
    assert (data.input_shape, data.num_classes, data.train_size) == ((4,), 2, 54)
    assert wrapped(own.Points(80), num_classes=7).num_classes == 7
    assert not hasattr(wrapped(own.Sorted(80)), "num_classes")
    assert data.sample(5).shape == (5, 4)
    assert set(wrapped(own.Named(80)).sample(5)) == {"features", "label"}


def test_a_collation_of_ones_own():
    data = wrapped(own.Sorted(60), collate=lambda samples: [number for number, _ in samples], batch_size=54)
    assert sorted(epoch(data, 0)[0]) == sorted(set(range(60)) - set(chain(*data.val_dataloader())))


def exactly(loader: DataLoader, seed: int = 0) -> pl.LightningDataModule:
    return wrapped(loader, order="exact", seed=seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(own.Points(), 8, shuffle=True),
        lambda: DataLoader(own.Points(), 8, shuffle=True, generator=torch.Generator().manual_seed(5)),
        lambda: DataLoader(own.Points(), batch_size=None, shuffle=True),
        own.weighted,
    ],
)
def test_any_sampler_is_repeated(make: Any):
    data, other = exactly(make()), exactly(make())
    assert same(epoch(data, 1), epoch(other, 1))
    assert not same(epoch(data, 1), epoch(data, 2))
    assert not same(epoch(data, 1), epoch(exactly(make(), seed=1), 1))
    loader = make()
    assert [len(y) if y.ndim else 1 for _, y in epoch(data, 1)] == [len(y) if y.ndim else 1 for _, y in loader]


def test_an_exact_order_shows_what_the_loader_shows():
    data = exactly(DataLoader(own.Numbers(), 8, shuffle=True))
    shown = numbers(epoch(data, 0))
    assert shown == numbers(epoch(data, 0)) != numbers(epoch(data, 1))
    assert sorted(shown) == list(range(own.SIZE))
    assert shown != sorted(shown)
    assert numbers(epoch(exactly(DataLoader(own.Numbers(), 8)), 0)) == list(range(own.SIZE))


class Restless(torch.utils.data.RandomSampler):
    def __iter__(self):
        self.seen = getattr(self, "seen", 0) + 1
        return iter(range(self.seen, len(self)))


class Other(DataLoader):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        (lambda: DataLoader(own.Numbers(), 8, sampler=Restless(own.Numbers())), "BatchSampler draws random numbers"),
        (lambda: DataLoader(own.Stream(), 8), "Stream is an IterableDataset"),
        (lambda: Other(own.Numbers(), 8), "Other is none"),
        (lambda: {"a": DataLoader(own.Numbers(), 8)}, "dict is none"),
    ],
)
def test_what_no_seed_repeats_is_refused(loader: Any, said: str):
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader()

    with pytest.raises(ConfigError, match=r"data.order=exact") as caught:
        made_exact(Data(), 0).train_dataloader()
    assert said in str(caught.value)


def test_a_module_in_an_exact_order_stays_what_it_is():
    data = made_exact(own.Module(), 0)
    assert isinstance(data, own.Module)
    assert (type(data).__name__, type(data).__qualname__) == ("Module", "Module")
    assert data.num_classes == 2
    state = data.state_dict()
    assert state["saved"] == 1
    data.load_state_dict({"saved": 4})
    data.load_state_dict(state)
    assert data.saved == 1
    assert type(data).test_dataloader is pl.LightningDataModule.test_dataloader


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_exact_module_draws_nothing_from_torchs_generator(num_workers: int):
    data = made_exact(own.Module(num_workers=num_workers), 0)
    loaders = data.train_dataloader(), data.val_dataloader()
    before = torch.get_rng_state()
    list(loaders[0])
    iter(loaders[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_numbered_dataset_needs_no_class_of_torch():
    assert isinstance(datamodule([(float(n), n) for n in range(9)], {}, "mine"), Numbered)


TRAIN = ("model=mlp", "model.net._target_=tests.data.own.Net", "logger=none", "trainer=cpu", "trainer.max_epochs=1")


def commanded(folder: Path, *overrides: str) -> str:
    """What the command says to a user who has tests.data.own on PYTHONPATH."""
    env = {
        "KASOKU_TRUST": "tests.data.own",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = command(*overrides, *TRAIN, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_command_takes_a_dataset_in_the_place_of_own(tmp_path: Path):
    said = commanded(tmp_path, "data=own", "data._target_=tests.data.own.Points", "data.batch_size=8", "+data.size=40")
    assert "4 steps" in said


def test_the_command_takes_a_dataset_from_a_folder_of_ones_own(tmp_path: Path):
    (tmp_path / "conf" / "data").mkdir(parents=True)
    val = "val: {_target_: tests.data.own.Points, split: val}"
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(
        f"_target_: tests.data.own.Points\nsize: 40\nbatch_size: 8\n{val}\n"
    )
    assert "5 steps" in commanded(tmp_path, "--config-dir=conf", "data=mine")
