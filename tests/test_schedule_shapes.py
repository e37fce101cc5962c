import importlib
import inspect
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kasoku import schedules
from kasoku.durations import Clock, to_steps
from kasoku.schedules import check_shape
from kasoku.signatures import check_call

CONF = Path(__file__).parents[1] / "conf"
SCHEDULERS, WARMUPS = sorted(CONF.glob("scheduler/*.yaml")), sorted(CONF.glob("warmup/*.yaml"))


@pytest.mark.parametrize(
    ("name", "shape", "refused", "must"),
    [
        ("step", {"every": 0}, "every", "1 step or more"),
        ("step", {"every": "0%"}, "every", "1 step or more"),
        ("step", {"every": None}, "every", "must be a length"),
        ("step", {"every": 5, "gamma": 0}, "gamma", "> 0 and <= 1"),
        ("exponential", {"every": 5, "gamma": 1.2}, "gamma", "> 0 and <= 1"),
        ("exponential", {"every": 5, "gamma": math.nan}, "gamma", "finite"),
        ("multistep", {"milestones": []}, "milestones", "list"),
        ("multistep", {"milestones": 50}, "milestones", "list"),
        ("multistep", {"milestones": ["50%", "-1"]}, "milestones", "-1"),
        ("time_based", {"every": 1, "rate": 0}, "rate", "positive"),
        ("inverse_sqrt", {"timescale": "5 ep"}, "timescale", "must be a length"),
        ("linear", {"final_factor": 1.5}, "final_factor", "<= 1"),
        ("linear", {"final_factor": -0.1}, "final_factor", ">= 0"),
        ("polynomial", {"power": -1}, "power", "positive"),
        ("cosine", {"final_factor": None}, "final_factor", "number"),
        ("cosine_restarts", {"period": 5, "multiplier": 1.5}, "multiplier", "whole number"),
        ("wsd", {"decay": "200%"}, "decay", "100%"),
        ("wsd", {"decay": 5, "anneal": "sqr"}, "anneal", "sqrt"),
        ("onecycle", {"rise": 5, "start_factor": 0}, "start_factor", "> 0"),
        ("cyclic", {"rise": 5, "fall": 5, "mode": "triangle"}, "mode", "triangular2"),
        ("cyclic", {"rise": 5, "fall": 5, "low_factor": 2}, "low_factor", "<= 1"),
        ("linear", {"final": 0.1}, "final", "did you mean final_factor"),
        ("linear", {"total": 10}, "total", "no such key"),
        ("linear", {"step": 10}, "step", "no such key"),
    ],
)
def test_a_shape_out_of_range_is_one_fault_of_its_key(name, shape, refused, must):
    (fault,) = check_call(getattr(schedules, name), shape, "scheduler.")
    assert fault.key == f"scheduler.{refused}"
    assert must in str(fault)


def test_one_milestone_is_enough():
    assert check_call(schedules.multistep, {"milestones": ["50%"]}) == []


@pytest.mark.parametrize(
    ("milestones", "written", "total", "answers"),
    [
        ([30, 60], None, 100, []),
        ([30, 10**9], None, None, []),
        ([60, 30], None, 100, ["30 follows 60"]),
        ([30, 30], None, 100, ["30 follows 30"]),
        ([30, 100], None, 100, ["inside the 100 steps that the warmup leaves: 100"]),
        ([30, 99], None, 100, []),
        ([60, 30, 500], None, 100, ["30 follows 60", "the warmup leaves: 500"]),
        ([60, 30], ["60%", "3ep"], 100, ["3ep follows 60%"]),
        ([50, 50], ["50%", "50%"], 100, ["50% follows 50%"]),
        ([91], ["91%"], 90, []),
        ([92], ["92%"], 90, ["the warmup leaves: 92%"]),
        ([2, 2], ["50%", "75%"], 2, []),  # a run of three steps, one of them warmup: rounded, not wrong
        ([1, 1], ["50%", "75%"], 1, []),
    ],
)
def test_milestones_are_strictly_increasing_and_inside_the_run(milestones, written, total, answers):
    written = written and {"milestones": written, "gamma": 0.1}
    faults = check_shape(schedules.multistep, {"milestones": milestones, "gamma": 0.1}, total, written)
    assert [name for name, _ in faults] == ["milestones"] * len(answers)
    assert all(answer in must for answer, (_, must) in zip(answers, faults, strict=True))


@pytest.mark.parametrize(
    ("name", "shape", "total", "refused"),
    [
        ("wsd", {"decay": 100}, 100, []),
        ("wsd", {"decay": 101}, 100, ["decay"]),
        ("wsd", {"decay": 101, "horizon": 200}, 100, []),
        ("wsd", {"decay": 60, "horizon": 50}, 100, ["decay"]),
        ("onecycle", {"rise": 100}, 100, []),
        ("onecycle", {"rise": 101}, 100, ["rise"]),
        ("onecycle_momentum", {"rise": 101}, 100, ["rise"]),
        ("linear", {}, 100, []),
        ("step", {"every": 1000}, None, []),
        ("wsd", {"decay": 101}, None, []),
    ],
)
def test_a_length_has_to_fit_into_what_the_warmup_leaves(name, shape, total, refused):
    assert [name for name, _ in check_shape(getattr(schedules, name), shape, total)] == refused


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("wsd", {"decay": 5}, {"anneal": ["sqrt", "linear", "cosine"]}),
        ("onecycle", {"rise": 5}, {"anneal": ["linear", "cosine"]}),
        ("cyclic", {"rise": 5, "fall": 5}, {"mode": ["triangular", "triangular2", "exp_range"]}),
    ],
)
def test_every_word_that_a_setting_knows_is_taken(name, shape, words):
    for key, known in words.items():
        assert not any(check_call(getattr(schedules, name), {**shape, key: word}, "") for word in known)


def placed(path):
    """The option's node where a run has it: beside the target that it may refer to."""
    target = {"metric": "val/loss", "mode": "min"}  # the defaults of the functions
    return OmegaConf.create({"target": target, path.parent.name: OmegaConf.load(path)})[path.parent.name]


def nodes(path):
    """The option's own node and those nested in it, as (function, settings) by the prefix of their keys."""
    settings = OmegaConf.to_container(placed(path), resolve=True)
    nested = {key: settings.pop(key) for key in ("momentum", "weight_decay") if key in settings}
    for prefix, node in {"": settings, **{f"{key}.": node for key, node in nested.items()}}.items():
        module, _, name = node.pop("_target_").rpartition(".")
        assert node.pop("_partial_") is True
        yield prefix, getattr(importlib.import_module(module), name), node


@pytest.mark.parametrize("path", [*SCHEDULERS, *WARMUPS], ids=lambda path: f"{path.parent.name}={path.stem}")
def test_an_option_names_its_function_and_every_argument_of_it(path):
    for prefix, function, settings in nodes(path):
        checked = {key: value for key, value in settings.items() if value != "untuned"}
        assert check_call(function, checked, prefix) == []
        keywords = {name: p for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
        assert keywords.keys() <= settings.keys()
        assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", [*SCHEDULERS, *WARMUPS], ids=lambda path: f"{path.parent.name}={path.stem}")
def test_an_option_and_its_function_have_the_same_defaults(path):
    for _, function, settings in nodes(path):
        if path.stem == "cosine_tenth":  # the cosine with another end
            assert settings.pop("final_factor") == 0.1
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not parameter.empty and name in settings:
                same = settings[name] == parameter.default
                assert same or settings[name] == pytest.approx(parameter.default, rel=1e-3)


@pytest.mark.parametrize("total", [1, 2, 3, 10, 97, 10**6])
@pytest.mark.parametrize("path", SCHEDULERS, ids=lambda path: path.stem)
def test_an_option_suits_a_run_of_any_length(path, total):
    for _, function, written in nodes(path):
        if inspect.isclass(function):
            continue
        clock = Clock(total)
        shape = {
            key: [to_steps(item, clock) for item in value] if isinstance(value, list)
            else to_steps(value, clock) if str(value).endswith("%") else value
            for key, value in written.items()
        }  # fmt: skip
        assert check_shape(function, shape, total, written) == []
        assert all(0 < function(step, total, **shape) <= 1 for step in {0, total // 3, total // 2, total - 1})
