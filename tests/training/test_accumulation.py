"""The gradient of a step is the mean over what the step has seen, in closed form; the horizon counts such steps."""

import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from kasoku.durations import Clock
from kasoku.faults import ConfigError
from kasoku.training.clock import clock_of
from kasoku.training.optimizer_hooks import callbacks
from tests.conftest import read_result, run_here
from tests.training.test_run import lr_by_step


class Slope(pl.LightningModule):
    """Its loss is w times the mean of the inputs: each step of SGD at lr 1 takes that mean off w."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.clock = Clock(None)

    def training_step(self, batch, index):
        return (self.w * batch[0]).mean()

    def configure_optimizers(self):
        self.clock = clock_of(self.trainer)
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Steps(pl.Callback):
    """w after each optimizer step."""

    def __init__(self) -> None:
        self.w: list[float] = []

    def on_train_batch_end(self, trainer, module, *args) -> None:
        self.w[trainer.global_step - 1 :] = [module.w.item()] if trainer.global_step else []


def train(inputs: torch.Tensor, batch: int, epochs: int = 1, also: tuple = (), **settings) -> tuple[Slope, list[float]]:
    module, steps = Slope(), Steps()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks(), *also, steps],
        **dict.fromkeys(off, False),
        **settings,
    )
    trainer.fit(module, DataLoader(TensorDataset(inputs), batch_size=batch))
    return module, steps.w


def taken(inputs: torch.Tensor, batch: int, wait: int, epochs: int = 1) -> list[float]:
    """w after each step, by hand: each takes off the mean of the next `wait` batches, or of what is left."""
    means = [part.mean() for part in inputs.split(batch * wait)] * epochs
    return [-float(x) for x in torch.stack(means).cumsum(0)]


@pytest.mark.parametrize("size", [10, 12, 13, 16, 3])
@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("wait", [1, 2, 3, 20])
def test_a_step_takes_the_mean_over_its_samples(size, batch, wait):
    inputs = torch.arange(1.0, size + 1)
    _, w = train(inputs, batch, epochs=2, accumulate_grad_batches=wait)
    assert w == pytest.approx(taken(inputs, batch, wait, epochs=2), rel=1e-6)


@pytest.mark.parametrize(("wait", "expected"), [(4, -5.0), (20, -1.0)])
def test_nineteen_batches_of_ones(wait, expected):
    module, _ = train(torch.ones(19), batch=1, accumulate_grad_batches=wait)
    assert float(module.w) == pytest.approx(expected)


def test_gradients_are_clipped_at_their_true_size():
    """One batch of two is left of a window of four: its gradient is 6, and not 1.5, when it is held against 5."""
    module, _ = train(torch.full((2,), 6.0), batch=2, accumulate_grad_batches=4, gradient_clip_val=5.0)
    assert float(module.w) == pytest.approx(-5.0, rel=1e-5)


def test_a_scheduler_of_the_accumulation_has_its_horizon():
    scheduler = pl.callbacks.GradientAccumulationScheduler({0: 4, 2: 1})
    inputs = torch.arange(1.0, 20.0)
    module, w = train(inputs, batch=1, epochs=4, also=(scheduler,))
    assert module.clock == Clock(total=len(w)) == Clock(total=5 + 5 + 19 + 19)
    first, later = taken(inputs, 1, 4, epochs=2), taken(inputs, 1, 1, epochs=2)
    assert w == pytest.approx([*first, *(first[-1] + x for x in later)], rel=1e-6)
    constant = pl.callbacks.GradientAccumulationScheduler({0: 4})
    assert train(inputs, batch=1, epochs=2, also=(constant,))[0].clock.total == 10


def test_the_schedule_of_the_command_ends_with_such_a_run(tmp_path: Path):
    node = "+callbacks.wait._target_=pytorch_lightning.callbacks.GradientAccumulationScheduler"
    run = ("model=mlp", "trainer=cpu", "logger=none", "optimizer=sgd", "optimizer.lr=1", "warmup=none")
    more = ("trainer.max_epochs=4", "trainer.log_every_n_steps=1", node, "+callbacks.wait.scheduling={0:4,2:1}")
    assert run_here(tmp_path, *run, *more) == 0
    lrs = lr_by_step(tmp_path)
    assert len(lrs) == read_result(tmp_path)["steps"] == 48
    assert lrs[47] == pytest.approx(1 / 48)


BATCHES = ("callbacks=batch_schedule", "callbacks.batch_schedule.epochs=[0,1,3]", "data.batch_size=32")
GROWING = (*BATCHES, "callbacks.batch_schedule.samples=[32,64,128]")  # 1257 samples: 39 batches of 32 an epoch


def test_a_batch_grows_in_samples(tmp_path: Path):
    """The steps of each epoch, the last one of what is left, and the schedule that ends with the last of them all."""
    run = ("model=mlp", "trainer=cpu", "logger=none", "optimizer=sgd", "warmup=none", "trainer.log_every_n_steps=1")
    assert run_here(tmp_path, *run, *GROWING, "optimizer.lr=1", "trainer.max_epochs=4") == 0
    lrs = lr_by_step(tmp_path)
    steps = 39 + 20 + 20 + 10
    assert len(lrs) == read_result(tmp_path)["steps"] == steps
    assert lrs[steps - 1] == pytest.approx(1 / steps)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("samples=[32,65,128]",), "samples=[32,65,128]: must be multiples of 32: data.batch_size=32 on 1 device"),
        (("samples=[32,64]",), "epochs=[0,1,3]: must begin with 0, rise, and be as many as the samples, 2"),
        (("samples=[32,64,128]", "epochs=[1,2,3]"), "epochs=[1,2,3]: must begin with 0"),
        (("samples=[0,64,128]",), "samples=[0,64,128]: must be whole numbers >= 1"),
    ],
)
def test_batches_that_cannot_be_are_refused(tmp_path: Path, words: tuple[str, ...], told: str):
    more = tuple(f"callbacks.batch_schedule.{word}" for word in words)
    with pytest.raises(ConfigError, match=re.escape(f"callbacks.batch_schedule.{told}")):
        run_here(tmp_path, "model=mlp", "trainer=cpu", "logger=none", *BATCHES, *more)
    assert not (tmp_path / "result.json").exists()
