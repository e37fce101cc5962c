"""Samplers of Optuna that learn from the trials that were pruned or diverged too.

Optuna's Gaussian process and CMA-ES know complete trials alone; of a sweep with pruning they would see a third.
"""

import copy
import math
import statistics
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kasoku.search.study import END


class _Informed(optuna.samplers.BaseSampler):
    """Shows `with_estimates` of the trials to the sampler that stands behind it; for one objective."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(_Seen(study), trial)  # type: ignore[arg-type,safe-super]

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(_Seen(study), trial, search_space)  # type: ignore[arg-type,safe-super]


class GaussianProcess(_Informed, optuna.samplers.GPSampler):
    """Optuna's Gaussian process with log expected improvement, informed."""


class CmaEs(_Informed, optuna.samplers.CmaEsSampler):
    """Optuna's CMA-ES, informed."""


class _Seen:
    """A study with all that it has, but for its trials."""

    def __init__(self, study: optuna.Study):
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=False, use_cache=use_cache)
        seen = with_estimates(trials, self._study.direction)
        return [trial for trial in seen if states is None or trial.state in states]


def with_estimates(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """`trials`, of which the pruned and the diverged ones count as complete, once there is one that is.

    A pruned trial gets the value that it was `heading_for`, a diverged one the worst of all. The bad ones are then
    `clipped`.
    """
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return list(trials)
    values = {trial.number: sign * float(trial.value or 0) for trial in complete}
    pruned = [t for t in trials if t.state is TrialState.PRUNED and t.intermediate_values and not _is_diverged(t)]
    heading = {trial.number: heading_for(trial, complete, sign) for trial in pruned}
    values |= {number: value for number, value in heading.items() if not math.isnan(value)}
    worst = max(values.values())
    values |= {trial.number: worst for trial in trials if _is_diverged(trial)}
    told = clipped(values)
    return [_as_complete(trial, sign * told[trial.number]) if trial.number in told else trial for trial in trials]


def heading_for(trial: FrozenTrial, complete: Sequence[FrozenTrial], sign: float = 1.0) -> float:
    """sign x the final value of a pruned `trial`, interpolated between `complete` ones at the step where it stopped.

    Taken as no better than any that was better there. So it is never better than all, and a point whose trials are
    pruned again and again loses its appeal. (With the difference to the nearest one, searches went on there for ever.)
    As the worst of all where none of them went so far: they reached the target before.
    """
    step = trial.last_step
    assert step is not None  # a trial is pruned at a report
    reached = sign * trial.intermediate_values[step]
    known = [t for t in complete if step in t.intermediate_values]
    if not known:
        return max(sign * float(t.value or 0) for t in complete)
    pairs = sorted((sign * t.intermediate_values[step], sign * float(t.value or 0)) for t in known)
    there, ends = np.array(pairs).T
    return float(np.interp(reached, there, np.maximum.accumulate(ends)) + max(0.0, reached - there[-1]))


def clipped(values: dict[int, float]) -> dict[int, float]:
    """Values no further above the median than the least is below it.

    A Gaussian process takes differences at face value: where some trials are a hundred times worse than good ones, it
    sees no difference between the good ones.
    """
    median = statistics.median(values.values())
    return {number: min(value, 2 * median - min(values.values())) for number, value in values.items()}


def _is_diverged(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(END, {}).get("state") == "diverged"


def _as_complete(trial: FrozenTrial, value: float) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.state, seen.value = TrialState.COMPLETE, value
    return seen
