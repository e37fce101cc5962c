"""The resolvers: values for ${kasoku.NAME:...} in a configuration."""

import secrets
from typing import Any

from omegaconf import OmegaConf

from kasoku import home
from kasoku.config import environment


def register() -> None:
    environment.register()
    OmegaConf.register_new_resolver("kasoku.unique", unique, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("kasoku.program", home.program, replace=True)
    OmegaConf.register_new_resolver("kasoku.epochs_unless", epochs_unless, replace=True)
    OmegaConf.register_new_resolver("kasoku.mode_of", mode_of, replace=True)


def unique() -> str:
    """Six random characters, so that runs which start in the same second do not share a directory."""
    return secrets.token_hex(3)


def epochs_unless(epochs: int, max_steps: Any, max_time: Any) -> int | None:
    """`epochs` where nothing else limits the run: max_steps=500 must mean 500, however many epochs are the default."""
    limited = max_time is not None or (isinstance(max_steps, int) and max_steps > 0)
    return None if limited else epochs


def mode_of(metric: Any, target: Any, mode: Any) -> Any:
    """`mode` where `metric` is the run's target; which way another one improves nobody can know.

    Raises:
        ValueError: it is another.
    """
    if metric != target:
        raise ValueError(f"give min or max, {metric} is not target.metric")
    return mode
