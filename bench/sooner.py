"""How many times fewer steps recipe=fast takes untuned than a tuned AdamW with cosine: `python -m bench sooner`.

On each of the workloads of bench/workloads.py

1. AdamW with linear warmup and cosine decay is tuned: 8 lrs x an end of the decay at 0 or a tenth, 16 full runs;
2. the best setting is run with five fresh seeds: the median of their final validation losses is the target;
3. recipe=fast as it stands is run with the same number of fresh seeds over longer and longer horizons, each a full run
   with its decay, until it ends at the target or below. Its steps lie between the last two horizons, where the straight
   line through both losses over the logarithm of the steps meets the target.

The ratio is the rival's steps over those. With five seeds the range of the ratios is a 93.75% interval of their median.
Only last values count, so that no look at the validation data ends a run. KASOKU_SOONER=digits,table takes some of the
workloads, KASOKU_RECIPE=fast_safe another recipe.
"""

import math
import os
import statistics
import time
from collections.abc import Sequence

import torch

from bench.runs import composed
from bench.workloads import WORKLOADS, Workload
from kasoku.command.build import build_recipe
from kasoku.durations import Clock
from kasoku.recipe import Recipe

LRS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
ENDS = (0.0, 0.1)
TUNING_SEED, SEEDS = 100, (0, 1, 2, 3, 4)
HORIZONS = (0.2, 0.25, 0.3, 0.36, 0.43, 0.52, 0.62, 0.75, 1.0, 1.4, 2.0)  # of the rival's steps


def main() -> None:
    """Print a line for each workload, and their median."""
    torch.set_num_threads(1)
    name = os.environ.get("KASOKU_RECIPE", "fast")
    names = os.environ.get("KASOKU_SOONER", ",".join(WORKLOADS)).split(",")
    print(f"recipe={name}, untuned, against AdamW with cosine decay, tuned in {len(LRS) * len(ENDS)} full runs")
    print("workload   steps   target  its lr, end   fewer steps, median (range)   at its steps   s a step, ours / its")
    medians = []
    for workload in names:
        line, median = measured(WORKLOADS[workload](), build_recipe(composed(f"recipe={name}")))
        print(f"{workload:10}{line}", flush=True)
        medians.append(median)
    print(f"median of {len(medians)}: {statistics.median(medians):.2f}")


def measured(task: Workload, ours: Recipe) -> tuple[str, float]:
    """The line of a workload and the median ratio."""
    settings = [(lr, end) for lr in LRS for end in ENDS]
    lr, end = min(settings, key=lambda setting: loss_of(task, rival(*setting), task.steps, TUNING_SEED))
    start = time.process_time()
    target = statistics.median(loss_of(task, rival(lr, end), task.steps, seed) for seed in SEEDS)
    its = (time.process_time() - start) / len(SEEDS) / task.steps
    start = time.process_time()
    at_its_steps = statistics.median(loss_of(task, ours, task.steps, seed) for seed in SEEDS)
    own = (time.process_time() - start) / len(SEEDS) / task.steps
    ratios = sorted(task.steps / steps_to(target, task, ours, seed) for seed in SEEDS)
    median = statistics.median(ratios)
    ratio = f"{median:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return (
        f"{task.steps:6}{target:9.4f}  {lr:g}, {end:<9g}  {ratio:29}{at_its_steps:12.4f}   {own / its:.2f}",
        median,
    )


def rival(lr: float, end: float) -> Recipe:
    """AdamW with cosine decay to the share `end` of the lr."""
    return build_recipe(composed("recipe=adamw", f"optimizer.lr={lr}", f"scheduler.final_factor={end}"))


def steps_to(target: float, task: Workload, recipe: Recipe, seed: int) -> float:
    """The steps after which a run of `recipe` that ends there has the loss `target`; inf if no horizon does."""
    before: tuple[float, float] | None = None
    for share in HORIZONS:
        steps = round(share * task.steps)
        loss = loss_of(task, recipe, steps, seed)
        if loss <= target:
            return float(steps) if before is None else crossing(before, (steps, loss), target)
        before = steps, loss
    return math.inf


def crossing(before: Sequence[float], after: Sequence[float], target: float) -> float:
    """Where the line through two points (steps, loss) over the logarithm of the steps meets `target`."""
    share = (before[1] - target) / (before[1] - after[1])
    return math.exp(math.log(before[0]) + share * math.log(after[0] / before[0]))


def loss_of(task: Workload, recipe: Recipe, steps: int, seed: int) -> float:
    """The validation loss at the end of a run; inf if it is no number."""
    torch.manual_seed(seed)
    net = task.net()
    made = recipe.configure(net, Clock(total=steps))
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for _, (x, y) in zip(range(steps), task.batches(seed), strict=False):
        optimizer.zero_grad()
        task.loss(net(x), y).backward()
        optimizer.step()
        scheduler.step()
    loss = task.evaluate(net)
    return loss if math.isfinite(loss) else math.inf
