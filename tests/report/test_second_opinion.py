"""Normal theory on log times, held against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from kasoku.report.second_opinion import dunnett, welch

BASELINE = [100.0, 105, 110, 95, 102]
CHALLENGERS = {"half": [50.0, 52, 49, 55, 51], "same": [101.0, 103, 99, 98, 95], "later": [130.0, 150, 120, 140, 160]}


def test_welch_is_scipys_on_log_times():
    told = welch(BASELINE, CHALLENGERS["half"])
    peer = stats.ttest_ind(np.log(BASELINE), np.log(CHALLENGERS["half"]), equal_var=False)
    interval = peer.confidence_interval(0.95)
    assert (told.low, told.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert told.p == pytest.approx(peer.pvalue)
    assert told.ratio == pytest.approx(stats.gmean(BASELINE) / stats.gmean(CHALLENGERS["half"]))


def test_the_interval_of_five_runs_at_a_log_sd_of_a_tenth():
    times = np.exp(stats.zscore([1, 2, 3, 4, 5], ddof=1) / 10)
    told = welch(times, times)
    assert (told.ratio, told.p) == pytest.approx((1, 1))
    assert told.high == pytest.approx(1 / told.low) == pytest.approx(1.157, abs=1e-3)  # exp(t(8) x 0.1 x sqrt(2 / 5))


def test_dunnett_of_one_challenger_is_the_t_test_with_one_variance():
    told = dunnett(BASELINE, {"half": CHALLENGERS["half"]})["half"]
    peer = stats.ttest_ind(np.log(BASELINE), np.log(CHALLENGERS["half"]))
    interval = peer.confidence_interval(0.95)
    assert (told.low, told.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)), rel=2e-3)
    assert told.p == pytest.approx(peer.pvalue, abs=2e-4)


def test_dunnett_pays_for_every_challenger_and_says_the_same_twice():
    told = dunnett(BASELINE, CHALLENGERS)
    alone = {name: dunnett(BASELINE, {name: times})[name] for name, times in CHALLENGERS.items()}
    assert list(told) == list(CHALLENGERS)
    assert told == dunnett(BASELINE, CHALLENGERS)
    assert told["same"].p > alone["same"].p
    assert told["half"].low > 1 > told["later"].high
    assert told["half"].ratio == welch(BASELINE, CHALLENGERS["half"]).ratio


@pytest.mark.parametrize(
    ("baseline", "times"), [([100.0, math.inf, 90], [7.0, 8]), ([100.0], [7.0, 8]), ([7.0, 7.0], [9.0, 9.0])]
)
def test_a_miss_a_lone_run_or_no_spread_leaves_nothing_to_say(baseline, times):
    assert welch(baseline, times) is None
    assert welch(times, baseline) is None
    assert dunnett(baseline, {"one": times}) == {}


def test_times_of_one_side_alone_may_be_all_the_same():
    told = welch([7.0, 7.0, 7.0], [3.0, 4, 5])
    assert told.low < told.ratio < told.high
