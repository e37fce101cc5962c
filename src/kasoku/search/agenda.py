"""An agenda: which trials a study is to end with. The tickets of a study are written from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.trial import FrozenTrial, Trial, TrialState

from kasoku.search.space import Choice, Parameter, Space

TICKET, START, END = "ticket", "start", "end"
OPEN = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class Draft:
    """The overrides that make a trial, besides those that all have, and what of it is shown."""

    overrides: tuple[str, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Ticket:
    """A trial to be run: `params` fixes values of the study's sampler, `attrs` is what the ticket says."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any]


class Agenda(Protocol):
    """Decides which trials there are to be, from those that there are.

    `trials` are always those that count: to be run, running, or ended by themselves.
    """

    @property
    def n_trials(self) -> int:
        """The number of trials to end with, as far as it is known."""
        ...

    def is_complete(self, trials: Sequence[FrozenTrial]) -> bool: ...

    def missing(self, trials: Sequence[FrozenTrial]) -> list[Ticket]:
        """The tickets that are to be written."""
        ...

    def is_surplus(self, trial: Trial, trials: Sequence[FrozenTrial]) -> bool:
        """True if `trial`, just taken, is one too many: two machines wrote the same ticket in the same moment."""
        ...

    def draft(self, trial: Trial) -> Draft: ...


@dataclass(frozen=True)
class Drawn:
    """`n_trials` points of a space, drawn by the study's sampler; or those of a grid.

    Args:
        n_trials: how many trials the sweep ends with.
        space: what is varied.
        combinations: the points of a grid, as values of the parameters' names; none for a sampled space.
    """

    n_trials: int
    space: Space
    combinations: Sequence[dict[str, str]] = field(default=())

    def is_complete(self, trials: Sequence[FrozenTrial]) -> bool:
        return sum(trial.state not in OPEN for trial in trials) >= self.n_trials

    def missing(self, trials: Sequence[FrozenTrial]) -> list[Ticket]:
        if not self.combinations:
            return [Ticket({}, {TICKET: True})] * (self.n_trials - len(trials))
        there = {trial.user_attrs.get(TICKET) for trial in trials}
        return [
            Ticket(self.combinations[index], {TICKET: index}) for index in range(self.n_trials) if index not in there
        ]

    def is_surplus(self, trial: Trial, trials: Sequence[FrozenTrial]) -> bool:
        taken = [other for other in trials if other.state is not TrialState.WAITING and other.number != trial.number]
        return len(taken) >= self.n_trials

    def draft(self, trial: Trial) -> Draft:
        point = self.space.sample(lambda parameter: suggest(trial, parameter))
        overrides = tuple(parameter.override(value) for parameter, value in point.items())
        return Draft(overrides, {p.key.lstrip("+"): p.read(value) for p, value in point.items()})


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """The study's value for `parameter`."""
    name, values = parameter.name, parameter.values
    if isinstance(values, Choice):
        return trial.suggest_categorical(name, values.options)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, step=int(values.step or 1), log=values.log)
    return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


def is_second(trial: Trial, trials: Sequence[FrozenTrial]) -> bool:
    """True if one of `trials` began before `trial` with the same ticket."""
    key = trial.user_attrs[TICKET]
    return any(other.number < trial.number and other.user_attrs.get(TICKET) == key for other in trials)


def counts(trial: FrozenTrial) -> bool:
    """True if the trial is one that the agenda asks for: to be run, running or ended by itself."""
    return trial.user_attrs.get(END, {}).get("state") not in ("lost", "interrupted")
