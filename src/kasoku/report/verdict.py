"""The verdict on which strategy is the sooner, with an interval that holds at five seeds: pure statistics, no torch.

`compare([100, 105, 110, 95, 102], [50, 52, 49, 55, 51]).sentence` is "2.0 times sooner (1.8 to 2.2, 5 of 5 runs each)".

The test is the exact Mann-Whitney test, the interval is what it does not reject, a miss is infinite (see `ranks`).
Seeds are unpaired: two strategies with one seed do not make alike runs. The interval supposes that the strategies
differ by a factor, log times having one shape; where one side scatters three times as much as the other, its 95% are 94
to 96% (4 to 10 runs).

Ranks alone cannot keep the error where all challengers scatter more than the baseline: five runs that scatter widely
lie all on one side of five that hardly do once in 16, and nothing that permutes the runs sees more than that. So
Welch's test on log times must find the difference too, a miss taken for the least that it can have been (see
`least_times`) and for no degree of freedom; where it does not, the interval is widened to Welch's. A false verdict on
any of six to nine challengers that all scatter three times as much as the baseline then comes in 4.5 to 4.8% of races
(8.4 to 9.6% by ranks, by a studentised permutation test and by Brunner and Munzel's alike), ten times as much in 4.3 to
5.8% (15 to 22%); three times as much with a fifth of the runs missing in up to 4.7%.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from kasoku.faults import ConfigError, Fault
from kasoku.report import ranks, sentences
from kasoku.report.second_opinion import Opinion, welch
from kasoku.report.sentences import Hits

LEVEL = 0.05
LEAST_SEEDS = 4

Outcome = Literal["sooner", "later", "no difference", "too few seeds"]


@dataclass(frozen=True)
class Runs:
    """The runs of one strategy, in the unit of their times.

    `hits` of `n` reached the target. The median and the geometric mean count a miss as infinite. `expected` is the
    expected running time until a hit, everything spent over the number of hits, a miss having spent the cap (Hansen
    et al., COCO, arXiv:1605.03560): None where runs missed and no cap was given.
    """

    hits: int
    n: int
    median: float
    geometric_mean: float
    expected: float | None


@dataclass(frozen=True)
class Comparison:
    """A challenger against the baseline; every ratio is baseline / challenger, so that 2 is twice as soon.

    ratio: the Hodges-Lehmann estimate, the median ratio over all pairs of runs; 0 or infinite where misses decide it.
    low, high: what the exact test at `level` does not reject; 0 or infinite where the runs set no bound. Widened to
        Welch's interval where the ranks differ and Welch's test does not.
    confidence: what the interval reaches exactly, at least 1 - level (5 v 5 runs at 5%: 96.8%).
    p: the exact two-sided Mann-Whitney p, ties and misses included, or that of Welch's test on the least times where
        it is larger.
    p_ranks: the exact p alone.
    level: the error allowed to this comparison: 5%, or its part in Holm's procedure for several challengers.
    p_adjusted: p after Holm, at most 5% exactly where p <= level; then, and only then, 1 is not inside the interval.
    p_sooner: how often a run of the challenger beats one of the baseline; a tie counts half.
    scatter: the standard deviation of the challenger's log times over that of the baseline's; None where a run missed.
    welch: what normal theory says, where nobody missed.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    p: float
    p_ranks: float
    level: float
    p_adjusted: float
    p_sooner: float
    scatter: float | None
    baseline: Runs
    challenger: Runs
    welch: Opinion | None

    @property
    def hits(self) -> int:
        """The number of the challenger's runs that reached the target."""
        return self.challenger.hits

    @property
    def n(self) -> int:
        """The number of runs of the challenger."""
        return self.challenger.n

    @property
    def outcome(self) -> Outcome:
        few = min(self.baseline.n, self.challenger.n) < LEAST_SEEDS
        if few or least_p(self.baseline.n, self.challenger.n) > self.level:
            return "too few seeds"
        if self.p > self.level:
            return "no difference"
        return "sooner" if self.low >= 1 else "later"

    @property
    def sentence(self) -> str:
        """The outcome in words, such that the challenger's name can stand before them."""
        baseline, challenger = (Hits(side.hits, side.n) for side in (self.baseline, self.challenger))
        match self.outcome:
            case "too few seeds":
                return sentences.too_few_seeds(baseline, challenger, seeds_needed(self.level))
            case "no difference":
                scatter = self.scatter if self.p_ranks <= self.level else None
                return sentences.no_difference(self.low, self.high, baseline, challenger, scatter)
            case "sooner":
                return sentences.sooner(self.ratio, self.low, self.high, baseline, challenger)
            case "later":
                return sentences.later(self.ratio, self.low, self.high, baseline, challenger)


def compare(baseline: Sequence[float], challenger: Sequence[float], *, cap: float | None = None) -> Comparison:
    """Judge the times of `challenger` against those of `baseline`: steps, samples or seconds, a miss is infinite.

    Args:
        cap: how long a run might have taken, the same for both sides, in the unit of the times. Without it a miss is
            known only to have taken longer than the latest run that hit, which gives wider bounds where many missed.

    Raises:
        ConfigError: a side without runs, a time that is not positive, or one later than the cap.
    """
    return verdicts(baseline, {"challenger": challenger}, cap=cap)["challenger"]


def verdicts(
    baseline: Sequence[float], challengers: Mapping[str, Sequence[float]], *, cap: float | None = None
) -> dict[str, Comparison]:
    """Judge several challengers against one baseline, as `compare` does one, with 5% of error over all of them.

    Holm's procedure (1979) on the p: that any challenger is called sooner or later without being so has a chance
    of at most 5%. Each interval is taken at the level at which Holm judged its challenger, so an interval leaves 1 out
    exactly where its sentence says sooner or later. Each holds with 95% or more taken alone; that all bounds hold at
    once is not promised. (Bonferroni's would, but leave 1 in where Holm finds a difference.)

    Raises:
        ConfigError: as `compare`, or there is no challenger.
    """
    if faults := _faults(baseline, challengers, cap):
        raise ConfigError(*faults)
    base = np.asarray(baseline, float)
    sides = {name: np.asarray(times, float) for name, times in challengers.items()}
    p = {name: _p(base, side, _welch_on_least(base, side, cap)) for name, side in sides.items()}
    return {name: _compare(base, side, cap, p[name], *_holm(p[name], p.values())) for name, side in sides.items()}


def least_times(base: ranks.Times, side: ranks.Times, cap: float | None) -> tuple[ranks.Times, ranks.Times]:
    """Both sides with every miss as soon as it can have been: as late as the latest run that hit, of either side.

    Where one side missed altogether there is nothing to compare with but the cap; without one its misses stay infinite.
    """
    hits = [side[np.isfinite(side)] for side in (base, side)]
    latest = np.concatenate(hits).max() if all(hit.size for hit in hits) else cap or math.inf
    return np.minimum(base, latest), np.minimum(side, latest)


def _welch_on_least(base: ranks.Times, side: ranks.Times, cap: float | None, level: float = LEVEL) -> Opinion | None:
    """Welch's test on the least times, at which only the runs that hit were observed."""
    hits = int(np.isfinite(base).sum()), int(np.isfinite(side).sum())
    return welch(*least_times(base, side, cap), 1 - level, hits)


def seeds_needed(level: float = LEVEL) -> int:
    """The least number of runs of each side that can give a verdict at `level`: 4 at 5%, 5 at a sixth of it."""
    return next(n for n in count(LEAST_SEEDS) if least_p(n, n) <= level)


def least_p(baseline: int, challenger: int) -> float:
    """The least two-sided p that so many runs can reach: all of one side before all of the other."""
    return 2 / math.comb(baseline + challenger, baseline)


def _holm(own: float, ps: Iterable[float]) -> tuple[float, float]:
    """The level at which Holm's procedure judges the hypothesis of p-value `own` among all `ps`, and its adjusted p.

    The k-th least p is held against 5% over the number of those not less than it; from the first that fails on, all
    have failed, at the level at which that one did.
    """
    ps = list(ps)
    steps = [(p, sum(other >= p for other in ps)) for p in sorted(ps) if p <= own]
    level = next((LEVEL / left for p, left in steps if p > LEVEL / left), LEVEL / steps[-1][1])
    return level, min(1.0, max(p * left for p, left in steps))


def _compare(
    base: ranks.Times, side: ranks.Times, cap: float | None, p: float, level: float, p_adjusted: float
) -> Comparison:
    pooled = np.concatenate([base, side])
    last = cap or float(pooled[np.isfinite(pooled)].max(initial=0.0))
    low, below = ranks.least_ratio(base, side, last, level / 2)
    most, above = ranks.least_ratio(side, base, last, level / 2)
    high = 1 / most if most else math.inf
    if p > level and not low <= 1 <= high and (opinion := _welch_on_least(base, side, cap, level)):
        low, high = min(low, opinion.low), max(high, opinion.high)
    return Comparison(
        ratio=ranks.median_ratio(base, side),
        low=low,
        high=high,
        confidence=1 - below - above,
        p=p,
        p_ranks=_p(base, side, None),
        level=level,
        p_adjusted=p_adjusted,
        p_sooner=ranks.share_longer(base, side),
        scatter=_scatter(base, side),
        baseline=_runs(base, cap),
        challenger=_runs(side, cap),
        welch=welch(base, side),
    )


def _p(base: ranks.Times, side: ranks.Times, opinion: Opinion | None) -> float:
    """The two-sided p of the ranks, or of `opinion` where that finds less."""
    longer, shorter = ranks.p_longer(base, side), ranks.p_longer(side, base)
    if opinion:
        longer, shorter = max(longer, opinion.p_longer), max(shorter, 1 - opinion.p_longer)
    return min(1.0, 2 * min(longer, shorter))


def _scatter(base: ranks.Times, side: ranks.Times) -> float | None:
    if min(base.size, side.size) < 2 or not np.isfinite([*base, *side]).all():
        return None
    own, of_base = (float(np.log(times).std(ddof=1)) for times in (side, base))
    return own / of_base if of_base else math.inf if own else 1.0


def _runs(times: ranks.Times, cap: float | None) -> Runs:
    hit = times[np.isfinite(times)]
    missed = times.size - hit.size
    if missed and cap is None:
        expected = None
    else:
        expected = float(hit.sum() + missed * (cap or 0.0)) / hit.size if hit.size else math.inf
    return Runs(hit.size, times.size, float(np.median(times)), float(np.exp(np.log(times).mean())), expected)


def _faults(baseline: Sequence[float], challengers: Mapping[str, Sequence[float]], cap: float | None) -> list[Fault]:
    if cap is not None and not 0 < cap < math.inf:
        return [Fault("cap", cap, "must be a positive finite time")]
    faults = [] if challengers else [Fault("challengers", dict(challengers), "there must be one to compare")]
    for name, times in [("baseline", baseline), *challengers.items()]:
        if not len(times):
            faults.append(Fault(name, list(times), "must have a run", "a run that missed has the time inf"))
        for index, time in enumerate(times):
            if not time > 0:
                faults.append(Fault(f"{name}[{index}]", time, "must be a positive time, or inf for a miss"))
            elif cap is not None and cap < time < math.inf:
                faults.append(Fault(f"{name}[{index}]", time, f"must not be later than the cap {cap}, or inf"))
    return faults
