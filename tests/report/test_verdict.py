"""The verdict of a race: what is claimed, and in which words."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kasoku.faults import ConfigError
from kasoku.report.second_opinion import welch
from kasoku.report.verdict import LEVEL, compare, least_p, seeds_needed, verdicts

INF = math.inf
HUNDRED = [100, 105, 110, 95, 102]
HALF = [50, 52, 49, 55, 51]
times = st.lists(st.floats(1, 100) | st.sampled_from([2.0, 3.0, 5.0, INF]), min_size=4, max_size=6)


def test_twice_as_soon():
    told = compare(HUNDRED, HALF)
    ratios = np.sort(np.divide.outer(HUNDRED, HALF), axis=None)
    assert told.ratio == ratios[12] == 2
    assert (told.low, told.high) == pytest.approx((ratios[2], ratios[22]))
    assert told.confidence == pytest.approx(1 - 8 / 252)
    assert told.p == told.p_adjusted == pytest.approx(2 / 252)
    assert (told.p_sooner, told.level, told.hits, told.n, told.outcome) == (1, LEVEL, 5, 5, "sooner")
    assert (told.baseline.median, told.challenger.median, told.baseline.expected) == (102, 51, 102.4)
    assert told.baseline.geometric_mean == pytest.approx(math.prod(HUNDRED) ** 0.2)
    assert told.welch == welch(HUNDRED, HALF)
    assert told.sentence == "2.0 times sooner (1.8 to 2.2, 5 of 5 runs each)"


@pytest.mark.parametrize(
    ("baseline", "challenger", "sentence"),
    [
        (HALF, HUNDRED, "2.0 times later (1.8 to 2.2, 5 of 5 runs each)"),
        (HUNDRED, [90, 99, 108, 103, 97], "no difference found (could be between 0.93 and 1.1 times)"),
        ([100, 120, INF, 110, INF], [60, 70, 65, 75, 80], "at least 1.4 times sooner; 2 of 5 baseline runs missed"),
        ([60, 70, 65, 75, 80], [100, 120, INF, 110, INF], "at least 1.4 times later; 2 of 5 runs missed"),
        ([100, 90, INF, INF], [100, 80, INF, 85], "no difference found (could be anything); "
         "2 of 4 baseline runs and 1 of 4 runs missed"),
        ([100, 90, 95, 105, 99], [98, 99, 100, 103, INF], "no difference found (could be up to 1.05 times); "
         "1 of 5 runs missed"),
        ([INF] * 5, [INF] * 4, "no difference found: no run reached the target"),
        ([INF] * 5, [10, 20, 30, 40, INF], "sooner, by what factor is open; "
         "5 of 5 baseline runs and 1 of 5 runs missed"),
        ([10] * 5, [5] * 9 + [INF], "2.0 times sooner (2.0 to 2.0, 9 of 10 runs, baseline 5 of 5)"),
        (HUNDRED, HALF[:3], "too few seeds: 5 and 3 runs where a verdict needs 4 of each"),
    ],
)  # fmt: skip
def test_the_sentence(baseline, challenger, sentence):
    assert compare(baseline, challenger).sentence == sentence


def test_what_the_ranks_find_and_welch_does_not_is_no_difference():
    steady, wild = [100, 101, 99, 100.5, 99.5], [102, 104, 103, 150, 400]  # all later, one of them by far
    told = compare(steady, wild)
    logs = [np.log(steady), np.log(wild)]
    t, freedom = stats.ttest_ind(*logs, equal_var=False).statistic, stats.ttest_ind(*logs, equal_var=False).df
    assert told.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert told.p_ranks == pytest.approx(2 / 252)
    assert told.outcome == "no difference"
    error = (logs[0].mean() - logs[1].mean()) / t
    margin = error * stats.t.ppf(0.975, freedom)
    assert told.high == pytest.approx(math.exp(logs[0].mean() - logs[1].mean() + margin))
    assert told.low < told.ratio < 1 < told.high
    assert told.scatter == pytest.approx(logs[1].std() / logs[0].std())
    assert told.sentence.endswith(f"; the runs scatter {told.scatter:.0f} times as much as the baseline's")
    assert "the baseline's runs scatter" in compare(wild, steady).sentence


def test_a_miss_in_place_of_a_late_run_makes_no_difference_certain():
    """By the ranks both are complete separations; the miss is judged as the latest run that hit."""
    steady, wild = [100, 101, 99, 100.5, 99.5], [102, 104, 103, 150, INF]
    told, known = compare(steady, wild, cap=500), compare(steady, [*wild[:4], 150])
    assert told.p_ranks == pytest.approx(2 / 252)
    assert (told.outcome, known.outcome) == ("no difference", "no difference")
    logs = [np.log(steady), np.log([*wild[:4], 150])]
    parts = [((logs[0] - logs[0].mean()) ** 2).sum() / 4 / 5, ((logs[1] - logs[1].mean()) ** 2).sum() / 3 / 5]
    t = (logs[1].mean() - logs[0].mean()) / math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 3)  # four of its five runs were observed
    assert told.p == pytest.approx(2 * stats.t.sf(t, freedom))
    assert known.p < told.p
    assert told.high > known.high
    assert (told.low, told.welch, told.scatter) == (0, None, None)
    assert compare(steady, [202, 204, 203, 250, INF], cap=500).outcome == "later"


def test_a_side_that_missed_altogether_is_judged_by_the_cap_where_there_is_one():
    wild = [1, 2, 8, 40, 90]
    assert compare([INF] * 5, wild, cap=91).outcome == "no difference"  # it scatters up to the cap
    assert compare([INF] * 5, wild, cap=1e4).outcome == "sooner"
    assert compare([INF] * 5, wild).outcome == "sooner"  # the ranks alone


def test_a_cap_bounds_what_the_misses_hide_and_gives_the_expected_running_time():
    told = compare([INF] * 5, [10, 12, 14, 16, INF], cap=100)
    assert told.p == pytest.approx(12 / 252)  # Fisher's: 4 hits of 5 against none
    assert told.low == pytest.approx(100 / 16)
    assert (told.ratio, told.high, told.baseline.expected) == (INF, INF, INF)
    assert told.challenger.expected == (10 + 12 + 14 + 16 + 100) / 4
    assert told.sentence.startswith("at least 6.2 times sooner; 5 of 5 baseline runs")
    assert told.welch is None
    scattered = compare([INF] * 5, [10, 20, 30, 40, INF], cap=100)  # as many hits, and Welch is not convinced
    assert (scattered.p_ranks, scattered.outcome) == (told.p_ranks, "no difference")
    assert compare([INF, *HALF], HALF).baseline.expected is None


def test_a_challenger_that_never_hits_is_later_and_not_infinitely_so():
    told = compare([40, 45, 50, 42, 44], [INF] * 5, cap=100)
    assert (told.ratio, told.low, told.outcome) == (0, 0, "later")
    assert told.high == pytest.approx(45 / 100)  # four hits against none decide, three do not
    assert told.challenger.median == told.challenger.geometric_mean == INF


@given(times, times, st.booleans())
def test_swapping_the_sides_inverts_all_ratios(baseline, challenger, capped):
    cap = 200.0 if capped else None
    one, other = compare(baseline, challenger, cap=cap), compare(challenger, baseline, cap=cap)
    inverse = [1 / bound if bound else INF for bound in (other.ratio, other.high, other.low)]
    assert [one.ratio, one.low, one.high] == pytest.approx(inverse)
    assert (one.p, one.p_sooner, one.confidence) == pytest.approx((other.p, 1 - other.p_sooner, other.confidence))
    assert (one.baseline, one.hits) == (other.challenger, other.baseline.hits)
    assert {one.outcome, other.outcome} in [{"sooner", "later"}, {"no difference"}]


@given(times, times, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(baseline, challenger, unit):
    one = compare(baseline, challenger, cap=200)
    other = compare([unit * t for t in baseline], [unit * t for t in challenger], cap=200 * unit)
    for name in ("ratio", "low", "high", "p", "p_sooner"):
        assert getattr(one, name) == pytest.approx(getattr(other, name)), name
    assert one.challenger.hits == other.challenger.hits


@given(times, st.dictionaries(st.sampled_from("abcdef"), times, min_size=1), st.sampled_from([None, 200.0]))
def test_sentence_p_and_interval_never_contradict_one_another(baseline, challengers, cap):
    for told in verdicts(baseline, challengers, cap=cap).values():
        differs = told.p_adjusted <= LEVEL
        assert differs == (told.p <= told.level) == (told.outcome in ("sooner", "later"))
        assert told.low <= told.ratio <= told.high or told.ratio == pytest.approx(told.high)
        assert differs or told.low <= 1 <= told.high
        assert not differs or (told.low if told.outcome == "sooner" else 1 / told.high) >= 1
        assert told.confidence >= 1 - told.level


def shifted(pairs: int) -> list[float]:
    """Four times all before the five of the baseline 10, 20, ..., 50, and one after `pairs` of them."""
    return [1, 2, 3, 4, 10 * pairs + 5]


def test_holm_over_the_challengers():
    baseline = [10, 20, 30, 40, 50]  # the exact p of shifted(0), (1), (2), (3) are 2, 4, 8 and 14 over 252
    told = verdicts(baseline, {"c": shifted(3), "a": shifted(0), "b": shifted(1)})
    assert {name: one.p * 252 for name, one in told.items()} == pytest.approx({"c": 14, "a": 2, "b": 4})
    assert {name: one.p_adjusted * 252 for name, one in told.items()} == pytest.approx({"c": 14, "a": 6, "b": 8})
    assert [one.level for one in told.values()] == [LEVEL, LEVEL / 3, LEVEL / 2]
    assert [one.outcome for one in told.values()] == ["no difference", "sooner", "sooner"]
    assert told["a"].confidence == pytest.approx(1 - 4 / 252)
    assert told["b"].confidence == pytest.approx(1 - 4 / 252)


def test_after_the_first_that_fails_holm_finds_no_more():
    baseline = [10, 20, 30, 40, 50]
    told = verdicts(baseline, {"x": shifted(2), "y": shifted(2), "z": shifted(2)})
    assert all(one.p_adjusted == pytest.approx(24 / 252) and one.level == LEVEL / 3 for one in told.values())
    told = verdicts(baseline, {"a": shifted(0), "b": shifted(2), "c": shifted(3)})
    assert [one.outcome for one in told.values()] == ["sooner", "no difference", "no difference"]
    assert [one.level for one in told.values()] == [LEVEL / 3, LEVEL / 2, LEVEL / 2]
    assert compare(baseline, shifted(2)).outcome == "sooner"


@pytest.mark.parametrize(
    ("seeds", "p", "challengers"), [(3, 0.1, 0), (4, 2 / 70, 1), (5, 2 / 252, 6), (6, 2 / 924, 23)]
)
def test_how_many_challengers_so_many_seeds_can_judge(seeds, p, challengers):
    assert least_p(seeds, seeds) == pytest.approx(p)
    assert seeds == 3 or seeds_needed(LEVEL / challengers) <= seeds < seeds_needed(LEVEL / (challengers + 1))


def test_too_many_challengers_for_the_seeds_is_said():
    told = verdicts(HUNDRED, {str(number): HALF for number in range(7)})["3"]
    assert (told.outcome, told.low, told.high, told.confidence) == ("too few seeds", 0, INF, 1)
    assert told.sentence == "too few seeds: 5 and 5 runs where a verdict needs 6 of each"
    assert verdicts(HUNDRED, {str(number): HALF for number in range(6)})["3"].outcome == "sooner"


def test_all_faults_are_named_together():
    with pytest.raises(ConfigError) as told:
        verdicts([1, 0, math.nan], {"muon": [], "lion": [5, INF, -INF], "soap": [3]}, cap=4)
    said = str(told.value)
    for key in ("baseline[1]=0", "baseline[2]=nan", "muon=[]", "lion[0]=5", "lion[2]=-inf"):
        assert f"{key}: must" in said
    assert "wrong configuration, 5 faults" in said
    with pytest.raises(ConfigError, match="there must be one"):
        verdicts([1], {})
    for cap in (0, INF, math.nan):
        with pytest.raises(ConfigError, match=r"cap=.*: must be a positive finite time"):
            compare([1], [1], cap=cap)


def test_importing_it_is_light():
    heavy = "'torch', 'scipy', 'optuna', 'pandas', 'matplotlib'"
    check = (
        f"import sys, kasoku.report.verdict, kasoku.report.profile; print([m for m in ({heavy}) if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_numpys_arrays_are_taken_as_they_are():
    assert compare(np.array(HUNDRED), np.array(HALF)) == compare(HUNDRED, HALF)
