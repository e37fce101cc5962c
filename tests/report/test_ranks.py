"""The exact rank test and its interval, held against counting every split."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from kasoku.report.ranks import least_ratio, median_ratio, p_longer, share_longer

INF = math.inf
tied = st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 6.0, INF]), min_size=1, max_size=4).map(np.array)
untied = st.lists(st.floats(0.1, 10), min_size=2, max_size=12, unique=True)


def wins(longer, shorter) -> float:
    """Pairs in which `longer` took longer, half a pair for a tie: the statistic U."""
    return sum((a > b) + (a == b) / 2 for a in longer for b in shorter)


def counted_p(longer, shorter) -> float:
    """The share of all splits of the pooled times in which the first side wins as many pairs or more."""
    pooled = [*longer, *shorter]
    observed, as_many, splits = wins(longer, shorter), 0, 0
    for chosen in itertools.combinations(range(len(pooled)), len(longer)):
        rest = [time for index, time in enumerate(pooled) if index not in chosen]
        as_many += wins([pooled[index] for index in chosen], rest) >= observed
        splits += 1
    return as_many / splits


@given(tied, tied)
def test_p_counts_every_split_with_ties_and_misses(longer, shorter):
    assert p_longer(longer, shorter) == pytest.approx(counted_p(longer, shorter), abs=1e-12)


@given(untied, st.data())
def test_p_is_scipys_where_nothing_is_tied(times, data):
    cut = data.draw(st.integers(1, len(times) - 1))
    longer, shorter = np.array(times[:cut]), np.array(times[cut:])
    told = stats.mannwhitneyu(longer, shorter, alternative="greater", method="exact")
    assert p_longer(longer, shorter) == pytest.approx(told.pvalue, rel=1e-9)
    assert share_longer(longer, shorter) == pytest.approx(told.statistic / longer.size / shorter.size)


@given(tied, tied, st.sampled_from([0.025, 0.05, 0.2]), st.sampled_from([1.0, 1.5, 4.0]))
def test_every_ratio_below_the_bound_is_claimed_and_the_next_above_it_is_not(longer, shorter, level, beyond):
    hits = [time for time in (*longer, *shorter) if time < INF]
    assume(hits)
    cap = beyond * max(hits)
    bound, attained = least_ratio(longer, shorter, cap, level)

    def claimed(ratio: float) -> bool:
        slowed = [ratio * time if ratio * time <= cap else INF for time in shorter]
        return counted_p(longer, slowed) <= level

    assert all(claimed(bound * share) for share in (1e-6, 0.3, 0.49, 0.7, 0.9, 1 - 1e-9) if bound)
    assert not claimed(bound * (1 + 1e-9) if bound else 1e-9)
    assert attained <= level


@given(tied, tied)
def test_p_does_not_fall_while_the_ratio_grows_to_one(longer, shorter):
    edges = [0.01, *sorted({a / b for a in longer for b in shorter if a < INF and b < INF and a / b < 1}), 1.0]
    ratios = [ratio for low, high in itertools.pairwise(edges) for ratio in (low, (low + high) / 2)] + [1.0]
    ps = [p_longer(longer, ratio * shorter) for ratio in ratios]
    assert all(before <= after + 1e-12 for before, after in itertools.pairwise(ps))


@pytest.mark.parametrize(
    ("n", "rank", "one_sided"),
    [(4, 1, 1 / 70), (5, 3, 4 / 252), (6, 6, 19 / 924), (10, 24, None)],  # P(U <= rank - 1)
)
def test_without_misses_and_ties_the_bound_is_an_order_statistic_of_the_ratios(n, rank, one_sided):
    rng = np.random.default_rng(n)
    longer, shorter = np.exp(rng.normal(0.3, 0.2, n)), np.exp(rng.normal(0, 0.2, n))
    bound, attained = least_ratio(longer, shorter, 9.0, 0.025)
    assert bound == np.sort(np.divide.outer(longer, shorter), axis=None)[rank - 1]
    assert attained <= 0.025
    if one_sided:
        assert attained == pytest.approx(one_sided)


def test_a_miss_took_longer_than_the_cap_and_no_more_is_known():
    missed, shorter = np.full(5, INF), np.array([10.0, 20, 25, 40, 50])
    # 4 hits of 5 against none has a one-sided p of 6 / 252, 3 against none of 21 / 252: the fourth decides
    assert least_ratio(missed, shorter, 50, 0.025)[0] == pytest.approx(50 / 40)
    assert least_ratio(missed, shorter, 200, 0.025)[0] == pytest.approx(200 / 40)
    assert least_ratio(missed, np.full(5, 10.0), 200, 0.025)[0] == 20


def test_where_the_other_side_never_hit_nothing_bounds_the_ratio():
    assert least_ratio(np.array([10.0, 20, 30, 40]), np.full(4, INF), 100, 0.025)[0] == 0
    assert least_ratio(np.full(4, INF), np.full(4, INF), 100, 0.025)[0] == 0


@pytest.mark.parametrize(
    ("longer", "shorter", "ratio"),
    [
        ([6, 2, 4], [2], 2),
        ([4, 16], [2], 4),  # the geometric mean of 2 and 8
        ([10, INF], [5, INF], 2),  # above and below by one miss each, two misses tell nothing
        ([INF, INF, 3], [1, 2], INF),
        ([3, 2], [INF, INF, 1], 0),
        ([INF], [INF, INF], 1),
    ],
)
def test_the_median_ratio(longer, shorter, ratio):
    assert median_ratio(np.array(longer, float), np.array(shorter, float)) == pytest.approx(ratio)
