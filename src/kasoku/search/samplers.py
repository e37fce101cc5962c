"""The samplers and pruners of Optuna that a sweep uses."""

import importlib.util
import warnings
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from kasoku.faults import ConfigError, Fault
from kasoku.search.estimates import CmaEs, GaussianProcess
from kasoku.search.settings import Settings
from kasoku.search.space import Space

GP_TRIALS = 300  # the cost of a Gaussian process grows with the cube of the trials
STARTUP = 10  # random points before a model of them is worth something


def method_of(settings: Settings, space: Space) -> str:
    """The method itself: what bayes stands for on this space.

    Raises:
        ConfigError: the method cannot search this space.
    """
    if settings.method == "bayes":
        many = (settings.n_trials or 0) > GP_TRIALS or len(settings.metrics) > 1
        return "gp" if space.is_numeric and not many else "tpe"
    if settings.method in ("gp", "cmaes") and not space.is_numeric:
        others = [p.key for p in space.applicable if not hasattr(p.values, "low")] or ["a conditional space"]
        must = f"is for numbers that every trial has, not for {' '.join(others)}"
        raise ConfigError(Fault("sweeper", settings.method, must, "use sweeper=bayes or tpe"))
    if settings.method == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise ConfigError(Fault("sweeper", "cmaes", "needs the package cmaes", "pip install cmaes, or sweeper=bayes"))
    return settings.method


def make_sampler(method: str, seed: int, space: Space, several: bool = False) -> BaseSampler:
    """Optuna's sampler for `method`; `several` for more than one objective.

    What Optuna 5 changed the defaults of is given, so that a search does not become another one with the next version.
    """
    samplers: dict[str, Any] = {
        "grid": lambda: optuna.samplers.RandomSampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=STARTUP,
            multivariate=not several,
            group=space.is_conditional and not several,
            constant_liar=True,
            n_ei_candidates=24,
        ),
        "gp": lambda: GaussianProcess(seed=seed, n_startup_trials=STARTUP, deterministic_objective=False),
        "cmaes": lambda: CmaEs(seed=seed, n_startup_trials=STARTUP),
        "qmc": lambda: optuna.samplers.QMCSampler(qmc_type="sobol", seed=seed, scramble=True),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return samplers[method]()


def make_pruner(pruner: str) -> BasePruner:
    """Optuna's pruner. Its steps are evaluations, counted from 1."""
    pruners: dict[str, Any] = {
        "none": lambda: optuna.pruners.NopPruner(),
        # Rungs 1, 3, 9, 27: the best with random points and TPE in simulated sweeps, see bench/RESULTS.md
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3),
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
        "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.1),
    }
    return pruners[pruner]()
