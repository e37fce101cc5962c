"""Values of the environment stay out of what is written or uploaded: `${oc.env:SECRET}` is kept as it is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from kasoku.faults import hide


def shareable(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` as nested plain values, every interpolation resolved but those that read the environment."""
    with hidden():
        return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def register() -> None:
    """Make of oc.env a resolver whose values no message shows."""
    OmegaConf.register_new_resolver("oc.env", _read, replace=True)


def _read(name: str, *default: Any) -> Any:
    value = oc.env(name, *default)
    if value and name in os.environ:
        hide(value, f"${{oc.env:{name}}}")
    return value


@contextmanager
def hidden() -> Iterator[None]:
    """Inside the block an interpolation of the environment resolves to itself."""
    OmegaConf.register_new_resolver("oc.env", _as_written, replace=True)
    try:
        yield
    finally:
        register()


def _as_written(name: str, *default: Any) -> str:
    return "${oc.env:" + ",".join([name, *map(str, default)]) + "}"
