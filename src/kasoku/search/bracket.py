"""sweeper=bracket: one number, the learning rate, looked for by the race's own tuner.

The default, three times and a third of it, on towards the better until that lies inside, then a parabola over the log:
in short runs where the schedule decays, each with a whole schedule of its own, since a long one that is cut tells
little of its end. What they find is run at full length, and both sides of it, the lower first: the best rate falls as
runs get longer (arXiv:2409.19913).
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, Trial

from kasoku.faults import ConfigError, Fault
from kasoku.results import Target
from kasoku.search.agenda import END, OPEN, TICKET, Draft, Ticket, is_second, suggest
from kasoku.search.objective import COSTS, TIMES, Objective
from kasoku.search.race.runs import Dimension, Done, Planned, Rules, Strategy
from kasoku.search.race.strategies import decays
from kasoku.search.race.tuners import bracket, estimate
from kasoku.search.race.work import Work
from kasoku.search.settings import Settings
from kasoku.search.space import Numbers, Parameter, Space

LEAST = 4  # trials: the default, both sides of it, and what they point to
WHOLE = 100  # lengths of runs are percent of the command's
NEARER = 0.5  # at full length the other side of the best lies so far: the lower side first
RUN = "run"


@dataclass(frozen=True)
class Search:
    """A search for the best value of `parameter`, in at most `n_trials` trials.

    shorter: the overrides that make a run `percent` of its length; none where all are whole.
    """

    parameter: Parameter
    dimension: Dimension
    objective: Objective
    n_trials: int
    percent: int
    shorter: Mapping[str, int]

    @property
    def identity(self) -> list[str]:
        return [f"bracket={self.dimension} {self.n_trials} {self.percent} {dict(self.shorter)}"]


def read(values: Mapping[str, Any], space: Space, settings: Settings, objectives: Sequence[Objective]) -> Search:
    """The search that a command's configuration `values` and its `space` ask for.

    Raises:
        ConfigError: the space is not one number on a log scale with its default inside, the metric cannot be compared
            between trials, or the trials are too few.
    """
    faults = _of_settings(settings, objectives)
    dimension = _dimension(values, space)
    if faults or isinstance(dimension, Fault):
        raise ConfigError(*faults, *([dimension] if isinstance(dimension, Fault) else []))
    percent = round(WHOLE * settings.short)
    shorter = _shorter(values["trainer"], settings.short) if percent < WHOLE and decays(values) else {}
    return Search(
        space.applicable[0],
        dimension,
        objectives[0],
        settings.n_trials or LEAST,
        percent if shorter else WHOLE,
        shorter,
    )


def _of_settings(settings: Settings, objectives: Sequence[Objective]) -> list[Fault]:
    faults = []
    if settings.n_trials is None or settings.n_trials < LEAST:
        must = f"must be >= {LEAST}: the default, three times and a third of it, and what they point to"
        faults.append(Fault("sweeper.n_trials", settings.n_trials, must))
    if len(objectives) > 1:
        faults.append(Fault("sweeper.metric", settings.metric, "sweeper=bracket takes one", "or use sweeper=tpe"))
    elif (metric := objectives[0].metric) in (*TIMES, *COSTS):
        must = "tells nothing of the rate in a run that is short or misses"
        faults.append(Fault("sweeper.metric", metric, must, "take the target's metric, or sweeper=race"))
    return faults


def _dimension(values: Mapping[str, Any], space: Space) -> Dimension | Fault:
    found, numbers = space.applicable, space.applicable[0].values
    if len(found) > 1 or space.is_conditional or not isinstance(numbers, Numbers) or not numbers.log:
        must = f"looks for one number on a log scale, and here are {' '.join(p.key for p in found)}"
        return Fault("sweeper", "bracket", must, "use search=lr alone, or sweeper=bayes")
    [parameter] = found
    default = OmegaConf.select(OmegaConf.create(dict(values)), parameter.key)
    if not isinstance(default, int | float) or not numbers.low <= default <= numbers.high:
        must = f"is where sweeper=bracket begins, and must lie in its range {numbers.low:g} to {numbers.high:g}"
        return Fault(parameter.key, default, must, "widen the range, or use sweeper=bayes")
    return Dimension(parameter.key, float(default), numbers.low, numbers.high)


def _shorter(trainer: Mapping[str, Any], part: float) -> dict[str, int]:
    """Overrides that make a run `part` of its length; none where it is one epoch or has no length."""
    given = {key: trainer.get(key) for key in ("max_steps", "max_epochs")}
    lengths = {key: value for key, value in given.items() if isinstance(value, int) and value > 0}
    short = {f"trainer.{key}": math.ceil(part * value) for key, value in lengths.items()}
    return short if any(short[f"trainer.{key}"] < value for key, value in lengths.items()) else {}


def looked_for(work: Work, search: Search) -> Generator[list[Planned], Sequence[Done], None]:
    """The trials of `search`: the short ones, and at least a third of all at full length."""
    values, centre, factor = work.strategy.defaults, search.dimension.default, 3.0
    if search.shorter:
        work.most = search.n_trials - max(1, search.n_trials // 3)
        tried: list[Any] = []
        yield from bracket(work, values, search.dimension, search.percent, tried)
        centre, factor = estimate(search.dimension, tried) or min(number for number, _ in tried) / 3, NEARER
    work.most = search.n_trials
    yield from bracket(work, values, search.dimension, WHOLE, [], search.dimension.inside(centre), factor)


def pending(search: Search, done: Mapping[str, Done]) -> list[Planned]:
    """The runs that the search waits for, after those that are `done`; none where it is over."""
    target = Target(search.objective.metric, 0.0, "max" if search.objective.mode == "max" else "min")
    strategy = Strategy("bracket", (), (search.dimension,), decays=True)  # its ends are compared
    steps = looked_for(Work(strategy, Rules("", target, WHOLE, tuning=math.inf), WHOLE), search)
    found: list[Done] | None = None
    while True:
        try:
            wanted = steps.send(found)  # type: ignore[arg-type]
        except StopIteration:
            return []
        if missing := [run for run in wanted if run.key not in done]:
            return missing
        found = [done[run.key] for run in wanted]


@dataclass
class BracketAgenda:
    """The agenda of a `search`. Each ticket has the key of its run."""

    search: Search
    _pending: dict[tuple[str, ...], list[Planned]] = field(default_factory=dict)  # the latest, by the runs it knew

    def _left(self, trials: Sequence[FrozenTrial]) -> list[Planned]:
        done = {t.user_attrs[TICKET]: _done(t) for t in trials if t.state not in OPEN and TICKET in t.user_attrs}
        known = tuple(done)
        if known not in self._pending:
            self._pending.clear()
            self._pending[known] = pending(self.search, done)
        return self._pending[known]

    @property
    def n_trials(self) -> int:
        """The most there can be; once it is over, as many as there were."""
        return next((len(known) for known, left in self._pending.items() if not left), self.search.n_trials)

    def is_complete(self, trials: Sequence[FrozenTrial]) -> bool:
        return not self._left(trials)

    def missing(self, trials: Sequence[FrozenTrial]) -> list[Ticket]:
        there = {trial.user_attrs.get(TICKET) for trial in trials}
        return [self._ticket(run) for run in self._left(trials) if run.key not in there]

    def _ticket(self, run: Planned) -> Ticket:
        shorter = dict(self.search.shorter) if run.steps != WHOLE else {}
        params = {self.search.parameter.name: run.values[self.search.dimension.key]}
        return Ticket(params, {TICKET: run.key, RUN: shorter})

    def is_surplus(self, trial: Trial, trials: Sequence[FrozenTrial]) -> bool:
        return is_second(trial, trials)

    def draft(self, trial: Trial) -> Draft:
        parameter, shorter = self.search.parameter, trial.user_attrs[RUN]
        value = suggest(trial, parameter)
        overrides = (parameter.override(value), *(f"{key}={length}" for key, length in shorter.items()))
        return Draft(overrides, {parameter.key: parameter.read(value), **shorter})


def _done(trial: FrozenTrial) -> Done:
    end = trial.user_attrs.get(END, {})
    value = (end.get("values") or [None])[0]
    well = end.get("state") in ("completed", "reached_target") and value is not None and math.isfinite(value)
    return Done(value if well else None, end.get("steps", 0))
