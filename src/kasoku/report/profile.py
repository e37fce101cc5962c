"""Strategies over several races: the performance profile of Dolan and Moré (2002) and the score AlgoPerf takes from it.

AlgoPerf (mlcommons/algorithmic-efficiency, scoring/performance_profile.py) integrates the profile from 1 to 4 on a
grid of 100 points; here the same integral is taken exactly.
"""

import math
from collections.abc import Mapping, Sequence

from kasoku.faults import ConfigError, Fault

WORST = 4.0

Times = Mapping[str, Mapping[str, float]]


def profile(times: Times, ratios: Sequence[float]) -> dict[str, list[float]]:
    """For each strategy the share of the races in which it took at most `ratio` times as long as the soonest.

    Args:
        times: for each race, the time of each strategy in any unit of that race; a miss is infinite.
        ratios: where the profile is asked, each at least 1.

    Raises:
        ConfigError: a time is not positive, a strategy is not in every race, or there is no race.
    """
    return {
        strategy: [sum(own <= ratio for own in to_soonest) / len(to_soonest) for ratio in ratios]
        for strategy, to_soonest in _to_soonest(times).items()
    }


def score(times: Times, worst: float = WORST) -> dict[str, float]:
    """The integral of each strategy's profile from 1 to `worst`, over its length: 1 is the soonest in every race.

    A race at r times the soonest gives (worst - r) / (worst - 1), later than `worst` or missed gives 0; the score is
    their mean. It depends on who took part: without the soonest strategy the others move up.
    """
    if not worst > 1:
        raise ConfigError(Fault("worst", worst, "must be above 1, the ratio of the soonest"))
    return {
        strategy: sum(max(0.0, worst - own) for own in to_soonest) / (worst - 1) / len(to_soonest)
        for strategy, to_soonest in _to_soonest(times).items()
    }


def _to_soonest(times: Times) -> dict[str, list[float]]:
    """Each strategy's ratio to the soonest of each race. Where all missed nobody was soonest: infinite for each."""
    if faults := _faults(times):
        raise ConfigError(*faults)
    ratios: dict[str, list[float]] = {}
    for race in times.values():
        soonest = min(race.values())
        for strategy, time in race.items():
            ratios.setdefault(strategy, []).append(time / soonest if math.isfinite(time) else math.inf)
    return ratios


def _faults(times: Times) -> list[Fault]:
    strategies = {strategy: None for race in times.values() for strategy in race}
    faults = [
        Fault(f"{name}.{strategy}", time, "must be a positive time, or inf for a miss")
        for name, race in times.items()
        for strategy, time in race.items()
        if not time > 0
    ]
    for name, race in times.items():
        if absent := [strategy for strategy in strategies if strategy not in race]:
            must = f"every strategy must be in every race, here is no {' '.join(absent)}"
            faults.append(Fault(name, list(race), must, "leave out what only some races have"))
    return faults if strategies else [Fault("times", dict(times), "there must be a race with a strategy in it")]
