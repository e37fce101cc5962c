"""The space of a sweep, in Hydra's override grammar: choice, range, interval, tag(log, ...), int(...), a,b,c.

Plain values; `kasoku.search.study` gives them to Optuna.
"""

import itertools
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from kasoku.faults import ConfigError, Fault, nearest


@dataclass(frozen=True)
class Choice:
    """One of some values, each written as in an override."""

    options: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, str]:
        return self.options[0], self.options[-1]


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included; whole if `low` is an int; in `step`s, or on a `log` scale."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        return self.write(self.low), self.write(self.high)

    @property
    def all(self) -> tuple[str, ...]:
        """Every number of a range, as in an override."""
        count = round((self.high - self.low) / (self.step or 1)) + 1
        return tuple(self.write(self.low + index * type(self.low)(self.step or 1)) for index in range(count))

    def write(self, value: float) -> str:
        """`value` as in an override, with six digits unless they lead out of the bounds."""
        if isinstance(value, int):
            return str(value)
        short = f"{value:.6g}"
        return short if self.low <= float(short) <= self.high else repr(value)


@dataclass(frozen=True)
class Parameter:
    """A `key` of the configuration and its values. `name` tells it from the same key under another condition."""

    key: str
    values: Choice | Numbers
    name: str

    def read(self, value: Any) -> Any:
        """`value` as the configuration has it: a text of a choice is read, a number is rounded as it is written."""
        text = value if isinstance(self.values, Choice) else self.values.write(value)
        return OverridesParser.create().parse_override(f"key={text}").value()

    def override(self, value: Any) -> str:
        return f"{self.key}={value if isinstance(self.values, Choice) else self.values.write(value)}"


Suggest = Callable[[Parameter], Any]


@dataclass(frozen=True)
class Space:
    """`parameters` that every trial has, and those it has `when` a group has an option: group -> option -> parameters.

    `chosen` are the options of the groups that are not varied.
    """

    parameters: Sequence[Parameter]
    when: Mapping[str, Mapping[str, Sequence[Parameter]]] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)

    def sample(self, suggest: Suggest) -> dict[Parameter, Any]:
        """A point: the value that `suggest` gives for each parameter that applies."""
        point = {parameter: suggest(parameter) for parameter in self.parameters}
        for group, options in self.when.items():
            option = next((value for p, value in point.items() if p.key == group), self.chosen.get(group))
            for parameter in options.get(str(option), ()):
                point[parameter] = suggest(parameter)
        return point

    def options(self, group: str) -> Sequence[str]:
        """The options of `group` that points have: those varied, or the one chosen."""
        chosen = (self.chosen[group],) if group in self.chosen else ()
        varied = (p.values.options for p in self.parameters if p.key == group and isinstance(p.values, Choice))
        return next(varied, chosen)

    @property
    def is_numeric(self) -> bool:
        """True if all parameters are numbers that every trial has."""
        return not self.is_conditional and all(isinstance(p.values, Numbers) for p in self.applicable)

    @property
    def is_conditional(self) -> bool:
        varied = {parameter.key for parameter in self.parameters}
        return any(group in varied for group in self.when)

    @property
    def applicable(self) -> list[Parameter]:
        """The parameters of the first point."""
        return list(self.sample(lambda parameter: parameter.values.ends[0]))

    def corners(self) -> list[list[str]]:
        """Overrides of points that show what is wrong with the space: its lower and its upper ends."""
        points = (self.sample(lambda p, end=end: p.values.ends[end]) for end in (0, 1))  # type: ignore[misc]
        return [[f"{parameter.key}={text}" for parameter, text in point.items()] for point in points]


def parse(
    lines: Sequence[str], search: Mapping[str, Any], chosen: Mapping[str, str], loader: ConfigLoader | None = None
) -> tuple[list[str], Space]:
    """The overrides among `lines` that every trial has, and the space of the others and of the `search` node.

    A key on the command line takes the place of the same key in `search`. glob(*) takes the options from the `loader`.

    Raises:
        ConfigError: values that are no space: a reversed interval, a log scale from zero, ...
    """
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(lines))
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    taken = {override.key_or_group for override in overrides}
    faults: list[Fault] = []
    parameters = [_parameter(override, "", faults) for override in overrides if override.is_sweep_override()]
    parameters += read_node(search.get("space") or {}, "", taken, faults)
    when = {
        group: {str(option): read_node(node or {}, f" ({option})", taken, faults) for option, node in options.items()}
        for group, options in (search.get("when") or {}).items()
    }
    if faults:
        raise ConfigError(*faults)
    return fixed, Space(tuple(parameters), when, {key: value for key, value in chosen.items() if value})


def misplaced(search: Mapping[str, Any]) -> list[Fault]:
    """The faults of a search node whose keys are not those of one: they would be ignored."""
    what = "no such key, a search has space: {KEY: VALUES} and when: {GROUP: {OPTION: {KEY: VALUES}}}"
    fixes = {
        str(key): f"write space: {{{key}: {text}}}"
        if "." in str(key)
        else nearest(str(key), ("space", "when", "of_optimizer"))
        for key, text in search.items()
        if key not in ("space", "when", "of_optimizer")
    }
    return [Fault(f"search.{key}", search[key], what, fix) for key, fix in fixes.items()]


def grid(space: Space) -> tuple[Space, list[dict[str, str]]]:
    """`space` with a choice for each range, and all its points as the values of its parameters' names.

    Raises:
        ConfigError: an interval, which has infinitely many points.
    """
    faults: list[Fault] = []
    enumerated = Space(
        [_enumerated(parameter, faults) for parameter in space.parameters],
        {g: {o: [_enumerated(p, faults) for p in ps] for o, ps in os.items()} for g, os in space.when.items()},
        space.chosen,
    )
    if faults:
        raise ConfigError(*faults)
    return enumerated, list(_points(enumerated))


def _enumerated(parameter: Parameter, faults: list[Fault]) -> Parameter:
    values = parameter.values
    if isinstance(values, Choice):
        return parameter
    if values.step is None:
        fix = "list the values, or use sweeper=random or bayes"
        faults.append(Fault(parameter.key, f"interval({values.low:g},{values.high:g})", "a grid needs values", fix))
        return parameter
    return Parameter(parameter.key, Choice(values.all), parameter.name)


def _points(space: Space) -> Iterator[dict[str, str]]:
    """Every point, the last parameter varying fastest."""
    seen = set()
    names = {p.name: p for p in space.parameters} | {
        p.name: p for options in space.when.values() for parameters in options.values() for p in parameters
    }
    for texts in itertools.product(*(p.values.options for p in names.values() if isinstance(p.values, Choice))):
        whole = dict(zip(names, texts, strict=True))
        point = {parameter.name: text for parameter, text in space.sample(partial(_look_up, whole)).items()}
        if (key := tuple(point.items())) not in seen:
            seen.add(key)
            yield point


def _look_up(texts: Mapping[str, str], parameter: Parameter) -> str:
    return texts[parameter.name]


def read_node(node: Mapping[str, Any], suffix: str, taken: Container[str], faults: list[Fault]) -> list[Parameter]:
    """The parameters in `node`, key -> values, but those `taken`; `suffix` ends their names. Adds to `faults`."""
    parameters = []
    for key, text in node.items():
        if key.lstrip("+") in taken:
            continue
        try:
            override = OverridesParser.create().parse_override(f"{key}={text}")
        except HydraException as error:
            faults.append(Fault(key, str(text), f"cannot be read: {str(error).splitlines()[0]}"))
            continue
        if override.is_sweep_override():
            parameters.append(_parameter(override, suffix, faults))
        else:
            parameters.append(Parameter(key, Choice((str(text),)), key + suffix))
    return parameters


def _parameter(override: Override, suffix: str, faults: list[Fault]) -> Parameter:
    key = override.get_key_element()
    value: Any = override.value()
    values: Choice | Numbers
    if isinstance(value, IntervalSweep):
        values = _interval(override.key_or_group, value, str(override.input_line), faults)
    elif isinstance(value, RangeSweep) and not value.shuffle:
        values = _range(override, value, faults)
    else:
        values = _choice(override, faults)
    return Parameter(key, values, override.key_or_group + suffix)


def _interval(key: str, value: IntervalSweep, line: str, faults: list[Fault]) -> Numbers:
    low, high, log = value.start, value.end, "log" in value.tags
    given = line.partition("=")[2]
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        faults.append(Fault(key, given, "the ends of an interval must be finite numbers"))
    elif low >= high:
        faults.append(
            Fault(
                key,
                given,
                "the first end of an interval must be below the second",
                f"did you mean interval({high:g},{low:g})?",
            )
        )
    elif log and low <= 0:
        fix = f"such as tag(log,interval({high / 1000:g},{high:g}))" if high > 0 else ""
        faults.append(Fault(key, given, "an interval on a log scale must begin above 0", fix))
    elif unknown := value.tags - {"log"}:
        faults.append(Fault(key, given, f"no such tag: {' '.join(sorted(unknown))}", "the only one is log"))
    return Numbers(low or 0, high or 0, log=log)


def _range(override: Override, value: RangeSweep, faults: list[Fault]) -> Choice | Numbers:
    """Whole numbers or fractions in equal steps; a choice where the steps go down."""
    numbers: list[Any] = _enumerate(override, faults)
    if len(numbers) < 2 or value.step <= 0 or "log" in value.tags:
        return _choice(override, faults)
    return Numbers(numbers[0], numbers[-1], step=value.step)


def _choice(override: Override, faults: list[Fault]) -> Choice:
    numbers = _enumerate(override, faults)
    texts = [f"{n:.12g}" for n in numbers] if override.is_range_sweep() else list(_texts(override)) if numbers else []
    if not texts:
        faults.append(Fault(override.key_or_group, _given(override), "there is no value in it"))
    return Choice(tuple(dict.fromkeys(texts)) or ("",))


def _enumerate(override: Override, faults: list[Fault]) -> list[Any]:
    try:
        return list(override.sweep_iterator())
    except (HydraException, ValueError) as error:
        faults.append(Fault(override.key_or_group, _given(override), str(error).splitlines()[0]))
        return [0]


def _texts(override: Override) -> Sequence[str]:
    return list(override.sweep_string_iterator())


def _given(override: Override) -> str:
    return str(override.input_line).partition("=")[2]
