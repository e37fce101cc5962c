import typing
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasoku import schedules

TOTALS = st.integers(1, 10**9) | st.integers(1, 12)
RATIO = st.floats(0.001, 1)
FACTOR = st.floats(0, 1)
LENGTH = st.integers(1, 10**6)
FALLING = {
    "constant": {},
    "step": {"every": LENGTH, "gamma": RATIO},
    "multistep": {"milestones": st.lists(LENGTH, min_size=1, max_size=5, unique=True).map(sorted), "gamma": RATIO},
    "exponential": {"every": LENGTH, "gamma": RATIO},
    "time_based": {"every": LENGTH, "rate": st.floats(1e-6, 1e6)},
    "inverse_sqrt": {"timescale": LENGTH},
    "linear": {"final_factor": FACTOR},
    "polynomial": {"power": st.floats(0.1, 10), "final_factor": FACTOR},
    "cosine": {"final_factor": FACTOR},
    "wsd": {"anneal": st.sampled_from(["sqrt", "linear", "cosine"]), "final_factor": FACTOR},
}
OTHERS = {
    "cosine_restarts": {"period": LENGTH, "multiplier": st.integers(1, 4), "final_factor": FACTOR},
    "onecycle": {"start_factor": RATIO, "final_factor": FACTOR, "anneal": st.sampled_from(["cosine", "linear"])},
    "onecycle_momentum": {"low_factor": FACTOR, "anneal": st.sampled_from(["cosine", "linear"])},
    "cyclic": {"rise": LENGTH, "fall": LENGTH, "low_factor": RATIO, "gamma": RATIO},
    "cyclic_momentum": {"rise": LENGTH, "fall": LENGTH, "low_factor": FACTOR, "gamma": RATIO},
}
MODES = st.sampled_from(typing.get_args(schedules.Mode))


@st.composite
def drawn(draw, name, total=TOTALS):
    """A schedule with a shape, as a function of the step, and its total."""
    total = draw(total)
    shape = {key: draw(values) for key, values in (FALLING | OTHERS)[name].items()}
    shape |= {"wsd": {"decay": draw(st.integers(1, total))}}.get(name, {})
    shape |= {"rise": draw(st.integers(1, total))} if "onecycle" in name else {}
    shape |= {"mode": draw(MODES)} if "cyclic" in name else {}
    return (lambda step: getattr(schedules, name)(step, total, **shape)), total


@pytest.mark.parametrize("name", FALLING | OTHERS)
@given(data=st.data())
def test_a_factor_is_between_0_and_1_and_the_same_whenever_it_is_asked_for(name, data):
    schedule, total = data.draw(drawn(name))
    step = data.draw(st.integers(0, 2 * total))
    factor = schedule(step)
    assert 0 <= factor <= 1
    schedule(data.draw(st.integers(0, total)))
    assert schedule(step) == factor


@pytest.mark.parametrize("name", FALLING)
@given(data=st.data())
def test_a_decay_starts_at_exactly_1_and_never_rises(name, data):
    schedule, total = data.draw(drawn(name))
    step = data.draw(st.integers(0, 2 * total))
    assert schedule(0) == 1.0
    assert schedule(step + 1) <= schedule(step) + 1e-15


@pytest.mark.parametrize("name", ["linear", "polynomial", "cosine", "wsd", "onecycle"])
@given(data=st.data())
def test_a_schedule_with_an_end_reaches_it_and_stays_there(name, data):
    final = data.draw(FACTOR)
    total = data.draw(TOTALS)
    lengths = {"wsd": {"decay": 1}, "onecycle": {"rise": max(1, total // 2)}}.get(name, {})
    schedule = partial(getattr(schedules, name), final_factor=final, **lengths)
    total = max(total, 2)
    assert schedule(total, total) == schedule(total + 1, total) == schedule(10 * total, total) == final


@pytest.mark.parametrize("name", ["linear", "cosine", "polynomial", "wsd", "cosine_restarts"])
@given(total=TOTALS, anneal=st.sampled_from(["sqrt", "linear", "cosine"]))
def test_the_last_step_of_a_decay_to_zero_is_above_zero(name, total, anneal):
    shape = {"wsd": {"decay": total, "anneal": anneal}, "cosine_restarts": {"period": total}}.get(name, {})
    assert getattr(schedules, name)(total - 1, total, **shape) > 0


@given(rise=LENGTH, fall=LENGTH, total=st.integers(1, 10**6))
def test_the_lr_peaks_at_exactly_the_base_where_the_momentum_is_lowest(rise, fall, total):
    assert schedules.cyclic(rise, None, rise=rise, fall=fall) == 1.0
    assert schedules.cyclic_momentum(rise, None, rise=rise, fall=fall, low_factor=0.8) == pytest.approx(0.8, rel=1e-15)
    assert schedules.onecycle(rise, rise + total, rise=rise) == 1.0
    assert schedules.onecycle_momentum(rise, rise + total, rise=rise, low_factor=0.8) == pytest.approx(0.8, rel=1e-15)


@pytest.mark.parametrize("name", [*FALLING, *OTHERS])
def test_the_annotation_of_total_says_whether_a_horizon_is_needed(name):
    schedule = getattr(schedules, name)
    needs = typing.get_type_hints(schedule)["total"] is int
    open_ended = {
        "constant",
        "step",
        "multistep",
        "exponential",
        "time_based",
        "inverse_sqrt",
        "cyclic",
        "cosine_restarts",
    }
    assert needs == (name not in open_ended | {"cyclic_momentum"})
