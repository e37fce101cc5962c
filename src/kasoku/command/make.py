"""Objects made of configuration nodes, judged as they are made. The only caller of Hydra's instantiate."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import hydra
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor

from kasoku import home
from kasoku.config import trust
from kasoku.config.trust import TARGET, locate
from kasoku.faults import ConfigError, Fault, masked
from kasoku.signatures import check_call, hints, judged

AS_TENSOR = "kasoku.training.losses.as_tensor"
INSTRUCTIONS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")


class Maker:
    """Makes objects, and gathers the faults of all nodes so that they are raised together.

    Args:
        trusted: dotted names that a `_target_` may lie under; None: those that kasoku's own conf trusts.
    """

    def __init__(self, trusted: Sequence[str] | None = None):
        self._trusted = _or_own(trusted)
        self.faults: list[Fault] = []
        self._cause: BaseException | None = None  # of the first fault that has one

    def raise_faults(self) -> None:
        """Raises ConfigError if any node was at fault."""
        if self.faults:
            raise ConfigError(*self.faults) from self._cause

    def attempt(self, work: Callable[[], Any]) -> Any:
        """The result of `work`; None if it raises a ConfigError, whose faults are then noted."""
        try:
            return work()
        except ConfigError as error:
            self.faults += error.faults
            self._cause = self._cause or error.__cause__
            return None

    def make(self, node: DictConfig, key: str) -> Any:
        """The object that `node._target_` makes; None if it or a node inside is at fault, which is noted."""
        return self.attempt(lambda: make(node, key, self._trusted))

    def locate(self, node: DictConfig, key: str) -> Callable[..., Any] | None:
        """The callable that `node` names; None where it cannot be had, which is a fault once it is to be made."""
        try:
            return locate(f"{key}._target_", node.get("_target_"), self._trusted)
        except ConfigError:
            return None

    def of_kind(self, made: Any, is_one: bool, key: str, node: DictConfig, kind: str) -> Any:
        """`made`, by `node`; None where it is none of its `kind`, which is noted, or could not be made."""
        if made is not None and not is_one:
            self.faults.append(Fault(key, node["_target_"], f"is no {kind}", "name a class of one"))
        return made if is_one else None

    def judge(self, node: DictConfig, key: str) -> None:
        """Note the faults of `node`, which cannot be made yet."""
        self.attempt(lambda: _judged(node, key, self._trusted))

    def bind(self, node: DictConfig, key: str) -> Any:
        """The callable that `node` names with its settings bound, for whoever judges them; nodes inside are made."""
        return self.attempt(lambda: _bound(node, key, self._trusted))


def make(node: DictConfig, key: str, trusted: Sequence[str] | None = None) -> Any:
    """The object that `node._target_` makes; `trusted` of None stands for the names that kasoku's own conf trusts.

    Raises:
        ConfigError: every fault of its settings and of the nodes inside, or what goes wrong inside as a fault of `key`.
    """
    if not is_node(node):
        raise ConfigError(Fault(key, node, "must have a _target_", "which names the class to make it of"))
    settled: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))  # what is judged is what is called
    targets = _judged(settled, key, _or_own(trusted))
    try:
        with judged(*targets):
            return hydra.utils.instantiate(_with_tensors(settled, targets), _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        cause = error.__cause__ or error
        must, fix = f"{type(cause).__name__}: {first_line(cause)}", _later(targets[0], node, cause)
        raise ConfigError(Fault(key, node.get("_target_"), must, fix)) from error


def _later(target: Callable[..., Any], node: DictConfig, cause: BaseException) -> str:
    """The fix where a function was called with too few arguments."""
    is_short = inspect.isfunction(target) and isinstance(cause, TypeError) and unfilled(target, node)
    return "if it is to be called later, with these arguments, add _partial_: true" if is_short else ""


def unfilled(target: Callable[..., Any], node: DictConfig) -> list[str]:
    """The positional parameters without a default that `node` gives nothing for."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in inspect.signature(target).parameters.values() if p.kind in kinds and p.default is p.empty]
    return [p.name for p in needed if p.name not in node][len(node.get("_args_") or ()) :]


def _bound(node: DictConfig, key: str, trusted: Sequence[str]) -> partial[Any]:
    target = locate(f"{key}._target_", node["_target_"], trusted)
    settings = {str(name): node[name] for name in node if name not in INSTRUCTIONS}
    return partial(
        target,
        **{
            name: make(value, f"{key}.{name}", trusted) if is_node(value) else _plain(value)
            for name, value in settings.items()
        },
    )


def _judged(node: DictConfig, key: str, trusted: Sequence[str]) -> list[Callable[..., Any]]:
    """The callables that `node` and the nodes inside name, every call of them found allowed."""
    targets, faults, cause = [], list[Fault](), None
    for where, inner in nodes(node, key):
        try:
            targets.append(locate(f"{where}._target_", inner["_target_"], trusted))
        except ConfigError as error:
            faults, cause = [*faults, *error.faults], cause or error.__cause__
        else:
            faults += check_call(targets[-1], _arguments(inner), f"{where}.")
    if faults:
        raise ConfigError(*faults) from cause
    return targets


def _with_tensors(node: DictConfig, targets: Sequence[Callable[..., Any]]) -> DictConfig:
    """`node` with each list that its `target` takes as a tensor (weights of classes) made one."""
    wanted = [[name for name in inner if _is_tensor(target, inner, name)] for inner, target in _with(node, targets)]
    if not any(wanted):
        return node
    copied: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    for names, (inner, _) in zip(wanted, _with(copied, targets), strict=True):
        for name in names:
            inner[name] = {TARGET: AS_TENSOR, "values": inner[name]}
    return copied


def _with(node: DictConfig, targets: Sequence[Callable[..., Any]]) -> list[tuple[DictConfig, Callable[..., Any]]]:
    return list(zip((inner for _, inner in nodes(node, "")), targets, strict=True))


def _is_tensor(target: Callable[..., Any], node: DictConfig, name: Any) -> bool:
    hint = hints(target).get(name)
    return (hint is Tensor or Tensor in get_args(hint)) and isinstance(node[name], ListConfig)


def _arguments(node: DictConfig) -> dict[str, Any]:
    """The plain values among the arguments: what a node inside makes is not known before it is made."""
    return {str(name): _plain(node[name]) for name in node if name not in INSTRUCTIONS and not is_node(node[name])}


def nodes(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    """Every node with a `_target_` in `node`, itself included, with its dotted key."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from nodes(node[name], f"{key}.{name!s}")
    elif isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from nodes(item, f"{key}[{index}]")


def without(node: DictConfig, names: Iterable[str]) -> DictConfig:
    """A copy of `node` less the keys `names`."""
    rest: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    for name in names:
        rest.pop(name, None)
    return rest


def _or_own(trusted: Sequence[str] | None) -> Sequence[str]:
    return trust.trusted(home.conf_dir()) if trusted is None else trusted


def is_node(value: object) -> bool:
    return isinstance(value, Mapping | DictConfig) and "_target_" in value


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def first_line(error: BaseException) -> str:
    return (masked(str(error)).strip().splitlines() or [type(error).__name__])[0][:200]
