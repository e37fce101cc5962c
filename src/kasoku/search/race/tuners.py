"""Tuners: what looks for the best value of a setting, in runs of one length. Generators, as `tuning` has them."""

import math
import random
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence

import optuna

from kasoku.search.race.fits import NEAR, top
from kasoku.search.race.runs import Dimension, Done, Planned
from kasoku.search.race.work import Tried, Work

WIDEST = 7  # values of a setting before its parabola, or that are drawn
APART = 0.1  # two values closer than this in their logs are one

Found = Generator[list[Planned], Sequence[Done], float]


def search(work: Work, values: Mapping[str, float], dimension: Dimension, steps: int, tried: Tried) -> Found:
    """The value of `dimension` that the race's tuner finds, with the other `values` as they are."""
    return (yield from TUNERS[work.rules.tuner](work, values, dimension, steps, tried))


def bracket(
    work: Work,
    values: Mapping[str, float],
    dimension: Dimension,
    steps: int,
    tried: Tried,
    centre: float | None = None,
    factor: float = 3.0,
) -> Found:
    """The default, three times it, a third of it, on towards the better until that lies inside, then a parabola.

    `centre` takes the place of the default, `factor` of the three; one below 1 has the lower side first.
    """
    default = centre or dimension.default
    yield from _try(work, values, dimension, steps, tried, [default, factor * default, default / factor])
    while (further := _further(dimension, tried, max(factor, 1 / factor))) is not None and len(tried) < WIDEST:
        if not (yield from _try(work, values, dimension, steps, tried, [further])):
            break
    if (best := estimate(dimension, tried)) is not None:
        yield from _try(work, values, dimension, steps, tried, [best])
    return estimate(dimension, tried) or default


def closer(work: Work, values: Mapping[str, float], dimension: Dimension, steps: int, tried: Tried) -> Found:
    """The value so far and both sides of it, nearer than `bracket` looked, as often as the budget allows."""
    own = values[dimension.key]
    while (yield from _try(work, values, dimension, steps, tried, [own, 2 * own, own / 2], again=True)):
        own = estimate(dimension, tried) or own
    return own


def _try(
    work: Work,
    values: Mapping[str, float],
    dimension: Dimension,
    steps: int,
    tried: Tried,
    numbers: Sequence[float],
    again: bool = False,
) -> Generator[list[Planned], Sequence[Done], bool]:
    """Run with each of `numbers` that was not tried, or with each `again`; False where there was none to run."""
    new: list[float] = []
    for number in map(dimension.inside, numbers):
        if again or not any(abs(math.log(number / other)) < APART for other in [*new, *(x for x, _ in tried)]):
            new.append(number)
    found = yield from work.run([({**values, dimension.key: number}, steps) for number in new])
    tried += [(number, work.score(done)) for number, done in zip(new, found, strict=False)]
    return bool(found)


def _further(dimension: Dimension, tried: Tried, factor: float) -> float | None:
    """The next value, `factor` beyond the best, where that is the last to its side; downwards where all ended badly."""
    if not tried:
        return None
    numbers = [number for number, _ in tried]
    best, score = max(tried, key=lambda item: item[1])
    if score[0] < 0:
        following = min(numbers) / factor
    elif best == max(numbers):
        following = best * factor
    elif best == min(numbers):
        following = best / factor
    else:
        return None
    following = dimension.inside(following)
    return None if any(abs(math.log(following / number)) < APART for number in numbers) else following


def estimate(dimension: Dimension, tried: Tried) -> float | None:
    """The top of a parabola over the log of the values near the best one, or the best; None where all ended badly.

    A value of a lower level is censored: it counts as far below the worst as that is below the best.
    """
    if not tried or (best := max(tried, key=lambda item: item[1]))[1][0] < 0:
        return None
    level, centre = best[1][0], math.log(best[0])
    good = [score for _, (of, score) in tried if of == level]
    floor = min(good) - (max(good) - min(good) or 1.0)
    points = [(math.log(number), score if of == level else floor) for number, (of, score) in tried]
    near = [point for point in points if abs(point[0] - centre) <= NEAR]
    found = top(near)
    if found is None:
        return best[0]
    low, high = min(x for x, _ in near), max(x for x, _ in near)
    return dimension.inside(math.exp(min(max(found, low), high)))


def at_random(work: Work, values: Mapping[str, float], dimension: Dimension, steps: int, tried: Tried) -> Found:
    """The default and points of the range, uniform in their logs."""
    yield from _try(work, values, dimension, steps, tried, [dimension.default, *_draw(work, dimension, WIDEST - 1)])
    return estimate(dimension, tried) or dimension.default


def by_tpe(work: Work, values: Mapping[str, float], dimension: Dimension, steps: int, tried: Tried) -> Found:
    """The default, two points at random, then those of Optuna's tree-structured Parzen estimator, one after another."""
    yield from _try(work, values, dimension, steps, tried, [dimension.default, *_draw(work, dimension, 2)])
    while tried and len(tried) < WIDEST:
        if not (yield from _try(work, values, dimension, steps, tried, [_suggested(work, dimension, tried)])):
            break
    return estimate(dimension, tried) or dimension.default


def by_halving(work: Work, values: Mapping[str, float], dimension: Dimension, steps: int, tried: Tried) -> Found:
    """Nine values in runs of a third of the length, the best three of them at the whole: asha, with whole schedules."""
    first: Tried = []
    numbers = [dimension.default, *_draw(work, dimension, 8)]
    yield from _try(work, values, dimension, max(1, steps // 3), first, numbers)
    best = sorted(first, key=lambda item: item[1], reverse=True)[:3]
    yield from _try(work, values, dimension, steps, tried, [number for number, _ in best])
    return estimate(dimension, tried) or estimate(dimension, first) or dimension.default


TUNERS: dict[str, Callable[[Work, Mapping[str, float], Dimension, int, Tried], Found]] = {
    "bracket": bracket,
    "random": at_random,
    "tpe": by_tpe,
    "asha": by_halving,
}


def _draw(work: Work, dimension: Dimension, count: int) -> list[float]:
    draw = random.Random(f"{work.rules.seed} {work.study} {work.strategy.name} {dimension.key}")
    low, high = math.log(dimension.low), math.log(dimension.high)
    return [math.exp(draw.uniform(low, high)) for _ in range(count)]


def _suggested(work: Work, dimension: Dimension, tried: Tried) -> float:
    """The next point after those `tried`, by their ranks; the same for everyone who asks."""
    ranks = {score: rank for rank, score in enumerate(sorted({score for _, score in tried}))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=work.rules.seed + len(tried), n_startup_trials=3, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(sampler=sampler, direction="maximize")
    values = optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=True)
    for number, score in tried:
        study.add_trial(
            optuna.create_trial(params={"x": number}, distributions={"x": values}, value=float(ranks[score]))
        )
    return study.ask({"x": values}).params["x"]
