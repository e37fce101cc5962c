"""Seconds of training, by a clock that the run's own events move: a step takes 1 s, what is not training far more."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Callback

from kasoku import results
from kasoku.training import stopwatch
from tests.conftest import SMALL, run_here
from tests.training.test_resume import SignalAt, resumed

STEPS = 19  # of an epoch


class Clock(Callback):
    """Stands for time.perf_counter."""

    def __init__(self) -> None:
        self.now = 0.0

    def on_train_start(self, *args) -> None:
        self.now += 1e7

    def on_train_batch_end(self, *args) -> None:
        self.now += 1

    def on_train_epoch_end(self, *args) -> None:
        self.now += 1e3

    def on_exception(self, *args) -> None:
        self.now += 1e6

    def on_validation_batch_end(self, *args) -> None:
        self.now += 1e2

    def on_test_batch_end(self, *args) -> None:
        self.now += 1e4

    def on_save_checkpoint(self, *args) -> None:
        self.now += 1e5


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


@pytest.mark.parametrize("more", [[], ["trainer.val_check_interval=5"], ["trainer.check_val_every_n_epoch=2"]])
def test_seconds_are_those_of_steps_alone(tmp_path, clock, more):
    """Mutants: no stop at an evaluation or at the epoch's end; a start that forgets what was before."""
    run_here(tmp_path, *SMALL, "trainer.max_epochs=2", *more, callbacks=[clock])
    assert results.read(tmp_path).train_seconds == 2 * STEPS


def test_the_time_to_a_target_is_that_of_the_steps_before_it(tmp_path, clock):
    run_here(tmp_path, *SMALL, "trainer.max_epochs=4", "target.value=0.5", callbacks=[clock])
    reached = results.read(tmp_path).time_to_target
    assert reached.seconds == reached.steps < 4 * STEPS


def test_a_resumed_run_counts_on_from_the_checkpoint(tmp_path, clock):
    """Cut inside the second epoch. Mutants: no state, no stop at a checkpoint."""
    assert run_here(tmp_path, *SMALL, "trainer.max_epochs=3", callbacks=[clock, SignalAt(25)]) == 143
    assert results.read(tmp_path).train_seconds == 25
    assert resumed(tmp_path, callbacks=[clock]) == 0
    assert results.read(tmp_path).train_seconds == 3 * STEPS


class Break(Callback):
    """Fails after the ninth step."""

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == 9:
            raise ZeroDivisionError


def test_a_failure_stops_the_watch(tmp_path, clock):
    """Mutant: no stop at an exception."""
    with pytest.raises(ZeroDivisionError):
        run_here(tmp_path, *SMALL, callbacks=[clock, Break()])
    assert results.read(tmp_path).train_seconds == results.read(tmp_path).steps == 9
