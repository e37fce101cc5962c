"""The tuning of one strategy so far: what it has spent of its budget, and how its runs are told apart."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from kasoku.search.race.runs import Done, Planned, Rules, Strategy

MOST = 24  # trials of a strategy; where they are very short, more would cost their starts and little else

Score = tuple[int, float]  # level (-1 it ended badly, 0 it missed, 1 it did not), and how good: greater is better
Tried = list[tuple[float, Score]]
Runs = Generator[list[Planned], Sequence[Done], list[Done]]


@dataclass
class Work:
    """The tuning of `strategy` so far: what it has spent, in steps, and how near it came."""

    strategy: Strategy
    rules: Rules
    cap: int
    study: int = 0
    made: list[tuple[Planned, Done]] = field(default_factory=list)
    most: int = MOST
    missed: bool = False  # at the cap, with what was tuned by then

    @property
    def spent(self) -> int:
        return sum(done.steps for _, done in self.made)

    @property
    def left(self) -> float:
        """The steps of the budget that are not spent."""
        return self.rules.tuning * self.cap - self.spent

    @property
    def hit(self) -> bool:
        return any(self.reached(done) for _, done in self.made)

    def reached(self, done: Done) -> bool:
        if not self.strategy.decays:
            return math.isfinite(done.crossing)
        return done.final is not None and self.rules.excess(done.final) >= 0

    def affords(self, *lengths: int) -> bool:
        budget = self.rules.tuning * self.cap * (1 + 1e-9)
        return len(self.made) + len(lengths) <= self.most and self.spent + sum(lengths) <= budget

    def run(self, wanted: Sequence[tuple[Mapping[str, float], int]]) -> Runs:
        """Run these settings and lengths, as far as the budget goes."""
        while wanted and not self.affords(*(steps for _, steps in wanted)):
            wanted = wanted[:-1]
        if not wanted:
            return []
        first = len(self.made)
        runs = [self.planned(first + index, values, steps) for index, (values, steps) in enumerate(wanted)]
        found = yield runs
        self.made += zip(runs, found, strict=True)
        return list(found)

    def planned(self, index: int, values: Mapping[str, float], steps: int | None) -> Planned:
        key = f"{self.strategy.name}/{self.study}/tuning/{index}"
        seed = (self.rules.seed + 1000 * self.study + index) % 2**32
        return Planned(key, self.strategy.name, "tuning", dict(values), steps, seed)

    def score(self, done: Done) -> Score:
        """Runs of equal length that decay are compared by their ends; others by when they crossed, else how near."""
        if done.final is None:
            return -1, 0.0
        if self.strategy.decays:
            return 1, self.rules.excess(done.final)
        return (
            (1, -math.log(max(done.crossing, 1e-9)))
            if math.isfinite(done.crossing)
            else (
                0,
                self.rules.excess(done.final),
            )
        )
