"""A progress bar of the user's stands in the place of ours, and off a terminal nothing breaks."""

import io
import sys

import pytest
from pytorch_lightning.callbacks import Callback, ProgressBar, RichProgressBar

from kasoku.training import narrator
from kasoku.training.step_log import StepLog
from tests.conftest import SMALL, read_result, run_here

RICH = "+callbacks.bar._target_=pytorch_lightning.callbacks.RichProgressBar"
SHORT = (*SMALL, "trainer.max_steps=2", "trainer.limit_val_batches=1")


class Lines(ProgressBar):
    """One that needs no terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def disable(self) -> None:
        raise AssertionError("it is wanted")

    def on_train_batch_end(self, trainer, module, *args) -> None:
        self.batches += 1


def on(bar: ProgressBar) -> bool:
    return getattr(bar, "is_enabled", True)


class Seen(Callback):
    """The bars that Lightning has."""

    def on_train_start(self, trainer, module) -> None:
        self.bars = [c.__class__.__name__ for c in trainer.callbacks if isinstance(c, ProgressBar) and on(c)]


@pytest.mark.parametrize(
    ("overrides", "terminal", "bars"),
    [
        ([], False, []),
        ([], True, ["Bar"]),
        (["+trainer.enable_progress_bar=false"], True, []),
        (["+trainer.enable_progress_bar=true"], False, ["Bar"]),
        ([RICH], False, []),
        ([RICH], True, ["RichProgressBar"]),
        (["callbacks=rich_progress"], True, ["RichProgressBar"]),
        ([RICH, "+trainer.enable_progress_bar=false"], True, []),
    ],
)
def test_which_bar_is_drawn(tmp_path, monkeypatch, overrides, terminal, bars):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    seen = Seen()
    assert run_here(tmp_path, *SHORT, *overrides, callbacks=[seen]) == 0
    assert seen.bars == bars
    assert read_result(tmp_path)["status"] == "completed"


def test_the_bar_counts_to_the_end_of_a_run_whose_steps_grow(tmp_path, monkeypatch):
    """19 batches an epoch, and 10 steps of two of them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    class Shown(Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            self.last = trainer.progress_bar_callback.get_metrics(trainer, module)["step"]

    shown = Shown()
    words = ("callbacks=batch_schedule", "callbacks.batch_schedule.epochs=[0,1]", "trainer.max_epochs=2")
    assert run_here(tmp_path, *SMALL, *words, callbacks=[shown]) == 0
    assert shown.last == "29/29"


@pytest.mark.parametrize(("late", "shown"), [(1.0, False), (0.0, True)])
def test_a_validation_is_shown_once_it_takes_longer_than_a_second(tmp_path, monkeypatch, capsys, late, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert narrator.LATE == 1.0
    monkeypatch.setattr(narrator, "LATE", late)
    assert run_here(tmp_path, *SHORT) == 0
    said = capsys.readouterr().out
    assert "step=2/2" in said
    assert ("Validation DataLoader 0: 100%" in said) == shown


def test_a_bar_that_is_late_keeps_what_came_before_to_itself(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(narrator.time, "monotonic", lambda: now[0])
    bar = narrator.LateBar(desc="Validation", total=4, file=out, leave=False)
    for now[0], bar.n in ((0.5, 1), (1.0, 2)):
        bar.refresh()
        assert out.getvalue() == ""
    now[0], bar.n = 1.1, 3
    bar.refresh()
    assert "Validation:  75%" in out.getvalue()


def test_a_loader_without_a_length_is_drawn_by_time(monkeypatch):
    monkeypatch.setattr(narrator.time, "monotonic", lambda: 100.0)
    bar = narrator.Bar(StepLog())
    assert [bar._should_update(1, None), bar._should_update(2, None)] == [True, False]


def test_one_that_draws_nothing_is_kept_off_a_terminal(tmp_path):
    lines, seen = Lines(), Seen()
    lines._trainer = None
    assert run_here(tmp_path, *SHORT, callbacks=[lines, seen]) == 0
    assert lines.batches == 2


def test_the_modules_own_bar_takes_the_place_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("kasoku.training.module.Module.configure_callbacks", lambda self: [RichProgressBar()])
    seen = Seen()
    assert run_here(tmp_path, *SHORT, callbacks=[seen]) == 0
    assert seen.bars == ["RichProgressBar"]
