"""Values of the environment stay out of what is written or uploaded: `${oc.env:SECRET}` is kept as it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc


def shareable(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` as nested plain values, every interpolation resolved but those that read the environment."""
    with _environment_hidden():
        return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


@contextmanager
def _environment_hidden() -> Iterator[None]:
    OmegaConf.register_new_resolver("oc.env", _as_written, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _as_written(name: str, *default: Any) -> str:
    return "${oc.env:" + ",".join([name, *map(str, default)]) + "}"
