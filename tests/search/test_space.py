"""Hydra's override grammar as a search space."""

from typing import Any

import pytest
import yaml

from kasoku.config.compose import Command
from kasoku.faults import ConfigError
from kasoku.search.space import Choice, Numbers, Parameter, grid, misplaced, parse
from tests.conftest import CONF, options

VALUES = [
    ("interval(8,128)", Numbers(8.0, 128.0)),
    ("int(interval(8,128))", Numbers(8, 128)),
    ("tag(log,interval(1e-4,1))", Numbers(1e-4, 1.0, log=True)),
    ("int(tag(log,interval(8,128)))", Numbers(8, 128, log=True)),
    ("range(1,10,2)", Numbers(1, 9, step=2)),
    ("range(0.1,0.5,0.1)", Numbers(0.1, 0.4, step=0.1)),
    ("range(3,0,-1)", Choice(("3", "2", "1"))),
    ("choice(sgd,adamw)", Choice(("sgd", "adamw"))),
    ("choice([1,2],[3])", Choice(("[1,2]", "[3]"))),
    ("1,2,1", Choice(("1", "2"))),
    ("'a b',c", Choice(("'a b'", "c"))),
]


def values(text: str) -> Choice | Numbers:
    _, space = parse([f"key={text}"], {}, {})
    return space.parameters[0].values


@pytest.mark.parametrize(("text", "wanted"), VALUES)
def test_values(text: str, wanted: Choice | Numbers) -> None:
    found = values(text)
    assert found == pytest.approx(wanted) if isinstance(found, float) else found == wanted
    assert isinstance(found, Choice) or type(found.low) is type(wanted.low)  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["interval(2,1)", "interval(1,1)", "tag(log,interval(0,1))", "interval(0,inf)"])
def test_no_values(text: str) -> None:
    with pytest.raises(ConfigError, match="key"):
        values(text)


def test_fixed_overrides_are_told_from_varied_ones() -> None:
    fixed, space = parse(["a=1", "b=1,2", "~c", "+d=choice(x,y)"], {}, {})
    assert fixed == ["a=1", "~c"]
    assert [(p.key, p.name) for p in space.parameters] == [("b", "b"), ("+d", "d")]


SEARCH = {
    "space": {"optimizer": "choice(sgd,adamw)"},
    "when": {
        "optimizer": {"sgd": {"optimizer.lr": "interval(0.1,1)"}, "adamw": {"optimizer.lr": "interval(0.01,0.1)"}},
        "warmup": {"linear": {"warmup.length": "1%,5%"}},
    },
}


def sampled(space: Any, **wanted: str) -> dict[str, Any]:
    point = space.sample(lambda p: wanted.get(p.key, p.values.ends[0]))
    return {parameter.name: value for parameter, value in point.items()}


def test_a_conditional_parameter_is_there_with_its_option_alone() -> None:
    _, space = parse([], SEARCH, {"warmup": "none"})
    assert space.is_conditional
    assert sampled(space, optimizer="adamw") == {"optimizer": "adamw", "optimizer.lr (adamw)": "0.01"}
    assert sampled(space, optimizer="sgd") == {"optimizer": "sgd", "optimizer.lr (sgd)": "0.1"}


def test_options_that_are_not_varied_are_those_chosen() -> None:
    _, space = parse(["optimizer=adamw"], SEARCH, {"warmup": "linear", "optimizer": "adamw"})
    assert sampled(space) == {"optimizer.lr (adamw)": "0.01", "warmup.length (linear)": "1%"}
    assert not space.is_conditional
    assert not space.is_numeric


def test_the_command_line_takes_the_place_of_the_file() -> None:
    fixed, space = parse(["optimizer=adamw", "optimizer.lr=0.5"], SEARCH, {"optimizer": "adamw", "warmup": "none"})
    assert fixed == ["optimizer=adamw", "optimizer.lr=0.5"]
    assert sampled(space) == {}


def test_a_grid_has_every_point_of_a_conditional_space_once() -> None:
    search = {"space": {"a": "x,y"}, "when": {"a": {"x": {"b": "1,2"}, "y": {"c": "3,4,5"}}}}
    _, points = grid(parse(["seed=range(0,2)"], search, {})[1])
    assert len(points) == 2 * (2 + 3) == len({tuple(point.items()) for point in points})


@pytest.mark.parametrize("value", [0.01234567, 1e-5, 0.09999999, 0.1])
def test_a_number_is_written_short_within_its_bounds(value: float) -> None:
    numbers = Numbers(1e-5, 0.1)
    written = float(numbers.write(value))
    assert numbers.low <= written <= numbers.high
    assert written == pytest.approx(value, rel=1e-5)
    assert Parameter("k", numbers, "k").override(value) == f"k={numbers.write(value)}"


def test_glob_takes_the_options_that_there_are() -> None:
    _, space = parse(["warmup=glob(*,exclude=none)"], {}, {}, Command([], CONF).loader)
    assert list(space.options("warmup")) == [name for name in options("warmup") if name != "none"]


def test_every_name_in_a_search_file_exists() -> None:
    for path in CONF.glob("search/*.yaml"):
        _, space = parse([], yaml.safe_load(path.read_text()), {})
        for parameter in space.parameters:
            assert isinstance(parameter.values, Choice)
            assert set(parameter.values.options) <= set(options(parameter.key))


@pytest.mark.parametrize(
    ("search", "fix"),
    [
        ({"optimizer.lr": "interval(0,1)"}, "write space: {optimizer.lr: interval(0,1)}"),
        ({"wehn": {}}, "did you mean when?"),
    ],
)
def test_a_search_file_with_other_keys_is_refused_with_its_format(search, fix):
    [fault] = misplaced(search | {"space": {}, "when": {}})
    assert "a search has space: {KEY: VALUES} and when: {GROUP: {OPTION: {KEY: VALUES}}}" in fault.must
    assert fault.fix == fix
