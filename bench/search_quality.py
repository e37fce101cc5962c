"""What bayes with asha saves over random search at equal compute: `python -m bench search_quality`.

For each task and seed: random search trains TRIALS points to their end. The others search the same space, prune, and
stop when they have trained as many optimizer steps in all. The figure is the share of those steps after which a search
had a point as good as random's best; inf where it never had. Steps are counted, not seconds, so a busy machine changes
nothing. TASKS=digits,cifar10,text and SEEDS=5 choose; cifar10 needs KASOKU_CIFAR10, the folder of its batches, and text
KASOKU_SHAKESPEARE, the file.
"""

import logging
import os
import statistics
import tempfile
from pathlib import Path

from bench.runs import CONF, composed, quieten
from kasoku.config import trust
from kasoku.config.build import build
from kasoku.config.plain import plain
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
WAYS = [("random", "none"), ("random", "asha"), ("bayes", "asha"), ("tpe", "asha"), ("bayes", "none")]
LOSS = ["target.metric=val/loss", "target.mode=min", "callbacks={}"]
TEXT, IMAGES = os.environ.get("KASOKU_SHAKESPEARE"), os.environ.get("KASOKU_CIFAR10")
TASKS = {
    "digits": ["model=mlp", "optimizer=nesterov", "trainer.max_epochs=9"],
    "cifar10": ["data=cifar10", "data.size=16", f"data.root={IMAGES}", "model=cnn", "optimizer=nesterov"],
    "text": ["data=text", f"data.path={TEXT}", "model=gpt", "optimizer=adamw", "trainer.max_steps=180"],
}
TASKS["cifar10"] += ["trainer.max_steps=90", "trainer.val_check_interval=10", "trainer.limit_val_batches=1"]
TASKS["text"] += ["trainer.val_check_interval=20", "trainer.limit_val_batches=10"]
TASKS = {name: [*lines, "search=lr_wd"] for name, lines in TASKS.items()}


def main() -> None:
    """Print, for each task and way to search, the shares of all seeds and their median."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.ERROR)
    for task in os.environ.get("TASKS", "digits").split(","):
        found: dict[str, list[float]] = {}
        finals: dict[str, list[float]] = {}
        for seed in range(SEEDS):
            curves = {f"{method} {pruner}": search(task, method, pruner, seed) for method, pruner in WAYS}
            goal, budget = curves["random none"][-1][1], curves["random none"][-1][0]
            for way, curve in curves.items():
                reached = [steps for steps, best in curve if best <= goal]
                found.setdefault(way, []).append(reached[0] / budget if reached else float("inf"))
                finals.setdefault(way, []).append(curve[-1][1])
            print(f"{task} seed {seed}: " + "  ".join(f"{way} {found[way][-1]:.2f}" for way in found), flush=True)
        for way, shares in found.items():
            each = " ".join(f"{share:5.2f}" for share in shares)
            final = statistics.median(finals[way])
            print(
                f"{task:>8}  {way:<14}  median {statistics.median(shares):5.2f}  of {each}  final loss {final:.4f}",
                flush=True,
            )


def search(task: str, method: str, pruner: str, seed: int) -> list[tuple[int, float]]:
    """(optimizer steps so far, best loss so far) after each trial."""
    cfg = composed(*LOSS, *TASKS[task])
    _, space = parse([], plain(cfg.search)[0], {"optimizer": cfg_choice(task)})
    fixed = [line for line in TASKS[task] if not line.startswith("search=")]
    with tempfile.TemporaryDirectory() as folder:
        book = _book(Path(folder), space, method, pruner, seed)
        used, best, curve, budget = 0, float("inf"), list[tuple[int, float]](), None
        while (budget is None or used < budget) and (asked := book.ask()) is not None:
            trial, point = asked
            overrides = [*LOSS, *fixed, f"seed={seed}", *(p.override(value) for p, value in point.items())]
            book.start(trial, Start(overrides, {}, "", book.me))
            steps, end = run(Path(folder) / str(trial.number), overrides, trial, pruner)
            book.end(trial, end)
            used += steps
            best = min([best, *(value for value in end.values if value is not None)])
            curve.append((used, best))
            full = full_steps(task)
            budget = TRIALS * full
    return curve


def cfg_choice(task: str) -> str:
    return next(line.partition("=")[2] for line in TASKS[task] if line.startswith("optimizer="))


def full_steps(task: str) -> int:
    """Optimizer steps of a trial that is not pruned."""
    return {"digits": 9 * 19, "cifar10": 90, "text": 180}[task]


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
