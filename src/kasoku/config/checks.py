"""Checks of a composed configuration, as far as they go before torch is imported.

What needs the machine, the data or a class of torch is checked when the run is built.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku import schedules, warmups
from kasoku.config import ranges, trainer_checks, unread
from kasoku.config.tree import plain
from kasoku.config.trust import TARGET, locate
from kasoku.config.unread import NODES
from kasoku.curves import UNTUNED, Bound, Curves
from kasoku.durations import Clock
from kasoku.faults import MISSING, ConfigError, Fault, unknown
from kasoku.results import contradicts
from kasoku.signatures import violated

Values = Mapping[str, Any]

OF_A_SWEEP = ("sweeper", "search", "race", "launcher", "optimizer.search")  # what a sweep reads and its trials do not

PURE = (schedules.__name__, warmups.__name__)
PARTS = ("target", "batch", "export")  # of the root, and nodes of no group
DRIVEN = ("momentum", "weight_decay")  # nodes of their own inside `scheduler`
INSTRUCTIONS = (TARGET, "_partial_", "_convert_", "_recursive_", "_args_")
KNOWN = ("pytorch_optimizer.", "schedulefree.", "kasoku.optim.")  # packages whose settings mean what torch's do


def check(cfg: DictConfig) -> list[Fault]:
    """Every fault of the composed `cfg` that shows without torch, all together."""
    values, unresolved = plain(cfg)
    left_out = {fault.key for fault in unresolved}
    nodes = {name: values[name] if isinstance(values.get(name), Mapping) else {} for name in (*NODES, *PARTS)}
    found = chain(
        unread.roots(values, cfg),
        _in_table(values, ranges.ROOT),
        _nodes(values),
        _in_table(nodes["model"], ranges.MODEL, "model."),
        _in_table(nodes["data"], ranges.DATA, "data."),
        unread.model(nodes["model"]),
        _optimizer(nodes["optimizer"]),
        _find_lr(nodes["optimizer"], values),
        _curves(values),
        _in_table(nodes["trainer"], ranges.TRAINER, "trainer."),
        unread.trainer(nodes["trainer"]),
        trainer_checks.contradictions(nodes["trainer"], nodes),
        _target(nodes["target"], _is_said(cfg, "target", "mode")),
        _in_table(nodes["batch"], ranges.BATCH, "batch."),
        _in_table(nodes["export"], ranges.EXPORT, "export."),
        _checkpoint(values),
        _resume(values),
    )
    return _without_copies(cfg, [*unresolved, *(fault for fault in found if fault.key not in left_out)])


def of_a_sweep(overrides: Sequence[str]) -> list[Fault]:
    """Faults of a command without -m that gives what only a sweep reads."""
    pairs = [override.lstrip("+").partition("=") for override in overrides]
    given = [(key, value) for key, _, value in pairs if is_of_a_sweep(key)]
    return [Fault(key, value, "is read by a sweep alone", "add -m") for key, value in given]


def is_of_a_sweep(key: str) -> bool:
    """True if only a sweep reads `key`."""
    return any(f"{key}.".startswith(f"{name}.") for name in OF_A_SWEEP)


def _without_copies(cfg: DictConfig, faults: Sequence[Fault]) -> list[Fault]:
    """`faults` less those of a key that is written as `${another}`, where the other one is at fault as well."""
    copies = [_is_reference(cfg, fault.key) for fault in faults]
    originals = [fault for fault, copy in zip(faults, copies, strict=True) if not copy]
    repeated = [any(_repeats(fault, other) for other in originals) for fault in faults]
    return [*originals, *(f for f, copy, again in zip(faults, copies, repeated, strict=True) if copy and not again)]


def _repeats(fault: Fault, original: Fault) -> bool:
    return fault.value == original.value or original.key in str(fault.value)


def _is_reference(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_resolution_failure=False) if parent else cfg
    return isinstance(node, DictConfig) and name in node and OmegaConf.is_interpolation(node, name)


def _in_table(node: Values, table: Mapping[str, Any], prefix: str = "") -> Iterator[Fault]:
    for name, hint in table.items():
        if name in node and (must := violated(hint, node[name])):
            yield Fault(prefix + name, node[name], must)


def _nodes(values: Values) -> Iterator[Fault]:
    for name in NODES:
        if not isinstance(values.get(name), Mapping):
            yield Fault(name, values.get(name, MISSING), "nothing is chosen", f"choose one: {name}=OPTION")
        elif name != "model" and TARGET not in values[name]:  # a model may be made of parts
            yield Fault(f"{name}.{TARGET}", MISSING, "must name the class or function", f"choose one: {name}=OPTION")
    if not isinstance(values.get("target"), Mapping):
        keys = " ".join(ranges.TARGET)
        yield Fault("target", values.get("target", MISSING), f"must have the keys {keys}")


def _optimizer(optimizer: Values) -> Iterator[Fault]:
    name = str(optimizer.get(TARGET))
    from_torch = name.startswith("torch.optim.")
    known = ranges.KNOWN_OPTIMIZER if name.startswith(KNOWN) else ranges.OPTIMIZER
    table = ranges.TORCH_OPTIMIZER if from_torch else known
    if optimizer and "lr" not in optimizer and (from_torch or name.startswith(KNOWN)):  # others may have a default
        yield from _without_lr(name)
    given = {name: value for name, value in optimizer.items() if (name, value) != ("lr", "auto")}
    yield from _in_table(given, table, "optimizer.")
    if from_torch and optimizer.get("nesterov") is True:
        if optimizer.get("momentum", 0) == 0:
            yield Fault("optimizer.momentum", optimizer.get("momentum"), "Nesterov needs momentum > 0")
        if optimizer.get("dampening"):
            yield Fault("optimizer.dampening", optimizer["dampening"], "Nesterov needs dampening 0")


def _without_lr(name: str) -> Iterator[Fault]:
    """The fault of an optimizer without an lr: its name, if there is no such class, which takes an import to know."""
    try:
        found = locate(f"optimizer.{TARGET}", name, ("torch.optim", *(package.rstrip(".") for package in KNOWN)))
        if not hasattr(found, "add_param_group"):
            yield Fault(f"optimizer.{TARGET}", name, "is no torch.optim.Optimizer", "choose one: optimizer=OPTION")
            return
        yield Fault("optimizer.lr", MISSING, "must be given, the schedule multiplies it")
    except ConfigError as error:
        yield from error.faults


def _find_lr(optimizer: Values, values: Values) -> Iterator[Fault]:
    test = optimizer.get("find_lr") or {}
    yield from _in_table(test, ranges.FIND_LR, "optimizer.find_lr.")
    for name in test:
        if name not in ranges.FIND_LR:
            what = "no such key, the keys of optimizer.find_lr are"
            yield unknown(f"optimizer.find_lr.{name}", test[name], name, ranges.FIND_LR, what)
    start, end = test.get("start"), test.get("end")
    if isinstance(start, int | float) and isinstance(end, int | float) and start >= end:
        yield Fault("optimizer.find_lr.end", end, f"must be above optimizer.find_lr.start={start:g}")
    if optimizer.get("find_lr", {}) is None:
        must = "this optimizer finds its step size itself, there is no lr to look for"
        if optimizer.get("lr") == "auto":
            yield Fault("optimizer.lr", "auto", must, "leave it as it is")
        if values.get("mode") == "find_lr":
            yield Fault("mode", "find_lr", must, "choose another optimizer")
    if optimizer.get("lr") == "auto" and optimizer.get("scale_lr", "none") != "none":
        must = "must be none: the lr that is found fits this very batch"
        yield Fault("optimizer.scale_lr", optimizer["scale_lr"], must, "or give optimizer.lr as a number")
    if optimizer.get("lr") == "auto" and values.get("on_divergence") == "rewind":
        yield Fault("on_divergence", "rewind", "halves optimizer.lr, which must be a number", "or use stop or skip")
    if optimizer.get("lr") == "auto" and values.get("mode") == "preview":
        fix = "find it with mode=find_lr, or give a number"
        yield Fault("optimizer.lr", "auto", "is not known before it is looked for", fix)


def _curves(values: Values) -> Iterator[Fault]:
    """Faults of the schedule, of what it drives besides the lr, and of the warmup: pure functions, where they are."""
    try:
        curves = curves_of(values)
    except ConfigError as error:
        yield from error.faults
        return
    yield from curves.faults() or _misfits(curves, values.get("trainer"))


def curves_of(values: Values) -> Curves:
    """The curves of a configuration, as far as they are pure functions.

    Raises:
        ConfigError: one of its functions does not exist.
    """
    scheduler = values.get("scheduler")
    nodes = {"scheduler": scheduler, "warmup": values.get("warmup")}
    if isinstance(scheduler, Mapping):
        nodes |= {f"scheduler.{name}": scheduler.get(name) for name in DRIVEN}
    found = {key: _pure(key, node) for key, node in nodes.items() if isinstance(node, Mapping) and _is_pure(node)}
    warmup = found.pop("warmup", Bound(warmups.none, length=0))
    drives = {key.rpartition(".")[2]: schedule for key, schedule in found.items() if key != "scheduler"}
    return Curves(found.get("scheduler"), warmup, drives)


def _misfits(curves: Curves, trainer: Any) -> list[Fault]:
    """The curves' faults in this run, as far as they show without the data."""
    trainer = trainer if isinstance(trainer, Mapping) else {}
    steps, epochs = trainer.get("max_steps"), trainer.get("max_epochs")
    total = steps if isinstance(steps, int) and steps > 0 else None
    is_endless = total is None and epochs in (None, -1) and (epochs == -1 or trainer.get("max_time") is not None)
    later = {UNTUNED, "epoch", "samples", "tokens", *(() if is_endless else ("total",))}
    return curves.misfits(Clock(total), later)


def _is_pure(node: Values) -> bool:
    return str(node.get(TARGET)).rpartition(".")[0] in PURE


def _pure(key: str, node: Values) -> Bound[float]:
    """The function that `node` names, its settings bound; ConfigError if there is none of that name."""
    settings = {
        name: value
        for name, value in node.items()
        if name not in INSTRUCTIONS and not (name in DRIVEN and (value is None or isinstance(value, Mapping)))
    }
    return Bound(locate(f"{key}.{TARGET}", node[TARGET], PURE), **settings)


def _is_said(cfg: DictConfig, node: str, name: str) -> bool:
    """True if the command line itself gives the key `name` of `node`."""
    listed = OmegaConf.select(cfg, "hydra.overrides.task")
    lines: Any = OmegaConf.to_container(listed, resolve=False) if listed is not None else []
    return any(line.lstrip("+").startswith((f"{node}.{name}=", f"{node}={{")) for line in lines)


def _target(target: Values, is_mode_said: bool) -> Iterator[Fault]:
    yield from _in_table(target, ranges.TARGET, "target.")
    for name in target:
        if name not in ranges.TARGET:
            yield unknown(f"target.{name}", target[name], name, ranges.TARGET, "no such key, the keys of target are")
    metric, mode = str(target.get("metric")), target.get("mode")
    if mode in ("min", "max") and not is_mode_said and contradicts(metric, mode):
        fix = f"add target.mode={'max' if mode == 'min' else 'min'}"
        yield Fault("target.mode", mode, f"is that of the task's own metric, and {metric} has the other", fix)
    if target.get("stop") is True and target.get("value") is None:
        yield Fault("target.stop", True, "needs a value to stop at", "give target.value")


def _checkpoint(values: Values) -> Iterator[Fault]:
    given = values.get("checkpoint")
    if given is None and (mode := values.get("mode")) in ("test", "export"):
        fix = f"add checkpoint={'RUN/checkpoints/best.ckpt' if mode == 'test' else 'RUN, the directory of a run'}"
        yield Fault("checkpoint", None, f"mode={mode} needs the file of the weights to {mode}", fix)
    if isinstance(given, str) and values.get("resume") is None and not Path(given).is_file():
        folder = Path(given) if Path(given).is_dir() else Path(given).parent
        files = sorted([*folder.glob("*.ckpt"), *folder.glob("checkpoints/*.ckpt")])
        hint = f"there is {' '.join(map(str, files[:3]))}" if files else ""
        yield Fault(
            "checkpoint", given, "must be a file, this is a folder" if folder == Path(given) else "no such file", hint
        )


def _resume(values: Values) -> Iterator[Fault]:
    given, mode = values.get("resume"), values.get("mode")
    if not isinstance(given, str):
        return
    if mode in ("preview", "find_lr", "test", "export"):
        best = Path(given) / "checkpoints" / "best.ckpt"
        fix = f"checkpoint={best} in place of resume" if mode != "preview" else "leave resume out"
        yield Fault("mode", mode, "resume goes on with a training", fix)
    if not Path(given).is_dir():
        must = "must be the folder of a run" if Path(given).exists() else "there is no such folder"
        yield Fault("resume", given, must)
