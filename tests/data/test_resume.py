"""A run that is cut anywhere and resumed sees the batches that the straight run sees."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kasoku.data.memory import InMemory, Rows

SIZE, BATCH = 11, 2
Seen = list[tuple[int, list[int]]]


class Numbers(InMemory):
    """The numbers 0 .. 10, each its own label."""

    def __init__(self):
        super().__init__(batch_size=BATCH, eval_batch_size=4, drop_last=False, seed=3)

    def load(self) -> tuple[Rows, Rows, Rows]:
        rows = Rows(torch.arange(SIZE)[:, None].float(), torch.arange(SIZE))
        return rows, rows, rows


class Recorder(pl.LightningModule):
    """Writes down the labels of the batches it is trained with."""

    def __init__(self, stop: int | None = None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.stop = stop
        self.seen: Seen = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.seen.append((batch_idx, batch[1].tolist()))
        self.trainer.should_stop = len(self.seen) == self.stop
        return self.layer(batch[0]).mean()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


class SaveEverywhere(pl.Callback):
    """A checkpoint in each hook that saves one in practice: hook, batches trained by then, file, state of the data."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.saved: list[tuple[str, int, Path, dict[str, int]]] = []

    def save(self, hook: str, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        path = self.folder / f"{len(self.saved)}.ckpt"
        trainer.save_checkpoint(path)
        self.saved.append((hook, len(module.seen), path, trainer.datamodule.state_dict()))

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.save("batch end", trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.save("validation end", trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.save("epoch end", trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.save("train end", trainer, module)


def fit(module: Recorder, checkpoint: Path | None = None, callbacks: Sequence = (), **settings: Any) -> Seen:
    """The batches that training with `settings` saw."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings = {"num_sanity_val_steps": 0, "accelerator": "cpu", **settings}
    trainer = pl.Trainer(callbacks=list(callbacks), **quiet, **settings)
    trainer.fit(module, datamodule=Numbers(), ckpt_path=checkpoint, weights_only=True)
    return module.seen


STEPS = {"max_epochs": -1, "check_val_every_n_epoch": None}
CUTS = {
    "epochs": ({"max_epochs": 3}, {}),
    "epochs without validation": ({"max_epochs": 3, "limit_val_batches": 0}, {}),
    "more epochs than at first": ({"max_epochs": 2}, {"max_epochs": 3}),
    "more steps than at first": ({"max_steps": 8, "max_epochs": -1}, {"max_steps": 15}),
    "steps without validation": ({"max_steps": 8, "max_epochs": -1, "limit_val_batches": 0}, {"max_steps": 15}),
    "steps to an epoch's end": ({"max_steps": 6, "max_epochs": -1}, {"max_steps": 15}),
    "validation by steps": ({"max_steps": 15, "val_check_interval": 4, **STEPS}, {}),
    "validation inside epochs": ({"max_epochs": 2, "val_check_interval": 2}, {}),
    "part of each epoch": ({"max_epochs": 3, "limit_train_batches": 4}, {}),
    "accumulation": ({"max_epochs": 2, "accumulate_grad_batches": 2}, {}),
}


@pytest.mark.sample(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CUTS)
def test_resumed_batches_are_those_of_the_straight_run(name: str, tmp_path: Path):
    first, more = CUTS[name]
    straight = fit(Recorder(), **(first | more))
    saver = SaveEverywhere(tmp_path)
    fit(Recorder(), callbacks=(saver,), **first)
    assert len(saver.saved) > 6
    for hook, done, path, state in saver.saved:
        assert fit(Recorder(), path, **(first | more)) == straight[done:], (hook, done)
        if done < len(straight):
            per_epoch = first.get("limit_train_batches", 6)
            assert (state["epoch"], state["batch"]) == divmod(done, per_epoch), (hook, done)


@pytest.mark.filterwarnings("ignore")
def test_a_run_resumed_twice_goes_on_exactly(tmp_path: Path):
    steps = {"max_epochs": -1}
    straight = fit(Recorder(), max_steps=20, **steps)
    seen, checkpoint = [], None
    for max_steps in (8, 10, 17, 20):
        saver = SaveEverywhere(tmp_path / str(max_steps))
        seen += fit(Recorder(), checkpoint, (saver,), max_steps=max_steps, **steps)
        checkpoint = saver.saved[-1][2]
    assert seen == straight


@pytest.mark.filterwarnings("ignore")
def test_a_run_stopped_early_goes_on_with_a_whole_epoch(tmp_path: Path):
    straight = fit(Recorder(), max_epochs=3)
    saver = SaveEverywhere(tmp_path)
    fit(Recorder(stop=8), callbacks=(saver,), max_epochs=3)
    assert fit(Recorder(), saver.saved[-1][2], max_epochs=3) == straight[12:]


@pytest.mark.filterwarnings("ignore")
def test_lightning_takes_the_loader_for_one_that_resumes(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    saver = SaveEverywhere(tmp_path)
    fit(Recorder(), callbacks=(saver,), max_epochs=2)
    fit(Recorder(), saver.saved[1][2], max_epochs=2)
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]


def test_the_loader_yields_what_begin_leaves():
    data = Numbers()
    data.setup()
    batches: Callable[[], Seen] = lambda: [y.tolist() for _, y in data.train_dataloader()]  # noqa: E731
    everything = batches()
    for done in range(len(everything) + 1):
        data.begin = lambda done=done: min(done * BATCH, SIZE)
        assert batches() == everything[done:]
        assert len(data.train_dataloader()) == len(everything) == 6


@pytest.mark.parametrize(("batch_size", "drop_last"), [(3, False), (3, True), (4, False), (1, True)])
def test_an_epoch_goes_on_at_its_next_sample_with_batches_of_another_size(batch_size: int, drop_last: bool):
    data = Numbers()
    data.setup()
    order = [label for _, y in data.train_dataloader() for label in y.tolist()]
    for samples in range(SIZE + 1):
        data.batch_size, data.drop_last, data.begin = batch_size, drop_last, lambda samples=samples: samples
        rest = [y.tolist() for _, y in data.train_dataloader()]
        seen = [label for labels in rest for label in labels]
        assert seen == order[samples:][: len(seen)]
        assert len(order) - samples - len(seen) < (batch_size if drop_last else 1)
        assert data.batches_done(samples) + len(rest) == len(data.train_dataloader())
