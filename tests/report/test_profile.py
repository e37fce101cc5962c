"""The performance profile and its score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasoku.faults import ConfigError
from kasoku.report.profile import profile, score

INF = math.inf
RACES = {
    "digits": {"sgd": 400.0, "adamw": 100.0, "muon": 50.0},
    "text": {"sgd": INF, "adamw": 100.0, "muon": 125.0},
    "cifar": {"sgd": 300.0, "adamw": 100.0, "muon": INF},
}
times = st.floats(1, 100) | st.just(INF)


def test_the_profile_is_the_share_of_races_within_a_ratio_of_the_soonest():
    shares = profile(RACES, [1, 1.25, 2, 3, 8])
    assert shares["sgd"] == pytest.approx([0, 0, 0, 1 / 3, 2 / 3])
    assert shares["adamw"] == pytest.approx([2 / 3, 2 / 3, 1, 1, 1])
    assert shares["muon"] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_the_score_is_one_for_the_soonest_everywhere_and_nothing_for_a_miss():
    told = score(RACES)
    assert told == pytest.approx({"sgd": (0 + 0 + 1 / 3) / 3, "adamw": (1 + 2 / 3 + 1) / 3, "muon": (1 + 2.75 / 3) / 3})
    assert score({"one": {"soonest": 3.0, "missed": INF}}) == {"soonest": 1, "missed": 0}


def test_a_race_that_all_missed_counts_against_all():
    assert score({"one": {"a": 1.0, "b": 1.0}, "two": {"a": INF, "b": INF}}) == {"a": 0.5, "b": 0.5}


@given(st.lists(st.fixed_dictionaries({"a": times, "b": times, "c": times}), min_size=1, max_size=8))
def test_the_score_is_algoperfs_integral_of_the_profile(races):
    told = {str(number): race for number, race in enumerate(races)}
    grid = np.linspace(1, 4, 3001)
    for strategy, shares in profile(told, grid.tolist()).items():
        assert score(told)[strategy] == pytest.approx(np.trapezoid(shares, grid) / 3, abs=2e-4)


@given(st.lists(st.fixed_dictionaries({"a": times, "b": times}), min_size=1, max_size=8), st.floats(0.01, 100))
def test_the_unit_of_a_race_does_not_matter(races, unit):
    told = {str(number): race for number, race in enumerate(races)}
    scaled = told | {"0": {strategy: time * unit for strategy, time in told["0"].items()}}
    assert score(scaled) == pytest.approx(score(told))


def test_all_faults_are_named_together():
    races = {"digits": {"sgd": 1.0, "adamw": 0.0}, "text": {"sgd": math.nan}}
    with pytest.raises(ConfigError) as told:
        score(races)
    assert "digits.adamw=0.0: must be a positive time" in str(told.value)
    assert "text.sgd=nan: must be a positive time" in str(told.value)
    assert "here is no adamw; leave out" in str(told.value)
    with pytest.raises(ConfigError, match="there must be a race"):
        profile({}, [1])
    with pytest.raises(ConfigError, match="above 1"):
        score(RACES, worst=1)
