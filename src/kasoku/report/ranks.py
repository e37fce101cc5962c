"""The exact two-sample rank test (Mann-Whitney) and what follows from it. A time of infinity is a run that missed.

Under the hypothesis that both samples come from one distribution every split of the pooled times is equally likely;
counting them gives the exact p, also where times are tied and where runs of both sides missed. The ratios at which the
test does not reject are the interval, their middle is the estimate of Hodges and Lehmann (1963).
"""

import functools

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def p_longer(longer: Times, shorter: Times) -> float:
    """The exact one-sided p: the share of all splits of the pooled times that rank `longer` as high or higher.

    Ties have their mean rank, and two misses are a tie.
    """
    observed, tail = _test(longer, shorter)
    return float(tail[observed])


def share_longer(longer: Times, shorter: Times) -> float:
    """The share of all pairs in which the run of `longer` took longer; a tie counts half (U over n m)."""
    above, tied = np.greater.outer(longer, shorter), np.equal.outer(longer, shorter)
    return float((above + tied / 2).mean())


def median_ratio(longer: Times, shorter: Times) -> float:
    """The median of `longer` / `shorter` over all pairs, taken on logarithms. 0 or infinity where misses decide it.

    Two misses tell nothing of the ratio and are left out; where there are no other pairs it is 1.
    """
    with np.errstate(invalid="ignore"):
        ratios = np.divide.outer(longer, shorter).ravel()
    ratios = np.sort(ratios[~np.isnan(ratios)])
    middle = ratios[[(ratios.size - 1) // 2, ratios.size // 2]] if ratios.size else np.ones(2)
    return float(np.sqrt(middle.prod()))


def least_ratio(longer: Times, shorter: Times, cap: float, level: float) -> tuple[float, float]:
    """The ratio that `longer` / `shorter` exceeds by the exact one-sided test at `level`, and the level attained there.

    The test is asked at r: do the times of `longer` exceed r times those of `shorter`? The bound is the least r at
    which it no longer says so. A run of `longer` that missed took longer than `cap`, how much is not known; so a run of
    `shorter` counts as missed too where r makes it later than `cap`, and both sides are censored alike. For 5 v 5
    without misses and ties and a level of 2.5% the bound is the third least of the 25 ratios, at a level of 4 / 252.

    Separating a tie in favour of `longer` never raises its p, so the p does not fall while r grows to 1: where it is at
    most `level` at r = 1 the bound is at least 1, and the reverse.
    """
    ends = np.append(longer[np.isfinite(longer)], cap)
    edges = np.append(0.0, np.unique(np.divide.outer(ends, shorter[np.isfinite(shorter)])))
    beyond = np.append(edges[1:], 3 * edges[-1] + 1)
    for edge, ratio in zip(edges.tolist(), ((edges + beyond) / 2).tolist(), strict=True):
        slowed = np.where(ratio * shorter > cap, np.inf, ratio * shorter)
        rank_sum, tail = _test(longer, slowed)
        if tail[rank_sum] > level:
            return edge, float(tail[tail <= level].max(initial=0.0))
    raise AssertionError("beyond the last edge all of `shorter` count as missed, and nothing is claimed of it")


def _test(longer: Times, shorter: Times) -> tuple[int, NDArray[np.float64]]:
    """Twice the rank sum of `longer`, and the probabilities that it is at least 0, 1, 2, ... under a random split."""
    pooled = np.concatenate([longer, shorter])
    ordered = np.sort(pooled)
    ranks = np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right") + 1
    return int(ranks[: longer.size].sum()), _tail(tuple(np.sort(ranks).tolist()), longer.size)


@functools.lru_cache(maxsize=256)
def _tail(ranks: tuple[int, ...], size: int) -> NDArray[np.float64]:
    """P(sum >= s) for s = 0, 1, ..., over all choices of `size` of the `ranks`, each equally likely."""
    ways = np.zeros((size + 1, sum(ranks) + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    return np.cumsum(ways[size, ::-1])[::-1] / ways[size].sum()
