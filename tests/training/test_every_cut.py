"""A run that is cut anywhere and resumed leaves what the straight run leaves, bit by bit."""

import csv
import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, command, options
from tests.training import cutting, dropped
from tests.training.cutting import EACH_STEP, SMALL, Cut, Outcome, cut_and_resume, difference

SEED = 20261126
SCHEDULE_FREE = [name for name in options("optimizer") if name.startswith("schedulefree")]
RICH = (  # whatever can be lost at once
    "optimizer=momentum",
    "optimizer.lr=0.05",
    "callbacks=ema",
    "trainer.accumulate_grad_batches=2",
    "trainer.val_check_interval=3",
)
PLATEAU = ("scheduler=plateau", "scheduler.patience=0")
CALLS, KILLS = 88, 62  # of hooks in a run with these settings, and of them after its first checkpoint

MLP, CNN = ("model=mlp", "model.net.hidden=16", "model.net.dropout=0.2"), ("model=cnn", "model.net.width=4")
EVALUATIONS: list[tuple[str, ...]] = [
    (),
    (),
    ("trainer.val_check_interval=2",),
    ("trainer.val_check_interval=3", "trainer.check_val_every_n_epoch=null"),
    ("trainer.check_val_every_n_epoch=2",),
    ("trainer.max_epochs=null", "trainer.max_steps=6"),
    ("target.metric=val/loss", "target.mode=min"),
]

Job = tuple[tuple[str, ...], tuple[Cut, ...]]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Two processes that have imported all and run no tensor operation: each cut and each resume is a fork of one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([cutting.__name__])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


def small(*overrides: str) -> tuple[str, ...]:
    """The small run with `overrides`, which replace its own."""
    keys = {override.partition("=")[0] for override in overrides}
    is_other = any(override.startswith("model=") for override in overrides)
    kept = [o for o in SMALL if o.partition("=")[0] not in keys and not (is_other and o.startswith("model"))]
    return (*kept, *overrides)


def drawn(count: int, cuts: int) -> list[Job]:
    """Runs that go through every optimizer, scheduler and warmup and draw the rest, half with a checkpoint each step.

    Of those half of the cuts, at least one, are kills.
    """
    rng = random.Random(SEED)
    optimizers, schedulers = options("optimizer"), options("scheduler")
    warmups = [name for name in options("warmup") if name != "untuned"]  # 2000 steps long
    jobs = []
    for i in range(count):
        optimizer = optimizers[i % len(optimizers)]
        free = optimizer in SCHEDULE_FREE
        overrides = [f"optimizer={optimizer}", f"warmup={warmups[i % len(warmups)]}"]
        overrides += [] if free else [f"scheduler={schedulers[i % len(schedulers)]}"]
        averages = [] if free else ["ema", "swa", "lawa"]  # schedule-free optimizers have their own
        overrides += [f"callbacks={rng.choice(['default', 'agc', *averages])}"]
        overrides += [f"trainer.accumulate_grad_batches={rng.choice([1, 1, 2, 3])}"]
        overrides += [f"trainer.precision={rng.choice(['32-true', '32-true', '64-true', 'bf16-mixed', 'bf16-true'])}"]
        overrides += [*rng.choice([MLP, MLP, CNN]), *rng.choice(EVALUATIONS)]
        kills = max(1, cuts // 2) if i % 2 else 0
        signals = [*[signal.SIGTERM] * (cuts - kills), *[signal.SIGKILL] * kills]
        jobs.append(
            (small(*overrides, *(EACH_STEP if kills else ())), tuple(Cut(rng.randrange(1000), s) for s in signals))
        )
    return jobs


def outcomes(pool: Executor, jobs: Sequence[Job], folder: Path) -> list[Outcome]:
    runs: list[Future[Any]] = [
        pool.submit(cut_and_resume, overrides, cuts, folder / str(i)) for i, (overrides, cuts) in enumerate(jobs)
    ]
    return list(itertools.chain.from_iterable(run.result() for run in runs))


def check(found: Sequence[Outcome], counted: Callable[..., None]) -> None:
    """Count the cuts that left nothing different; fail with the first difference of each of the others."""
    different = [str(outcome) for outcome in found if outcome.difference]
    assert not different, f"{len(different)} of {len(found)}\n" + "\n".join(different)
    counted("cuts identical", len(found))
    counted("of them after the last step", sum(not outcome.was_cut for outcome in found))


def test_a_sample_of_cuts(pool: Executor, tmp_path: Path, counted: Callable[..., None]):
    rng = random.Random(SEED)
    rich = small(*RICH, *PLATEAU)
    jobs = [(rich, tuple(map(Cut, rng.sample(range(CALLS), 8)))), *drawn(16, 2)]
    check(outcomes(pool, jobs, tmp_path), counted)


@pytest.mark.proof
def test_every_cut(pool: Executor, tmp_path: Path, counted: Callable[..., None]):
    """A signal in every call of a hook of a run, a kill in those after its first step, and a draw of 50 other runs."""
    terminated = [Cut(number) for number in range(CALLS)]
    killed = [Cut(number, signal.SIGKILL) for number in range(KILLS)]
    jobs = [(small(*RICH, *PLATEAU), tuple(terminated[i::2])) for i in range(2)]
    jobs += [(small(*RICH, *PLATEAU, *EACH_STEP), tuple(killed[i::2])) for i in range(2)]
    found = outcomes(pool, [*jobs, *drawn(50, 5)], tmp_path)
    check(found, counted)
    assert len({path.read_text() for path in tmp_path.glob("[0-3]/straight.calls")}) == 1
    assert len((tmp_path / "0" / "straight.calls").read_text().splitlines()) == CALLS


@pytest.mark.sample(3)
@pytest.mark.parametrize("part", dropped.PARTS)
def test_the_oracle_sees_what_a_resume_drops(pool: Executor, tmp_path: Path, part: str):
    """Negative controls, each cut where the part matters."""
    falls = ("target.mode=min",)  # of an accuracy that rises: the best is that of a validation before the cut
    overrides = small(*RICH, *(() if part == "step of the schedule" else (*PLATEAU, *falls)))
    number, _ = dropped.PARTS[part]
    job = pool.submit(cut_and_resume, overrides, [Cut(number)], tmp_path / "run", partial(dropped.drop, part))
    (outcome,) = job.result()
    assert outcome.was_cut
    assert outcome.difference


def test_tricks_that_keep_a_state_go_on_with_it(pool: Executor, tmp_path: Path):
    """Norms of weights, variances of rows, the momentum on its way up, and an average that has begun."""
    tricks = ("optimizer=muon", "optimizer.tricks.hyperball=true", "optimizer.tricks.cautious=true")
    more = (
        "optimizer.row_beta=0.9",
        "optimizer.tricks.wd_schedule=linear",
        "callbacks=tail",
        "callbacks.tail.share=60%",
    )
    jobs = pool.submit(cut_and_resume, small(*tricks, *more), [Cut(25), Cut(70)], tmp_path / "run")
    outcomes = jobs.result()
    assert [outcome.difference for outcome in outcomes] == ["", ""]
    assert any(outcome.was_cut for outcome in outcomes)


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32")
SIGNAL = "+callbacks.cut._target_=tests.training.cutting.SignalFromEnvironment"
ENVIRONMENT = {"KASOKU_TRUST": cutting.__name__, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


@pytest.mark.proof
def test_two_processes_cut_and_resumed(tmp_path: Path):
    """Both stop at the same step, each has its own losses and random numbers back, and the evaluation is made up."""
    words = (*small(*TWO, "model.net.dropout=0.5", "optimizer=muon", "callbacks=ema"), SIGNAL)

    def run(name: str, *words: str, cut_at: str = "") -> int:
        return command(*words, f"hydra.run.dir={name}", cwd=tmp_path, env=ENVIRONMENT | {"CUT_AT": cut_at}).returncode

    assert run("straight", *words) == 0
    for step in ("1", "5", "6"):
        assert run(step, *words, cut_at=step) == 143
        assert run(step, f"resume={step}") == 0
        assert difference(tmp_path / "straight", tmp_path / step) == ""


@pytest.mark.proof
def test_the_horizon_of_a_run_that_goes_on_with_two_processes(tmp_path: Path):
    """19 steps of 64 samples by one process; then epochs of 1257 // 128 steps by two."""
    settings = (
        "model=mlp",
        "logger=none",
        "optimizer=sgd",
        "optimizer.lr=1",
        "warmup=none",
        "trainer.log_every_n_steps=1",
    )
    command(*settings, "trainer=cpu", "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    more = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=3")
    ended = command("resume=run", *more, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        lrs = {int(row["step"]): float(row["lr"]) for row in csv.DictReader(file) if row["lr"]}
    total = 19 + 2 * (1257 // 128)
    assert {s: lr for s, lr in lrs.items() if s >= 19} == pytest.approx({s: 1 - s / total for s in range(19, total)})
