"""The figures of a sweep and of a race's tuning, drawn by Optuna's own visualisations: plain JSON for plotly.js.

The study is made again out of sweep.json, so that they are there for a sweep in progress, or one whose storage is gone.
Colours and places of the axes are left to the page, which knows its theme and its width.
"""

import html
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from optuna.visualization import (
    plot_contour,
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
)

Trial = Mapping[str, Any]
Figure = dict[str, Any]

optuna.logging.set_verbosity(optuna.logging.ERROR)  # Optuna's word on a study with little in it is an empty figure
log = logging.getLogger("kasoku")

WIDE = 10  # greatest by least value of a parameter, from where on it is drawn on a log scale
FEW = 5  # whole numbers that are choices, each with its place on an axis
MOST = 100  # trials of a contour: it is a square of as many values
ASIDE = ("strategy", "phase")  # of a race's trial, what is no parameter of the run
LEFT = ("template", "title", "width", "plot_bgcolor")  # parts of a layout that are the page's own
ENDED = "ended early"
NAMES = {"Best Value": "best so far", "Infeasible Trial": ENDED, "Infeasible": ENDED, "Feasible": "whole"}


class _Word(str):
    """A choice as the command has it: Optuna writes the repr of it on an axis."""

    __slots__ = ()
    __repr__ = str.__str__

    def __deepcopy__(self, memo: object) -> "_Word":
        """Itself: Optuna copies each trial with all of its choices, several times over."""
        return self


class _Recorded(BaseImportanceEvaluator):
    """The shares that the end of the sweep said, of its own study with its own ranges."""

    def __init__(self, shares: Mapping[str, float]):
        self._shares = dict(shares)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        return self._shares


@dataclass(frozen=True)
class Searched:
    """A search: its `metrics`, their `modes` (min or max), and the `trials` as sweep.json has them."""

    metrics: Sequence[str]
    modes: Sequence[str]
    trials: Sequence[Trial]

    @cached_property
    def told(self) -> list[Trial]:
        return [trial for trial in self.trials if values_of(trial)]

    @cached_property
    def varied(self) -> list[str]:
        """The parameters with several values among the trials that have a result."""
        names = dict.fromkeys(name for trial in self.told for name in trial["parameters"])
        return [name for name in names if len({str(value) for value in self.drawn(name)}) > 1]

    @property
    def name(self) -> str:
        """The first metric, without markup."""
        return html.escape(self.metrics[0], quote=False)

    def of_objective(self, i: int) -> "Searched":
        """The same for one objective alone: what is best of it has a direction again."""
        own = [{**trial, "values": [values_of(trial)[i]]} for trial in self.told]
        return Searched([self.metrics[i]], [self.modes[i]], own)

    def drawn(self, name: str) -> list[Any]:
        return [trial["parameters"][name] for trial in self.told if name in trial["parameters"]]

    def study(self, name: str = "study", told_apart: bool = True) -> optuna.Study:
        """The study in memory; a trial without a result holds the place of its number, no text holds markup.

        Trials that were ended early are `told_apart` the one way that Optuna has: they break a constraint.
        """
        modes = [StudyDirection.MINIMIZE if mode == "min" else StudyDirection.MAXIMIZE for mode in self.modes]
        study = optuna.create_study(directions=modes, study_name=html.escape(name, quote=False))
        scales = {name: _distribution(self.drawn(name)) for name in self.varied}
        ended = {trial["number"] for trial in self.told if trial.get("state") == "pruned"}
        for trial in _numbered(self.told):
            broken = {ENDED: float(trial.get("number") in ended)} if told_apart and ended else None
            study.add_trial(_frozen(trial, scales, broken))
        return study


def values_of(trial: Trial) -> list[float]:
    """The values of a trial's objectives; empty where one is not known."""
    values = trial.get("values") or [trial.get("value")]
    return [] if any(value is None for value in values) else list(values)


def sweep(searched: Searched, importance: Mapping[str, float]) -> Iterator[Figure]:
    """The figures of a sweep, each with its `name`, `title` and `of`, the objective where it is of one of several."""
    if len(searched.told) < 2:
        return
    study = searched.study()
    if importance:
        title = "Importance: share of each parameter in how much the trials differ"
        yield from _drawn("importance", title, partial(_importance, importance))
    if len(searched.metrics) == 2:
        title = "Pareto front: no trial is better in both than one of these"
        yield from _drawn("pareto", title, partial(_front, searched))
    for i, metric in enumerate(searched.metrics):
        one = searched.of_objective(i)
        of = metric if len(searched.metrics) > 1 else ""
        draw = partial(plot_optimization_history, one.study(), target_name=one.name)
        yield from _drawn("history", "Values in the order of the trials", draw, of)
        yield from _slices(one, of, importance)
    yield from _parallel(searched, study)


def race(searched: Searched) -> Iterator[Figure]:
    """The figures of a race's tuning: the values of all strategies, and a study for each one, `of` its name."""
    told = [trial for trial in searched.told if trial["parameters"].get("phase") == "tuning"]
    names = dict.fromkeys(trial["parameters"]["strategy"] for trial in told)
    each = {name: _of_strategy(searched, told, name) for name in names}
    if len(told) < 2:
        return
    studies = [one.study(strategy) for strategy, one in each.items()]
    yield from _drawn("history", "Tuning: values in the order of the runs", partial(_history, studies, searched.name))
    for (strategy, one), study in zip(each.items(), studies, strict=True):
        if len(one.told) > 1:
            yield from _parallel(one, study, strategy)
            yield from _slices(one, strategy, {})


def _of_strategy(searched: Searched, told: Sequence[Trial], name: str) -> Searched:
    own = [trial for trial in told if trial["parameters"]["strategy"] == name]
    own = [{**trial, "parameters": {k: v for k, v in trial["parameters"].items() if k not in ASIDE}} for trial in own]
    return Searched(searched.metrics, searched.modes, own)


def _history(studies: Sequence[optuna.Study], name: str) -> Any:
    """Without the best so far: runs of several lengths are no line."""
    figure = plot_optimization_history(studies, target_name=name)
    figure.data = [trace for trace in figure.data if trace.mode == "markers"]
    for trace in figure.data:
        trace.name = (trace.name or "").removeprefix(f"{name} of ")
    return figure


def _parallel(searched: Searched, study: optuna.Study, of: str = "") -> Iterator[Figure]:
    if searched.varied:
        title = "Parallel coordinates: a line a trial, the stronger the better"
        for figure in _drawn("parallel", title, partial(_parallel_plot, searched, study), of):
            axes = [*searched.metrics, *sorted(searched.varied)]  # Optuna cuts them off at 20 characters
            figure["layout"]["xaxis"]["ticktext"] = [_last(html.escape(name, quote=False)) for name in axes]
            yield figure


def _share(importance: Mapping[str, float], name: str) -> float:
    return sum(share for own, share in importance.items() if own.partition(" (")[0] == name)


def _importance(importance: Mapping[str, float]) -> Any:
    """Drawn of a study of its own: a parameter of one option alone has another name there, `optimizer.lr (adamw)`."""
    shares = {html.escape(name, quote=False): share for name, share in importance.items()}
    study = optuna.create_study()
    scales: dict[str, BaseDistribution] = dict.fromkeys(shares, FloatDistribution(0, 1))
    study.add_trial(create_trial(value=0.0, params=dict.fromkeys(shares, 0.0), distributions=scales))
    return plot_param_importances(study, _Recorded(shares))


def _front(searched: Searched) -> Any:
    names = [html.escape(metric, quote=False) for metric in searched.metrics]
    figure = plot_pareto_front(searched.study(told_apart=False), target_names=names)
    for trace, name in zip(figure.data, ("further trials", "none is better in both"), strict=True):
        trace.update(name=name, showlegend=True)
    return figure


def _parallel_plot(searched: Searched, study: optuna.Study) -> Any:
    if len(searched.metrics) > 1:  # each has an axis, and Pareto's rank the colour
        study.set_metric_names([html.escape(metric, quote=False) for metric in searched.metrics])
    return plot_parallel_coordinate(study, target_name=searched.name)


def _slices(searched: Searched, of: str, importance: Mapping[str, float]) -> Iterator[Figure]:
    """Slices, and the contour over two numbers, those of the greatest importance."""
    if searched.varied:
        alike = searched.study(told_apart=False)  # those with a broken constraint would lack in a slice of words
        title = "Slices: each parameter against the value"
        yield from _drawn("slices", title, partial(plot_slice, alike, target_name=searched.name), of)
    ranked = sorted(searched.varied, key=lambda name: -_share(importance, name))
    numbers = [name for name in ranked if _is_measured(searched, name)]
    if len(numbers) > 1 and 3 < len(searched.told) <= MOST:
        pair = [html.escape(name, quote=False) for name in numbers[:2]]
        draw = partial(plot_contour, searched.study(), pair, target_name=searched.name)
        yield from _drawn("contour", "Contour: the value over two numbers", draw, of)


def _drawn(name: str, title: str, draw: Callable[[], Any], of: str = "") -> Iterator[Figure]:
    """The figure as JSON; none where Optuna cannot draw it, which is no reason to go without a page."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = draw()
    except Exception as error:
        log.debug("Optuna draws no %s: %s: %s", name, type(error).__name__, error)
        return
    for trace in figure.data:
        trace.name = NAMES.get(trace.name or "", trace.name)
    parts = json.loads(figure.to_json())
    layout = {key: value for key, value in parts["layout"].items() if key not in LEFT}
    yield {"name": name, "title": title, "of": of, "data": _brief(parts["data"]), "layout": _brief(layout)}


def _frozen(
    trial: Trial, scales: Mapping[str, BaseDistribution], broken: dict[str, float] | None
) -> optuna.trial.FrozenTrial:
    if not trial:
        return create_trial(state=TrialState.FAIL)
    scaled = {name: scales[name] for name in trial["parameters"] if name in scales}
    given = {html.escape(name, quote=False): _as_drawn(trial["parameters"][name], own) for name, own in scaled.items()}
    own = {html.escape(name, quote=False): scale for name, scale in scaled.items()}
    return create_trial(values=values_of(trial), params=given, distributions=own, constraints=broken)


def _numbered(trials: Sequence[Trial]) -> Iterator[Trial]:
    """`trials` by their numbers from 0 on; an empty one for each number that is missing."""
    found = {trial["number"]: trial for trial in trials}
    yield from (found.get(number, {}) for number in range(max(found) + 1))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    if _are_choices(values):
        return CategoricalDistribution(sorted(set(values)))
    if all(map(_is_number, values)):
        low, high = min(values), max(values)
        return FloatDistribution(low, high, log=low > 0 and high / low > WIDE)
    return CategoricalDistribution(sorted({_word(value) for value in values}))


def _as_drawn(value: Any, scale: BaseDistribution) -> Any:
    if isinstance(scale, CategoricalDistribution):
        return value if value in scale.choices else _word(value)
    return float(value)


def _are_choices(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values) and len(set(values)) <= FEW


def _word(value: Any) -> _Word:
    return _Word(html.escape(str(value), quote=False))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_measured(searched: Searched, name: str) -> bool:
    """True for a number with as many values as a surface needs."""
    values = searched.drawn(name)
    return all(map(_is_number, values)) and len(set(values)) > 2 and not _are_choices(values)


def _last(name: str) -> str:
    """The last two words of a key: the first one says the group."""
    return ".".join(name.split(".")[-2:])


def _brief(value: Any) -> Any:
    """Numbers with the digits that a picture has."""
    if isinstance(value, dict):
        return {key: _brief(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_brief(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
