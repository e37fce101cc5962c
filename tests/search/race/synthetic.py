"""A trainer of known answer: what a run of a strategy comes to is a formula of its lr, its length and its seed."""

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from kasoku.results import Target
from kasoku.search.race.plan import Plan, plan
from kasoku.search.race.runs import Dimension, Done, Planned, Rules, Strategy

GOAL = 0.9


@dataclass(frozen=True)
class Truth:
    """A strategy needs `steps` at its best lr, exp(bend log(lr / best)^2) times as many at another; the log of what a
    seed needs scatters by `sd`. From `limit` times the best lr on it diverges."""

    steps: float
    best: float = 0.003
    bend: float = 0.2
    sd: float = 0.1
    slope: float = 0.05  # of the metric over the log of the steps
    limit: float = 30.0
    decays: bool = True
    drift: float = 0.0  # the best lr of a run of 1000 steps is `best`, of a tenth of them a tenth to the `drift` of it
    bow: float = 0.0  # twice as many steps as needed add less than half as many took off, as of a loss that levels out

    def needed(self, lr: float, luck: float, length: int = 1000) -> float:
        best = self.best * (length / 1000) ** self.drift
        return self.steps * math.exp(self.bend * math.log(lr / best) ** 2 + self.sd * luck)

    def run(self, planned: Planned, lr: float, cap: int, luck: float) -> Done:
        length = planned.steps or cap
        if lr > self.limit * self.best:
            return Done(None, length // 10, reason="diverged")
        needed = self.needed(lr, luck, length)
        beyond = math.log(length / needed)
        final = GOAL + self.slope * (-math.expm1(-self.bow * beyond) / self.bow if self.bow else beyond)
        if self.decays:
            return Done(final, length, length if final >= GOAL else math.inf, 0.01 * length)
        steps = min(length, math.ceil(needed))
        return Done(final, steps, needed if needed <= length else math.inf, 0.01 * steps)


def luck(world: int, key: str) -> float:
    return random.Random(hashlib.sha256(f"{world} {key}".encode()).digest()).gauss(0.0, 1.0)


def strategy(name: str, truth: Truth, default: float = 0.002) -> Strategy:
    return Strategy(name, (f"optimizer={name}",), (Dimension("optimizer.lr", default, 1e-5, 1.0),), truth.decays)


def race(truths: Mapping[str, Truth], world: int = 0, cap: int = 1000, **rules: object) -> tuple[Plan, dict[str, Done]]:
    """A whole race; the plan at its end, and all its runs."""
    strategies = [strategy(name, truth) for name, truth in truths.items()]
    settings = Rules(next(iter(truths)), Target("val/acc", GOAL), cap, **rules)  # type: ignore[arg-type]
    done: dict[str, Done] = {}
    while (now := plan(strategies, settings, done)).pending:
        for run in now.pending:
            truth = truths[run.strategy]
            done[run.key] = truth.run(run, run.values["optimizer.lr"], cap, luck(world, run.key))
    return now, done
