"""Resumes that change something: the right curve from the next step on, or a refusal that leaves every file alone."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from kasoku import results
from kasoku.config.directory import overrides_of
from kasoku.faults import ConfigError
from tests.conftest import SMALL, run_here

LR = 0.1
PLAIN = (*SMALL, "optimizer=sgd", f"optimizer.lr={LR}", "warmup=none", "trainer.log_every_n_steps=1")
ACCUMULATE = "trainer.accumulate_grad_batches"
EPOCH = 19  # batches of 64 in the 1257 samples


class SignalAt(Callback):
    """A signal at a step."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def resumed(directory: Path, *new: str, callbacks=()) -> int:
    """What `python train.py resume=directory *new` runs."""
    return run_here(directory, *overrides_of(directory), *new, f"resume={directory}", callbacks=callbacks)


def lrs(directory: Path) -> dict[int, float]:
    with (directory / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["lr"]) for row in csv.DictReader(file) if row["lr"]}


def checkpoint(directory: Path, name: str) -> dict[str, Any]:
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


TRAINED = 7 * 64  # samples, at step 7
CHANGES = {  # how the run began, the step of the cut (None: its end), what the resume changes, the steps in all
    "batch size, at an epoch's end": (
        "trainer.max_epochs=1",
        None,
        "trainer.max_epochs=3 data.batch_size=32",
        19 + 2 * 39,
    ),
    "batch size, inside an epoch": ("trainer.max_epochs=2", 7, "data.batch_size=32", 7 + (1257 - TRAINED) // 32 + 39),
    "another number of samples": ("trainer.max_epochs=2", 7, "data.batch_size=100", 7 + (1257 - TRAINED) // 100 + 12),
    "more accumulation": ("trainer.max_epochs=4", 26, f"{ACCUMULATE}=2", 26 + (10 - 3) + 2 * 10),
    "less accumulation": (f"trainer.max_epochs=3 {ACCUMULATE}=4", 7, f"{ACCUMULATE}=1", 7 + 11 + 19),
    "more epochs": ("trainer.max_epochs=1", None, "trainer.max_epochs=3", 3 * EPOCH),
    "fewer epochs": ("trainer.max_epochs=4", 26, "trainer.max_epochs=2", 2 * EPOCH),
    "steps to epochs": ("trainer.max_steps=31", None, "trainer.max_steps=-1 trainer.max_epochs=3", 3 * EPOCH),
    "more steps": ("trainer.max_steps=31", None, "trainer.max_steps=70", 70),
    "epochs to steps": ("trainer.max_epochs=3", 26, "trainer.max_epochs=null trainer.max_steps=50", 50),
    "fewer batches an epoch": ("trainer.max_epochs=3", 26, "trainer.limit_train_batches=10", 26 + 3 + 10),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", CHANGES)
def test_the_horizon_is_what_is_done_and_what_is_left(tmp_path: Path, name: str):
    """The linear schedule, lr (1 - s / T): from the resumed step on T is the new one, and the run ends at T."""
    first, cut, changed, total = CHANGES[name]
    code = run_here(tmp_path, *PLAIN, *first.split(), callbacks=[SignalAt(cut)] if cut else [])
    assert code == (143 if cut else 0)
    done = results.read(tmp_path).steps
    assert resumed(tmp_path, *changed.split()) == 0
    found = lrs(tmp_path)
    assert sorted(found) == list(range(total))
    assert [found[s] for s in range(done, total)] == pytest.approx([LR * (1 - s / total) for s in range(done, total)])


GAS = (
    "+callbacks.gas._target_=pytorch_lightning.callbacks.GradientAccumulationScheduler",
    "+callbacks.gas.scheduling={0:4,2:1}",
)


@pytest.mark.sample(2)
@pytest.mark.parametrize("cut", [None, 3, 7, 20])
def test_accumulation_that_changes_from_epoch_to_epoch(tmp_path: Path, cut: int | None):
    total = 5 + 5 + 19 + 19
    code = run_here(tmp_path, *PLAIN, *GAS, "trainer.max_epochs=4", callbacks=[SignalAt(cut)] if cut else [])
    assert code == (143 if cut else 0)
    assert not cut or resumed(tmp_path) == 0
    assert lrs(tmp_path) == pytest.approx({s: LR * (1 - s / total) for s in range(total)})


def test_lengths_in_epochs_are_refused_where_epochs_differ(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"scheduler\.every=1ep.*steps of an epoch"):
        run_here(tmp_path, *PLAIN, *GAS, "scheduler=step", "scheduler.every=1ep", "trainer.max_epochs=4")


@pytest.mark.sample(3)
@pytest.mark.parametrize(("before", "after"), [("linear", "plateau"), ("plateau", "linear"), ("cosine", "wsd")])
def test_another_schedule_from_the_next_step_on(tmp_path: Path, before: str, after: str):
    run_here(tmp_path, *PLAIN, f"scheduler={before}", "trainer.max_epochs=1")
    assert resumed(tmp_path, f"scheduler={after}", "trainer.max_epochs=2") == 0
    run_here(tmp_path / "straight", *PLAIN, f"scheduler={after}", "trainer.max_epochs=2")
    expected = lrs(tmp_path / "straight")
    assert {s: lr for s, lr in lrs(tmp_path).items() if s >= EPOCH} == {s: expected[s] for s in range(EPOCH, 38)}


def test_settings_of_the_optimizer_are_those_of_the_present_command(tmp_path: Path):
    run_here(tmp_path, *SMALL, "optimizer=nesterov", "trainer.max_epochs=1")
    changed = ("optimizer.nesterov=false", "optimizer.momentum=0.5", "optimizer.weight_decay=0.02")
    assert resumed(tmp_path, *changed, "trainer.max_epochs=2") == 0
    (state,) = checkpoint(tmp_path, "last")["optimizer_states"]
    found = [(group["nesterov"], group["momentum"], group["weight_decay"]) for group in state["param_groups"]]
    assert found == [(False, 0.5, 0.02), (False, 0.5, 0.0)]


REFUSED = {
    "another shape": ((), ("model.net.hidden=32",), r"net\.\S+ is \(.*model\.net\.hidden: 64 -> 32"),
    "another net": ((), ("model=cnn",), r"model\.net\._target_: kasoku\.nets\.mlp\.MLP -> kasoku\.nets\.cnn\.CNN"),
    "other groups": (
        (),
        ("optimizer.groups.no_decay=false",),
        r"parameter groups.*optimizer\.groups\.no_decay: true -> false",
    ),
    "another optimizer": ((), ("optimizer=nesterov",), r"torch\.optim\.SGD.*torch\.optim\.AdamW"),
    "state that is not there": ((), ("optimizer.amsgrad=true",), r"holds no state.*optimizer\.amsgrad: false -> true"),
    "no average": (("callbacks=ema",), ("~callbacks.ema",), r"average of the weights \(EMA\)"),
    "a longer ring": (("callbacks=lawa",), ("callbacks.lawa.latest=3",), r"callbacks\.lawa\.latest=3: was 6"),
    "nothing left": ((), ("trainer.max_epochs=1",), r"has finished, at step 5.*larger trainer\.max_epochs"),
    "a metric that is not there": ((), ("target.metric=val/nope",), r"target\.metric=val/nope"),
}


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_resume_changes_no_file(tmp_path: Path, name: str):
    first, changed, words = REFUSED[name]
    run_here(tmp_path, *SMALL, *first, "trainer.limit_train_batches=5", "trainer.max_epochs=1")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        resumed(tmp_path, "trainer.max_epochs=2", *changed)
    assert files(tmp_path) == before
    assert resumed(tmp_path, "trainer.max_epochs=2") == 0


def test_a_resume_that_crashes_before_it_trains_changes_no_file(tmp_path: Path):
    class Crash(Callback):
        def on_fit_start(self, *args) -> None:
            raise RuntimeError("no")

    run_here(tmp_path, *SMALL, "trainer.limit_train_batches=5", "trainer.max_epochs=1")
    before = files(tmp_path)
    with pytest.raises(RuntimeError, match="no"):
        resumed(tmp_path, "trainer.max_epochs=2", callbacks=[Crash()])
    assert files(tmp_path) == before


def test_a_run_killed_between_its_last_step_and_its_result_is_ended(tmp_path: Path):
    run_here(tmp_path, *SMALL, "trainer.limit_train_batches=5", "trainer.max_epochs=1", "callbacks=ema")
    expected = results.read(tmp_path)
    (tmp_path / "result.json").unlink()
    assert resumed(tmp_path) == 0
    found = results.read(tmp_path)
    for key in ("status", "metrics", "best", "steps", "epochs", "samples"):
        assert getattr(found, key) == getattr(expected, key), key


def test_a_target_that_was_reached_stays_reached(tmp_path: Path):
    target = ("target.value=0.2", "target.stop=true")
    run_here(tmp_path, *PLAIN, *target, "trainer.max_epochs=5")
    assert results.read(tmp_path).status == "reached_target"
    steps = results.read(tmp_path).steps
    with pytest.raises(ConfigError, match="has finished"):
        resumed(tmp_path)
    (tmp_path / "result.json").unlink()
    assert resumed(tmp_path) == 0
    assert results.read(tmp_path).steps == steps
    assert resumed(tmp_path, "target.value=0.99") == 0
    assert results.read(tmp_path).steps == 5 * EPOCH


def test_a_moved_directory_keeps_its_best(tmp_path: Path):
    run_here(tmp_path / "a", *PLAIN, "trainer.max_epochs=3")
    best = checkpoint(tmp_path / "a", "best")["global_step"]
    (tmp_path / "a").rename(tmp_path / "b")
    assert resumed(tmp_path / "b", "trainer.max_epochs=4", "optimizer.lr=1e-30") == 0
    again = checkpoint(tmp_path / "b", "best")["global_step"]
    assert again == best
