"""Warmup, schedule, drives and ramps joined, each against its closed form; and what is known later is not missed."""

from functools import partial

import pytest

from kasoku import schedules, warmups
from kasoku.curves import Curves, NotKnown
from kasoku.durations import Clock
from kasoku.faults import ConfigError

TEN = Clock(total=10)


def values(curves: Curves, name: str = "lr", clock: Clock = TEN) -> list[float]:
    factor = curves.fit(clock)[name]
    return [factor(step) for step in range(clock.total or 10)]


def linear(length: object) -> partial:
    return partial(warmups.linear, length=length, start_factor=0.0)


def test_without_a_warmup_the_schedule_has_the_whole_run():
    falling = [1 - step / 10 for step in range(10)]
    assert values(Curves(partial(schedules.linear, final_factor=0.0))) == pytest.approx(falling)
    no_length = partial(warmups.none)
    assert values(Curves(partial(schedules.linear, final_factor=0.0), no_length)) == pytest.approx(falling)


def test_a_ramp_rises_from_its_start_to_one_and_stays():
    ramped = Curves(ramps={"momentum": partial(warmups.linear, length=4, start_factor=0.5)})
    assert values(ramped, "momentum") == pytest.approx([0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1, 1, 1])
    assert values(ramped) == [1.0] * 10


def test_a_ramp_multiplies_the_drive_of_its_setting():
    drive = partial(schedules.linear, final_factor=0.5)
    both = Curves(drives={"momentum": drive}, ramps={"momentum": partial(warmups.linear, length=4, start_factor=0.5)})
    driven = [1 - 0.5 * step / 10 for step in range(10)]
    assert values(both, "momentum") == pytest.approx(
        [factor * min(1, 0.6 + 0.1 * step) for step, factor in enumerate(driven)]
    )


def test_the_warmup_ends_with_its_last_step():
    """At step W the schedule is at its first value, also where it does not begin with 1."""
    curves = Curves(partial(schedules.linear, final_factor=0.0), linear(4))
    assert values(curves) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert [curves.ramp(TEN)(step) for step in (3, 4, 5)] == pytest.approx([0.8, 1, 1])


@pytest.mark.parametrize(
    ("curves", "key"),
    [
        (Curves(warmup=linear("2ep")), "warmup.length"),
        (Curves(ramps={"momentum": linear("2ep")}), "optimizer.tricks.momentum_warmup"),
        (Curves(partial(schedules.step, every="2ep", gamma=0.1)), "scheduler.every"),
    ],
)
def test_what_is_known_later_is_missed_then_alone(curves, key):
    assert curves.misfits(TEN, later=("epoch",)) == []
    assert [fault.key for fault in curves.misfits(TEN)] == [key]
    assert [fault.key for fault in curves.misfits(TEN, later=("samples",))] == [key]
    with pytest.raises(NotKnown if key == "warmup.length" else ConfigError):
        curves.warmup_length(TEN) if key == "warmup.length" else curves.fit(TEN)


def test_a_fault_is_told_whatever_is_known_later():
    wrong = Curves(warmup=linear("two"), ramps={"momentum": linear("three")})
    keys = [fault.key for fault in wrong.misfits(TEN, later=("epoch", "total"))]
    assert sorted(keys) == ["optimizer.tricks.momentum_warmup", "warmup.length"]
