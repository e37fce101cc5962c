"""What a search saves over random search at equal compute: `python -m bench search_quality`.

For each task and seed: random search trains TRIALS points to their end. The others search the same space and prune,
for as many optimizer steps in all. The figure is the share of those steps after which a search had a loss as low as
random's best; inf where it never had. Steps are counted, not seconds, so a busy machine changes nothing.

bracket searches the lr alone, in 8 trials, and has done its work then. i-epoch, the baseline of 2404.04111, trains
all TRIALS points to the first evaluation and finishes the best of them, then the second best, to the same budget.

The space is search=lr_wd. TASKS=digits,cifar10,text (digits alone by default), SEEDS=5 and TRIALS=24 choose; cifar10
needs KASOKU_CIFAR10, the folder of its batches, and text KASOKU_SHAKESPEARE, the file. All three take
40 minutes of one core.
"""

import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler
from optuna.trial import Trial

from bench.runs import CONF, composed, quieten
from kasoku.command.build import build
from kasoku.config import trust
from kasoku.config.tree import plain
from kasoku.data.cifar10 import CIFAR10
from kasoku.search import bracket, own_ranges
from kasoku.search.agenda import Agenda, Drawn
from kasoku.search.objective import Objective
from kasoku.search.samplers import make_pruner, make_sampler, method_of
from kasoku.search.settings import Settings
from kasoku.search.space import Space
from kasoku.search.study import Book, End, Start, open_book, open_storage, open_study
from kasoku.training.reporter import Reporter
from kasoku.training.session import fit

TRIALS = int(os.environ.get("TRIALS", 24))
SEEDS = int(os.environ.get("SEEDS", 5))
OBJECTIVE = Objective("val/loss", "min")
Curve = list[tuple[int, float]]
FILES = {"cifar10": "KASOKU_CIFAR10", "text": "KASOKU_SHAKESPEARE"}  # name what a task reads
STEPS = {"digits": 10 * 19, "cifar10": 90, "text": 90}  # of a trial that is not pruned
COMMON = ["target.metric=val/loss", "target.mode=min", "callbacks={}", "optimizer=adamw"]
SHORT = ["trainer.val_check_interval=10", "trainer.limit_test_batches=1"]
TASKS = {
    "digits": [],
    "cifar10": [
        *SHORT,
        "data=cifar10",
        f"data.root={os.environ.get(FILES['cifar10'])}",
        "data.size=16",
        "data.batch_size=64",
        "data.eval_batch_size=500",
        "trainer.limit_val_batches=1",
    ],
    "text": [
        *SHORT,
        "data=text",
        f"data.path={os.environ.get(FILES['text'])}",
        "model=gpt",
        "model.net.n_layer=2",
        "model.net.n_head=2",
        "model.net.n_embd=64",
        "trainer.limit_val_batches=4",
    ],
}


def main() -> None:
    """Print the shares of each task and seed, then their medians."""
    quieten()
    keep_images()
    logging.getLogger("kasoku").setLevel(logging.ERROR)
    found: dict[str, dict[str, list[float]]] = {way: {} for way in ["random", *WAYS]}
    for task in chosen():
        print(f"{task}, {TRIALS} trials of {STEPS[task]} steps by random search")
        for seed in range(SEEDS):
            whole = drawn("random", "none", task, seed)
            goal, budget = whole[-1][1], whole[-1][0]
            shares = {"random": reached(whole, goal, budget)}
            for way, searched in WAYS.items():
                shares[way] = reached(searched(task, seed, goal), goal, budget)
            for way, share in shares.items():
                found[way].setdefault(task, []).append(share)
            print(
                f"  seed {seed}: loss {goal:.4f}; " + ", ".join(f"{w} {s:.2f}" for w, s in shares.items()), flush=True
            )
    for way, tasks in found.items():
        every = [share for shares in tasks.values() for share in shares]
        ordered = sorted(every)
        low, high = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
        each = ", ".join(f"{task} {statistics.median(shares):.2f}" for task, shares in tasks.items())
        print(f"{way:<14} median {statistics.median(every):.2f} (quartiles {low:.2f} to {high:.2f}); {each}")


def chosen() -> list[str]:
    """The tasks that TASKS names; ends the process where one is unknown or lacks its file."""
    tasks = os.environ.get("TASKS", "digits").split(",")
    if unknown := [task for task in tasks if task not in TASKS]:
        sys.exit(f"TASKS={','.join(unknown)}: must be of {' '.join(TASKS)}")
    if missing := [FILES[task] for task in tasks if task in FILES and not os.environ.get(FILES[task])]:
        sys.exit(f"{' '.join(missing)} must be set: the folder of CIFAR-10's batches, the file of the text")
    return tasks


def keep_images() -> None:
    """Read CIFAR-10 once a seed, where each trial would."""
    load, kept = CIFAR10.load, dict[int, Any]()

    def once(data: CIFAR10) -> Any:
        if data.seed not in kept:
            kept.clear()
            kept[data.seed] = load(data)
        return kept[data.seed]

    CIFAR10.load = once  # type: ignore[assignment, method-assign]


def reached(curve: list[tuple[int, float]], goal: float, budget: int) -> float:
    """The share of `budget` after which the best loss of `curve` was as low as `goal`; inf if it never was."""
    return next((steps / budget for steps, best in curve if best <= goal), float("inf"))


def drawn(method: str, pruner: str, task: str, seed: int, goal: float | None = None) -> Curve:
    """(optimizer steps, best loss) after each trial, to the `goal` or for as many steps as TRIALS take."""
    space = _space(task, seed)
    settings = Settings(method, 60, 1, "val/loss", "min", pruner, None, None, None, seed)  # type: ignore[arg-type]
    sampler = make_sampler(method_of(settings, space), seed, space)
    return _searched(task, seed, Drawn(20 * TRIALS, space), sampler, pruner, goal)


def by_bracket(task: str, seed: int, goal: float) -> Curve:
    """As `drawn`, of sweeper=bracket with its own settings."""
    space = _space(task, seed, ["lr"])
    settings = Settings("bracket", 8, 1, "val/loss", "min", "none", None, None, None, seed)
    asked = bracket.read(plain(composed(*_fixed(task, seed)))[0], space, settings, [OBJECTIVE])
    sampler = make_sampler("random", seed, space)
    return _searched(task, seed, bracket.BracketAgenda(asked), sampler, "none", goal)


def by_first_evaluation(task: str, seed: int, goal: float) -> Curve:
    """As `drawn`, of i-epoch: all points to their first evaluation, then the best of them to their ends.

    A run that is finished is trained anew here, and its first part is not counted twice.
    """
    space, found = _space(task, seed), list[tuple[float, int, list[str]]]()
    used, curve = 0, Curve()
    with tempfile.TemporaryDirectory() as folder:
        book = _book(Path(folder), Drawn(TRIALS, space), make_sampler("random", seed, space), "none")
        while asked := book.ask():
            trial, draft = asked
            overrides = [*_fixed(task, seed), *draft.overrides]
            book.start(trial, Start(overrides, {}, "", book.me))
            steps, end, seen = run(Path(folder) / str(trial.number), overrides, lambda count, value: True)
            book.end(trial, end)
            used += steps
            curve.append((used, min([*(best for _, best in curve[-1:]), *seen], default=float("inf"))))
            found += [(seen[0], steps, overrides)] if seen else []
        for number, (_, first, overrides) in enumerate(sorted(found)):
            if curve[-1][1] <= goal or used >= TRIALS * STEPS[task]:
                break
            steps, _, seen = run(Path(folder) / f"finished{number}", overrides, lambda count, value: False)
            used += steps - first
            curve.append((used, min([curve[-1][1], *seen])))
    return curve


WAYS: dict[str, Callable[[str, int, float], Curve]] = {
    "random + asha": partial(drawn, "random", "asha"),
    "bayes + asha": partial(drawn, "bayes", "asha"),
    "bracket": by_bracket,
    "i-epoch": by_first_evaluation,
}


def _fixed(task: str, seed: int) -> list[str]:
    return [*COMMON, *TASKS[task], f"trainer.max_steps={STEPS[task]}", f"seed={seed}"]


def _space(task: str, seed: int, names: Sequence[str] = ("lr", "weight_decay")) -> Space:
    ranges = plain(composed(*_fixed(task, seed)).optimizer.search)[0]
    return own_ranges.add(Space((), chosen={"optimizer": "adamw"}), names, [], lambda _: ranges)


def _searched(task: str, seed: int, agenda: Agenda, sampler: BaseSampler, pruner: str, goal: float | None) -> Curve:
    used, best, curve = 0, float("inf"), Curve()
    with tempfile.TemporaryDirectory() as folder:
        book = _book(Path(folder), agenda, sampler, pruner)
        while used < TRIALS * STEPS[task] and (goal is None or best > goal) and (asked := book.ask()):
            trial, draft = asked
            overrides = [*_fixed(task, seed), *draft.overrides]
            book.start(trial, Start(overrides, {}, "", book.me))
            steps, end, _ = run(Path(folder) / str(trial.number), overrides, partial(_is_behind, trial, pruner))
            book.end(trial, end)
            used += steps
            best = min([best, *(value for value in end.values if value is not None)])
            curve.append((used, best))
    return curve


def _is_behind(trial: Trial, pruner: str, count: int, value: float) -> bool:
    trial.report(value, count)
    return pruner != "none" and trial.should_prune()


def _book(folder: Path, agenda: Agenda, sampler: BaseSampler, pruner: str) -> Book:
    study, _ = open_study("s", open_storage(str(folder / "journal")), [OBJECTIVE], [])
    study.sampler, study.pruner = sampler, make_pruner(pruner)
    return open_book(study, agenda)


def run(directory: Path, overrides: list[str], stop: Callable[[int, float], bool]) -> tuple[int, End, list[float]]:
    """Train one point in this process, until an evaluation at which `stop` says so: its steps, end and losses."""
    seen: list[float] = []

    def report(count: int, values: Mapping[str, float]) -> bool:
        seen.append(values["val/loss"])
        return stop(count, values["val/loss"])

    directory.mkdir()
    built = build(composed(*overrides), directory, trust.trusted(CONF))
    built.callbacks = [*built.callbacks, Reporter(["val/loss"], report)]  # type: ignore[list-item]
    result = fit(built).result
    value = min(seen) if seen and result.status in ("completed", "pruned") else None
    return result.steps, End(result.status, "", [value]), seen


if __name__ == "__main__":
    main()
