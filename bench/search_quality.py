"""What bayes with asha saves over random search at equal compute: `python -m bench search_quality`.

For each task and seed: random search trains TRIALS points to their end. The others search the same space and prune,
for as many optimizer steps in all. The figure is the share of those steps after which a search had a loss as low as
random's best; inf where it never had. Steps are counted, not seconds, so a busy machine changes nothing.

The space is search=lr_wd. TASKS=digits,cifar10,text (digits alone by default), SEEDS=5 and TRIALS=24 choose; cifar10
needs KASOKU_CIFAR10, the folder of its batches, and text KASOKU_SHAKESPEARE, the file. All three take
40 minutes of one core.
"""

import logging
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.runs import CONF, composed, quieten
from kasoku.config import trust
from kasoku.config.build import build
from kasoku.config.plain import plain
from kasoku.data.cifar10 import CIFAR10
from kasoku.search.objective import Objective
from kasoku.search.reporter import Reporter
from kasoku.search.samplers import make_pruner, make_sampler, method_of
from kasoku.search.settings import Settings
from kasoku.search.space import Space, parse
from kasoku.search.study import Book, End, Start, open_book, open_storage, open_study
from kasoku.training.run import fit

TRIALS = int(os.environ.get("TRIALS", 24))
SEEDS = int(os.environ.get("SEEDS", 5))
OBJECTIVE = Objective("val/loss", "min")
WAYS = {"random + asha": ("random", "asha"), "bayes + asha": ("bayes", "asha")}
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
            whole = search(task, "random", "none", seed)
            goal, budget = whole[-1][1], whole[-1][0]
            shares = {"random": reached(whole, goal, budget)}
            for way, (method, pruner) in WAYS.items():
                shares[way] = reached(search(task, method, pruner, seed, goal), goal, budget)
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

    CIFAR10.load = once  # type: ignore[method-assign]


def reached(curve: list[tuple[int, float]], goal: float, budget: int) -> float:
    """The share of `budget` after which the best loss of `curve` was as low as `goal`; inf if it never was."""
    return next((steps / budget for steps, best in curve if best <= goal), float("inf"))


def search(task: str, method: str, pruner: str, seed: int, goal: float | None = None) -> list[tuple[int, float]]:
    """(optimizer steps, best loss) after each trial, to the `goal` or for as many steps as TRIALS take."""
    fixed = [*COMMON, *TASKS[task], f"trainer.max_steps={STEPS[task]}", f"seed={seed}"]
    _, space = parse([], plain(composed(*fixed, "search=lr_wd").search)[0], {"optimizer": "adamw"})
    used, best, curve = 0, float("inf"), list[tuple[int, float]]()
    with tempfile.TemporaryDirectory() as folder:
        book = _book(Path(folder), space, method, pruner, seed)
        while used < TRIALS * STEPS[task] and (goal is None or best > goal):
            trial, point = book.ask() or (None, {})
            assert trial is not None  # there are tickets enough
            overrides = [*fixed, *(p.override(value) for p, value in point.items())]
            book.start(trial, Start(overrides, {}, "", book.me))
            steps, end = run(Path(folder) / str(trial.number), overrides, trial, pruner)
            book.end(trial, end)
            used += steps
            best = min([best, *(value for value in end.values if value is not None)])
            curve.append((used, best))
    return curve


def _book(folder: Path, space: Space, method: str, pruner: str, seed: int) -> Book:
    study, _ = open_study("s", open_storage(str(folder / "journal")), [OBJECTIVE], [])
    settings = Settings(method, 60, 1, "val/loss", "min", pruner, None, None, None, seed)  # type: ignore[arg-type]
    study.sampler, study.pruner = make_sampler(method_of(settings, space), seed, space), make_pruner(pruner)
    return open_book(study, 20 * TRIALS, space, [])


def run(directory: Path, overrides: list[str], trial: object, pruner: str) -> tuple[int, End]:
    """Train one point in this process."""
    seen: list[float] = []

    def report(count: int, values: dict[str, float]) -> bool:
        seen.append(values["val/loss"])
        trial.report(values["val/loss"], count)  # type: ignore[attr-defined]
        return pruner != "none" and trial.should_prune()  # type: ignore[attr-defined]

    directory.mkdir()
    built = build(composed(*overrides), directory, trust.trusted(CONF))
    built.callbacks = [*built.callbacks, Reporter(["val/loss"], report)]  # type: ignore[list-item]
    result = fit(built).result
    value = min(seen) if seen and result.status in ("completed", "pruned") else None
    return result.steps, End(result.status, "", [value])


if __name__ == "__main__":
    main()
