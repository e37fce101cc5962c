"""Parameter groups: which lr and weight decay each parameter of a network is trained with."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Interval
from torch import nn
from torch.nn.parameter import UninitializedParameter

from kasoku import durations
from kasoku.curves import in_steps
from kasoku.durations import Clock
from kasoku.faults import MISSING, ConfigError, Fault, unknown
from kasoku.optim import layers
from kasoku.optim.flow import Flow
from kasoku.optim.patterns import matches, matching, unmatched, unreadable
from kasoku.optim.plan import KEY, Plan, Setting, check_complete
from kasoku.optim.roles import Role, roles
from kasoku.optim.weights import spared
from kasoku.signatures import check_call, violated

ONE_LR = "has no effect: this optimizer has one lr for all parameters"
Kinds = Callable[..., Mapping[str, str]]
Rates = Callable[[nn.Module, Collection[str]], Mapping[str, float]]
Factor = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Rule:
    """Multiplies lr and weight decay of the parameters whose name matches a glob, or a regular expression "re:..."."""

    match: str
    lr: Annotated[float, Gt(0)] = 1.0
    weight_decay: Annotated[float, Ge(0)] = 1.0


class Groups:
    """Splits the parameters of a network into groups.

    Args:
        no_decay: no weight decay on what is no weight: biases, norms, embeddings, positions, tokens, scales, and what
            the net names in `no_weight_decay()`. The rule is that of `kasoku.optim.weights`.
        layer_decay: lr x layer_decay ^ (blocks above), 1 for the head (`kasoku.optim.layers.depths`). Clark et al.
            2020, arXiv 2003.10555.
        head: pattern or patterns of the head's parameters; None: the layer that the output is computed by last.
        rules: mappings with `match` and the multipliers `lr` and `weight_decay`; where several match, all multiply.
        frozen: pattern or patterns of the parameters that are not trained.
        unfreeze: patterns of the parameters that are trained from a length of the run on, as {"net.stem.*": "2ep"}.
        kinds: for optimizers that treat parameters in several ways, what gives each parameter's kind by name, of the
            module, and of the names of its head if it takes a `head`; the groups carry it as `kind`.
        one_lr: the optimizer has one lr for all parameters; settings that ask for several are refused.
        lr: multipliers of the lr by role (`kasoku.optim.roles`), as {"embeddings": 10, "head": 3, "vectors": 10}.
        rates: what gives each parameter a further multiplier of its lr by name, of the module and the names of its
            head: `kasoku.optim.rates`.

    Raises:
        ConfigError: a rule is not one; once parameters are split: `kinds` or `rates` gives no mapping.
    """

    def __init__(
        self,
        no_decay: bool = True,
        layer_decay: Annotated[float, Interval(gt=0, le=1)] | None = None,
        head: str | Sequence[str] | None = None,
        rules: Sequence[Mapping[str, Any]] = (),
        frozen: str | Sequence[str] = (),
        unfreeze: Mapping[str, int | str] | None = None,
        kinds: Kinds | None = None,
        one_lr: bool = False,
        lr: Mapping[str, float] | None = None,
        rates: Rates | None = None,
    ):
        given = {"no_decay": no_decay, "layer_decay": layer_decay, "one_lr": one_lr, "head": head, "frozen": frozen}
        faults = check_call(Groups, given, KEY)
        faults += [fault for i, rule in enumerate(rules) for fault in _faults(rule, f"{KEY}rules[{i}].")]
        faults += _faults_of_lengths(unfreeze) + _faults_of_roles(lr, one_lr)
        if one_lr and layer_decay not in (None, 1):
            faults.append(Fault(KEY + "layer_decay", layer_decay, ONE_LR, "set it to null"))
        if one_lr and any(rule.get("lr", 1) != 1 for rule in rules if isinstance(rule, Mapping)):
            faults.append(Fault(KEY + "rules", list(rules), ONE_LR, "leave lr out of the rules"))
        if faults:
            raise ConfigError(*faults)
        self.no_decay, self.layer_decay, self.one_lr = no_decay, layer_decay, one_lr
        self.rules, self.kinds = tuple(Rule(**rule) for rule in rules), kinds
        self.lr = {role: factor for role, factor in (lr or {}).items() if factor != 1}
        self.rates = rates
        self.head, self.frozen, self.unfreeze = _several(head), _several(frozen), dict(unfreeze or {})
        if faults := [fault for key, pattern in self._patterns() for fault in unreadable(key, pattern)]:
            raise ConfigError(*faults)

    @property
    def ask_for_the_head(self) -> bool:
        """True if a setting depends on which parameters are the head, or how deep the others lie."""
        return self.kinds is not None or self.layer_decay not in (None, 1) or bool(self.lr or self.rates)

    @property
    def needs_flow(self) -> bool:
        """True if the flow of data has to tell something that these settings do not say."""
        asks = self.kinds is not None or self.lr or self.rates
        return self.layer_decay not in (None, 1) or (bool(asks) and not self.head)

    def split(
        self, module: nn.Module, lr: float, weight_decay: float = 0.0, flow: Flow | None = None
    ) -> list[dict[str, Any]]:
        """The parameter groups of `module` for an optimizer, with `name`, `params`, `lr`, `weight_decay` (and `kind`).

        Parameters with equal settings share a group, so that fused and foreach kernels take them at once. The group at
        the plain lr with the most parameters comes first. Parameters that are frozen, for good or at first, get
        requires_grad=False and are in no group.

        Raises:
            ConfigError: a pattern matches no parameter, or nothing is left to train.
        """
        groups = self.plan(module, lr, weight_decay, flow).groups(module.parameters())
        check_complete(module, groups)
        return groups

    def plan(self, module: nn.Module, lr: float, weight_decay: float = 0.0, flow: Flow | None = None) -> Plan:
        """The settings of all parameters of `module`, those that are frozen now among them; see `split`."""
        self.freeze(module)
        kinds = self._kinds(module, flow)
        order = list(dict.fromkeys(kinds.values()))
        undecayed = spared(module) if self.no_decay else set()
        scales = self._scales(module, flow)
        settings = {}
        for name, parameter in module.named_parameters():
            scale, decay = scales[name], 0.0 if name in undecayed else weight_decay
            for rule in self.rules:
                if matches(rule.match, name):
                    scale, decay = scale * rule.lr, decay * rule.weight_decay
            kind = kinds.get(name, "")
            settings[id(parameter)] = Setting(order.index(kind) if kind else 0, kind, scale, decay)
        return Plan(lr, settings, self.frozen, self.one_lr)

    def heads(self, module: nn.Module, flow: Flow | None = None) -> set[str]:
        """The names of the parameters of the head."""
        names = [name for name, _ in module.named_parameters()]
        return matching(self.head, names) if self.head else layers.head(module, flow)

    def freeze(self, module: nn.Module) -> None:
        """Take requires_grad from the parameters of `module` that are not trained, or not at first.

        Raises:
            ConfigError: a pattern matches no parameter, or a parameter has no size yet.
        """
        named = dict(module.named_parameters())
        faults = [
            Fault("model", name, "has no size yet: the net was never called", "call it once, on a batch")
            for name, parameter in named.items()
            if isinstance(parameter, UninitializedParameter)
        ]
        faults += unmatched(self._patterns(), list(named))
        if both := sorted(matching(self.frozen, named) & matching(self.unfreeze, named)):
            faults.append(Fault(KEY + "unfreeze", both[0], f"is in {KEY}frozen too", "leave it out of one of them"))
        if faults:
            raise ConfigError(*faults)
        for name in matching((*self.frozen, *self.unfreeze), named):
            named[name].requires_grad_(False)

    def starts(self, clock: Clock) -> dict[str, int]:
        """The number of steps after which each pattern of `unfreeze` is trained.

        Raises:
            ConfigError: a length needs what the clock does not know.
        """
        return {
            pattern: in_steps(f"{KEY}unfreeze.{pattern}", length, clock) for pattern, length in self.unfreeze.items()
        }

    def _kinds(self, module: nn.Module, flow: Flow | None) -> Mapping[str, str]:
        if self.kinds is None:
            return {}
        asks = "head" in inspect.signature(self.kinds).parameters
        return _by_name("kinds", self.kinds(module, **({"head": self.heads(module, flow)} if asks else {})))

    def _scales(self, module: nn.Module, flow: Flow | None) -> dict[str, float]:
        """The multiplier of each parameter's lr: by layer, by role, and by `rates`."""
        scales = self._layer_scales(module, flow)
        if not self.lr and self.rates is None:
            return scales
        head = self.heads(module, flow)
        of_role = {name: self.lr.get(role, 1.0) for name, role in roles(module, head).items()}
        further = {} if self.rates is None else _by_name("rates", self.rates(module, head))
        return {name: scale * of_role[name] * further.get(name, 1.0) for name, scale in scales.items()}

    def _layer_scales(self, module: nn.Module, flow: Flow | None) -> dict[str, float]:
        if self.layer_decay is None:
            return {name: 1.0 for name, _ in module.named_parameters()}
        levels = layers.depths(module, flow, self.heads(module, flow) if flow or self.head else ())
        head = max(levels.values(), default=0)
        return {name: self.layer_decay ** (head - level) for name, level in levels.items()}

    def _patterns(self) -> list[tuple[str, str]]:
        """Each pattern with its key."""
        given = [(f"{KEY}rules[{i}].match", rule.match) for i, rule in enumerate(self.rules)]
        lists = {"head": self.head, "frozen": self.frozen, "unfreeze": self.unfreeze}
        return [*given, *((KEY + key, pattern) for key, patterns in lists.items() for pattern in patterns)]


def _several(patterns: str | Sequence[str] | None) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns or ())


def _faults_of_lengths(unfreeze: Any) -> list[Fault]:
    if not isinstance(unfreeze, Mapping | None):
        return [Fault(KEY + "unfreeze", unfreeze, "must be lengths by pattern, as {net.stem.*: 2ep}")]
    found = ((pattern, length, durations.violated(length)) for pattern, length in (unfreeze or {}).items())
    return [Fault(f"{KEY}unfreeze.{pattern}", length, must) for pattern, length, must in found if must]


def _faults_of_roles(lr: Any, one_lr: bool) -> list[Fault]:
    if not isinstance(lr, Mapping | None):
        return [Fault(KEY + "lr", lr, "must be multipliers by role, as {embeddings: 10, head: 3, vectors: 10}")]
    known = get_args(Role)
    given = dict(lr or {})
    strange = [name for name in given if name not in known]
    faults = [unknown(f"{KEY}lr.{name}", given.pop(name), name, known, "no such role, they are") for name in strange]
    faults += [Fault(f"{KEY}lr.{name}", v, must) for name, v in given.items() if (must := violated(Factor, v))]
    if one_lr and any(factor != 1 for factor in given.values()):
        faults.append(Fault(KEY + "lr", given, ONE_LR, "leave it out"))
    return faults


def _by_name(setting: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        must = "must be given by a function from a net to a mapping of its parameters' names"
        raise ConfigError(Fault(KEY + setting, type(given).__name__, must))
    return given


def _faults(rule: Any, prefix: str) -> list[Fault]:
    if not isinstance(rule, Mapping):
        return [Fault(prefix[:-1], rule, "must be a mapping, as {match: 'net.stem.*', lr: 0.1}")]
    faults = check_call(Rule, rule, prefix)
    if "match" not in rule:
        hint = "give a glob over parameter names, as 'net.stem.*'"
        faults.append(Fault(prefix + "match", MISSING, "is missing", hint))
    return faults or unreadable(prefix + "match", rule["match"])
