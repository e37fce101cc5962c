"""The target of a run: what is better, when it is reached, and that runs of both modes stop there."""

import csv
import itertools
import math
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from kasoku import results
from kasoku.faults import ConfigError
from kasoku.results import Target
from kasoku.training.step_log import StepLog
from kasoku.training.stopwatch import Stopwatch
from kasoku.training.target import TargetWatch
from tests.conftest import SMALL, run_here
from tests.training.test_resume import SignalAt, resumed

LESS, EQUAL, MORE = 0.4, 0.5, 0.6


@pytest.mark.parametrize(
    ("mode", "better", "reached"),
    [("max", [False, False, True], [False, True, True]), ("min", [True, False, False], [True, True, False])],
)
def test_a_value_hit_exactly_reaches_the_target_and_is_no_better(mode, better, reached):
    """Mutants: `better` turned round or with >= or <=, `reached` without the value itself."""
    target = Target("val/loss", 0.5, mode)
    assert [target.better(value, 0.5) for value in (LESS, EQUAL, MORE)] == better
    assert [target.reached(value) for value in (LESS, EQUAL, MORE)] == reached


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_reaches_nothing_and_any_number_is_better(mode):
    """Mutant: the comparison alone, with which nan reaches every target and a first nan stays the best."""
    target = Target("val/loss", 0.5, mode)
    assert not target.reached(math.nan)
    assert target.better(0.5, math.nan)
    assert not any([target.better(math.nan, 0.5), target.better(math.nan, math.nan)])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_without_a_value_nothing_is_reached(mode):
    assert not any(Target("val/loss", None, mode).reached(value) for value in (-1e9, 0.0, 1e9))


def losses_of(directory: Path) -> dict[int, float]:
    """The validation loss after so many steps."""
    with (directory / "metrics.csv").open() as file:
        return {int(row["step"]) + 1: float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}


def crossed(losses: dict[int, float], goal: float) -> float:
    """The step at which the straight line between the first two losses on both sides of `goal` meets it."""
    (start, above), (end, below) = next(
        pair for pair in itertools.pairwise(losses.items()) if pair[0][1] > goal >= pair[1][1]
    )
    return start + (end - start) * (above - goal) / (above - below)


def test_a_target_to_be_gone_below_is_timed_and_ends_the_run_where_the_next_evaluation_confirms_it(run):
    """Mutants: `mode` ignored in `better`, in `reached`, or in the watch; every evaluation taken for best."""
    loss = ("target.metric=val/loss", "target.mode=min", "target.value=1.0")
    directory = run(*loss, "target.stop=true", "trainer.max_epochs=30")
    losses, result = losses_of(directory), results.read(directory)
    first = min(step for step, value in losses.items() if value <= 1.0)
    assert result.status == "reached_target"
    assert result.time_to_target.steps == pytest.approx(crossed(losses, 1.0), abs=1e-3)
    assert result.time_to_target.samples == pytest.approx(64 * crossed(losses, 1.0), abs=64)
    assert result.time_to_target.confirmed
    assert result.steps == max(losses) == first + min(losses)
    lowest = min(losses, key=losses.__getitem__)
    assert result.best == results.Best("val/loss", losses[lowest], lowest)


def test_later_evaluations_change_neither_the_best_nor_the_time(run):
    """With mode=max a falling loss is at its best, and at the target, first. Mutants: the last one taken for either.

    The whole evaluation before the first step is at the target already, which is a crossing at 0.
    """
    directory = run("target.metric=val/loss", "target.mode=max", "target.value=0.1", "trainer.max_epochs=3")
    result, reached = results.read(directory), results.read(directory).time_to_target
    assert result.best.value > result.metrics["val/loss"]
    assert result.best.step == result.steps // 3
    assert (reached.metric, reached.value, reached.steps, reached.samples) == ("val/loss", 0.1, 0.0, 0)


def test_a_target_is_to_be_large_and_ends_nothing_unless_it_says_so():
    assert Target("val/acc") == Target("val/acc", None, "max", False)


def test_a_metric_that_is_not_there_is_named_before_the_first_step(run):
    answer = "target.metric=val/acx: no such metric, those of the model are: val/acc val/loss; did you mean val/acc"
    with pytest.raises(ConfigError, match=answer):
        run("target.metric=val/acx", "target.mode=max")


@pytest.fixture
def watched():
    """A watch for val/acc >= 0 whose stopwatch shows 1.23456789 s, and a trainer that has logged nothing."""
    stopwatch = Stopwatch()
    stopwatch.load_state_dict({"seconds": 1.23456789})
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return TargetWatch(Target("val/acc", 0.0), stopwatch, StepLog()), trainer


def test_an_evaluation_that_logs_nothing_tells_nothing(watched):
    watch, trainer = watched
    watch.on_sanity_check_end(trainer, None)
    watch.on_validation_end(trainer, None)
    assert (watch.best, watch.time_to_target) == (None, None)


def test_zero_is_a_target_and_its_time_has_four_decimals(watched):
    watch, trainer = watched
    trainer.callback_metrics["val/acc"] = torch.tensor(0.0)
    watch.on_validation_end(trainer, None)
    reached = watch.time_to_target
    assert (reached.value, reached.seconds) == (0.0, 1.2346)


def evaluate(watch, trainer, *values):
    """Let `watch` see an evaluation of each value, ten steps apart."""
    for step, value in enumerate(values, start=1):
        trainer.callback_metrics["val/acc"] = torch.tensor(value)
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 10 * step
        watch.on_validation_end(trainer, None)


WORDS = {
    (-1.0,): [],
    (-1.0, 1.0): ["reached"],
    (-1.0, 1.0, 1.0): ["reached", "confirmed"],
    (-1.0, 1.0, 1.0, 1.0): ["reached", "confirmed"],
    (-1.0, 1.0, -0.5): ["reached", "taken back"],
    (-1.0, 1.0, -0.5, 1.0): ["reached", "taken back", "again"],
}
SAID = {
    "reached": "the target val/acc 0 was reached after 15 steps, 0 samples, 1.23 s of training; "
    "the next evaluation is to confirm it",
    "confirmed": "the target val/acc 0 was reached after 15 steps, 0 samples, 1.23 s of training, confirmed",
    "taken back": "the target val/acc 0 is not confirmed: -0.5 at step 30",
    "again": "the target val/acc 0 was reached after 33.3333 steps, 0 samples, 1.23 s of training; "
    "the next evaluation is to confirm it",
}
LATE = "the training ended before another evaluation could confirm that the target was reached"


@pytest.mark.parametrize("values", WORDS)
def test_each_news_of_the_target_is_told_once(watched, caplog, values):
    """Mutants: told at each evaluation, or never; a confirmed one lamented at the end of the training."""
    watch, trainer = watched
    with caplog.at_level("INFO", logger="kasoku"):
        evaluate(watch, trainer, *values)
        watch.on_train_end(trainer, None)
    late = WORDS[values][-1:] in (["reached"], ["again"])
    assert caplog.messages == [*(SAID[news] for news in WORDS[values]), *([LATE] if late else [])]


@pytest.mark.parametrize(("stop", "values"), [(True, (1.0, 1.0)), (True, (1.0,)), (False, (1.0, 1.0))])
def test_a_run_that_was_cut_after_its_target_was_confirmed_trains_no_more(watched, stop, values):
    watch, trainer = watched
    watch.target = Target("val/acc", 0.0, stop=stop)
    evaluate(watch, trainer, *values)
    trainer.should_stop = False
    watch.on_fit_start(trainer, None)
    assert trainer.should_stop is (stop and len(values) == 2)


FALLING = ("target.metric=val/loss", "target.mode=max", "target.value=0.1")  # at its best, and at its target, first


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("target") / "run"
    assert run_here(directory, *SMALL, *FALLING, "trainer.max_epochs=2") == 0
    return directory


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("new", "best", "steps", "confirmed"),
    [
        ([], 19, 0, True),
        (["target.value=0.2"], 19, 38, True),
        (["target.mode=min", "target.value=100.0"], 57, 57, False),
        (["target.metric=val/acc"], 57, 57, False),
    ],
)
def test_a_resumed_run_takes_over_what_still_holds(begun, tmp_path, new, best, steps, confirmed):
    """Mutants: nothing restored; the best of another metric or mode, or the time to another value, restored.

    A new value counts from the last evaluation before the cut on, a new metric or mode from the next one: it is the
    earliest that is known to be at the target, as no line leads to it.
    """
    directory = shutil.copytree(begun, tmp_path / "run")
    before = results.read(directory)
    assert resumed(directory, "trainer.max_epochs=3", *new) == 0
    result = results.read(directory)
    assert (result.best.step, result.time_to_target.steps) == (best, steps)
    assert result.time_to_target.confirmed == confirmed
    assert (result.best == before.best) == (best == 19)


@pytest.mark.parametrize("cut", [7, 25])
def test_a_run_cut_before_its_first_evaluation_or_its_target_ends_with_those_of_the_straight_one(tmp_path, cut):
    """Mutant: a state that takes either for granted. Two epochs of 19 steps; the loss falls from 1.45 to 1.11."""
    overrides = ("target.metric=val/loss", "target.mode=min", "target.value=1.25", "trainer.max_epochs=2")
    assert run_here(tmp_path / "cut", *SMALL, *overrides, callbacks=[SignalAt(cut)]) == 143
    assert run_here(tmp_path / "straight", *SMALL, *overrides) == 0
    assert resumed(tmp_path / "cut") == 0
    one, other = (results.read(tmp_path / name) for name in ("cut", "straight"))
    assert one.best == other.best
    assert one.time_to_target.steps == other.time_to_target.steps
    assert one.time_to_target.steps == pytest.approx(crossed(losses_of(tmp_path / "straight"), 1.25), abs=1e-3)
