"""Schedule and warmup of a configuration as plain values: every fault in a line, and what fits is passed over."""

from itertools import zip_longest

import pytest

from kasoku.config.checks import _curves as check_curves

MUST_FIT = "must fit into the 90 steps that the warmup leaves"
WARM = {"_target_": "kasoku.warmups.linear", "_partial_": True, "length": 10, "start_factor": 0.0}
HUNDRED = {"max_steps": 100, "max_epochs": None, "max_time": None}
HOUR = {"max_steps": -1, "max_epochs": None, "max_time": "00:01:00:00"}


def schedule(name: str, **settings: object) -> dict[str, object]:
    return {"_target_": f"kasoku.schedules.{name}", "_partial_": True, **settings}


def faults(scheduler: object, warmup: object = WARM, trainer: object = HUNDRED) -> list[str]:
    return [str(fault) for fault in check_curves({"scheduler": scheduler, "warmup": warmup, "trainer": trainer})]


def beginnings(lines: list[str], told: list[str]) -> list[str]:
    """Of each line as much as is told of it; lines of which nothing is told are whole."""
    return [line[: len(words)] if words else line for line, words in zip_longest(lines, told, fillvalue="")]


LOW = schedule("onecycle_momentum", rise="30%", low_factor=2)
DRIVEN = {"momentum": LOW, "weight_decay": schedule("linear", final_factor=3)}


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        (schedule("linear", final_factor=0.5), []),
        (schedule("linear", final_factor=2), ["scheduler.final_factor=2: must be a finite number >= 0 and <= 1"]),
        (schedule("linear", _convert_="all", _recursive_=True, _args_=[]), []),
        (schedule("linear", final_factor=None), ["scheduler.final_factor=null: must be a finite number >= 0 and <= 1"]),
        (schedule("linear", total=5), ["scheduler.total=5: no such key, the keys are: final_factor"]),
        (schedule("onecycle", rise="30%", momentum=None, weight_decay=None), []),
        (schedule("onecycle", rise="30%", momentum=0.9), ["scheduler.momentum=0.9: no such key, the keys are: anneal"]),
        (
            schedule("onecycle", rise=0, **DRIVEN),
            [
                "scheduler.rise=0: must be a length of 1 step or more",
                "scheduler.momentum.low_factor=2: must be a finite number >= 0 and <= 1",
                "scheduler.weight_decay.final_factor=3: must be a finite number >= 0 and <= 1",
            ],
        ),
        (schedule("lineal"), ["scheduler._target_=kasoku.schedules.lineal: there is no lineal in kasoku.schedules"]),
        (
            {"_target_": "mine.lineal", "momentum": schedule("cosin")},
            ["scheduler.momentum._target_=kasoku.schedules.cosin: there is no cosin in kasoku.schedules"],
        ),
        ({"_target_": "mine.linear", "final_factor": 7}, []),
        ({"_target_": "kasoku.optim.plateau.Plateau", "factor": 7}, []),
        (None, []),
        ("linear", []),
    ],
)
def test_settings_of_the_schedule_and_of_what_it_drives(scheduler, told):
    assert beginnings(faults(scheduler), told) == told


@pytest.mark.parametrize(
    ("warmup", "told"),
    [
        ({**WARM, "length": "untuned"}, []),
        (
            {**WARM, "length": "untuned", "start_factor": 1},
            ["warmup.start_factor=1: must be a finite number >= 0 and < 1"],
        ),
        ({**WARM, "step": 3}, ["warmup.step=3: no such key, the keys are: length start_factor"]),
        ({"_target_": "kasoku.warmups.none", "length": 5}, ["warmup.length=5: must be 0"]),
        ({**WARM, "length": 100}, []),
        ({**WARM, "length": "100%"}, []),
        (
            {**WARM, "length": 101},
            ["warmup.length=101: is 101 steps, and must not be longer than the run of 100 steps; shorten it, or train"],
        ),
        ({**WARM, "length": "3ep"}, []),
        ({"_target_": "mine.linear", "length": 101}, []),
        (None, []),
    ],
)
def test_settings_of_the_warmup(warmup, told):
    assert beginnings(faults(schedule("linear"), warmup), told) == told


def test_without_a_warmup_the_whole_run_is_left():
    assert faults(schedule("wsd", decay=100), None) == []
    assert faults(schedule("wsd", decay=101), None) == [
        "scheduler.decay=101: must fit into the 100 steps that the warmup leaves, 101 steps do not"
    ]


def test_faults_of_both_are_told_together():
    found = faults(schedule("linear", final_factor=2), {**WARM, "length": -1})
    assert [line.split("=")[0] for line in found] == ["scheduler.final_factor", "warmup.length"]


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        (schedule("wsd", decay=90, horizon=None), []),
        (schedule("wsd", decay=91, horizon=None), [f"scheduler.decay=91: {MUST_FIT}, 91 steps do not"]),
        (schedule("wsd", decay="90%", horizon=None), []),
        (schedule("wsd", decay="91%", horizon=None), [f"scheduler.decay=91%: {MUST_FIT}, 91 steps do not"]),
        (schedule("wsd", decay=91, horizon=200), []),
        (schedule("wsd", decay="2ep"), []),
        (schedule("multistep", milestones=[50, 89]), []),
        (
            schedule("multistep", milestones=[50, 90]),
            ["scheduler.milestones=[50,90]: must be inside the 90 steps that the warmup leaves: 90"],
        ),
        (schedule("multistep", milestones=["60%", 20]), ["scheduler.milestones=[60%,20]: must be strictly increasing"]),
        (schedule("multistep", milestones=["1ep", 20]), []),
        (
            schedule("onecycle", rise=95, momentum=schedule("onecycle_momentum", rise=91)),
            [
                f"scheduler.rise=95: {MUST_FIT}, 95 steps do not",
                f"scheduler.momentum.rise=91: {MUST_FIT}, 91 steps do not",
            ],
        ),
        (
            schedule("onecycle", rise="2ep", momentum=schedule("onecycle_momentum", rise=91)),
            [f"scheduler.momentum.rise=91: {MUST_FIT}, 91 steps do not"],
        ),
    ],
)
def test_lengths_have_to_fit_into_what_the_warmup_leaves(scheduler, told):
    assert beginnings(faults(scheduler), told) == told


@pytest.mark.parametrize(
    ("warmup", "trainer", "told"),
    [
        ({**WARM, "length": 100}, HUNDRED, ["scheduler.decay=2: must fit into the 1 steps"]),
        ({**WARM, "length": 99}, HUNDRED, ["scheduler.decay=2: must fit into the 1 steps"]),
        ({**WARM, "length": 98}, HUNDRED, []),
        ({**WARM, "length": "untuned"}, HUNDRED, []),
        (None, HUNDRED, []),
        (None, {**HUNDRED, "max_steps": 1}, ["scheduler.decay=2: must fit into the 1 steps"]),
        ({**WARM, "length": 500}, {**HUNDRED, "max_steps": -1, "max_epochs": 3}, []),
        ({**WARM, "length": 500}, {**HUNDRED, "max_steps": "many"}, []),
        ({**WARM, "length": 500}, {**HUNDRED, "max_steps": 0}, []),
        ({**WARM, "length": 500}, {**HUNDRED, "max_steps": 100.0}, []),
        ({**WARM, "length": 500}, "fast", []),
        ({**WARM, "length": 500}, None, []),
    ],
)
def test_what_is_known_of_the_run_decides(warmup, trainer, told):
    assert beginnings(faults(schedule("wsd", decay=2), warmup, trainer), told) == told


ENDLESS = "needs to know how many steps the run has, unknown where max_time alone ends the run or data has no length"
FIX = "give trainer.max_steps"
SHARE = "a length in % needs the run's total steps, unknown where max_time alone ends the run or data has no length"


@pytest.mark.parametrize("trainer", [HOUR, {**HOUR, "max_steps": None}, {"max_epochs": -1, "max_steps": -1}])
@pytest.mark.parametrize(
    ("scheduler", "length", "told"),
    [
        (schedule("step", every=100), 10, []),
        (schedule("cosine"), 10, [f"scheduler=cosine: {ENDLESS}; {FIX}"]),
        (
            schedule("step", every="10%", gamma=0.5),
            "5%",
            [f"scheduler.every=10%: {SHARE}: {FIX}", f"warmup.length=5%: {SHARE}: {FIX}"],
        ),
        (
            schedule("constant", momentum=schedule("linear")),
            10,
            [f"scheduler.momentum=linear: {ENDLESS}; {FIX}"],
        ),
    ],
)
def test_a_run_without_a_known_length_takes_no_shares_of_it(scheduler, length, told, trainer):
    assert faults(scheduler, {**WARM, "length": length}, trainer) == told


@pytest.mark.parametrize(
    "trainer", [{**HOUR, "max_steps": 500}, {**HOUR, "max_epochs": 5}, {**HOUR, "max_time": None}, {}]
)
def test_a_run_whose_length_is_known_or_missing_by_mistake_is_not_asked_for_it_here(trainer):
    assert faults(schedule("cosine"), {**WARM, "length": "5%"}, trainer) == []


def test_the_length_of_the_run_is_asked_for_after_the_settings():
    assert faults(schedule("cosine", final_factor=2), trainer=HOUR) == [
        "scheduler.final_factor=2: must be a finite number >= 0 and <= 1"
    ]
