"""What is wrong with a composed configuration, as far as it can be said before torch is imported.

What needs the machine, the data or a class of torch is checked when the run is built.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.config import ranges
from kasoku.config.curves import check_curves
from kasoku.config.plain import plain
from kasoku.config.trust import TARGET
from kasoku.faults import MISSING, Fault, unknown, violated

Values = Mapping[str, Any]

NODES = ("data", "model", "optimizer", "scheduler", "warmup", "trainer")
OTHERS = ("target", "logger", "callbacks", "experiment", "sweeper", "search", "launcher", "trust")
ROOT_KEYS = (*ranges.ROOT, *NODES, *OTHERS)

KNOWN = ("pytorch_optimizer.", "schedulefree.", "kasoku.optim.")  # packages whose settings mean what torch's do


def check(cfg: DictConfig) -> list[Fault]:
    """Every fault of the composed `cfg` that shows without torch, all together."""
    values, unresolved = plain(cfg)
    left_out = {fault.key for fault in unresolved}
    nodes = {name: values[name] if isinstance(values.get(name), Mapping) else {} for name in (*NODES, "target")}
    found = chain(
        _roots(values, cfg),
        _in_table(values, ranges.ROOT),
        _nodes(values),
        _in_table(nodes["data"], ranges.DATA, "data."),
        _optimizer(nodes["optimizer"]),
        _find_lr(nodes["optimizer"], values),
        check_curves(values),
        _in_table(nodes["trainer"], ranges.TRAINER, "trainer."),
        _end(nodes["trainer"]),
        _on_cpu(nodes["trainer"]),
        _validation(nodes["trainer"], nodes["scheduler"]),
        _target(nodes["target"]),
        _checkpoint(values),
        _resume(values),
    )
    return _without_copies(cfg, [*unresolved, *(fault for fault in found if fault.key not in left_out)])


def of_a_sweep(overrides: Sequence[str]) -> list[Fault]:
    """Faults of a command without -m that gives what only a sweep reads."""
    pairs = [override.lstrip("+").partition("=") for override in overrides]
    given = [(key, value) for key, _, value in pairs if key.split(".")[0] in ("sweeper", "search", "launcher")]
    return [Fault(key, value, "is read by a sweep alone", "add -m") for key, value in given]


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


def _roots(values: Values, cfg: DictConfig) -> Iterator[Fault]:
    """A misspelt key at the root would be ignored without a word. Keys of the user's own are those referred to."""
    for key in sorted(values.keys() - set(ROOT_KEYS)):
        near = difflib.get_close_matches(key, ROOT_KEYS, n=1, cutoff=0.7)
        if near and f"${{{key}" not in OmegaConf.to_yaml(cfg):
            yield Fault(key, values[key], "no such key, nothing reads it", f"did you mean {near[0]}?")


def _nodes(values: Values) -> Iterator[Fault]:
    for name in NODES:
        if not isinstance(values.get(name), Mapping):
            yield Fault(name, values.get(name, MISSING), "nothing is chosen", f"choose one: {name}=OPTION")
    if not isinstance(values.get("target"), Mapping):
        keys = " ".join(ranges.TARGET)
        yield Fault("target", values.get("target", MISSING), f"must have the keys {keys}")


def _optimizer(optimizer: Values) -> Iterator[Fault]:
    name = str(optimizer.get(TARGET))
    from_torch = name.startswith("torch.optim.")
    known = ranges.KNOWN_OPTIMIZER if name.startswith(KNOWN) else ranges.OPTIMIZER
    table = ranges.TORCH_OPTIMIZER if from_torch else known
    if optimizer and "lr" not in optimizer:
        yield Fault("optimizer.lr", MISSING, "must be given, the schedule multiplies it")
    given = {name: value for name, value in optimizer.items() if (name, value) != ("lr", "auto")}
    yield from _in_table(given, table, "optimizer.")
    if from_torch and optimizer.get("nesterov") is True:
        if optimizer.get("momentum", 0) == 0:
            yield Fault("optimizer.momentum", optimizer.get("momentum"), "Nesterov needs momentum > 0")
        if optimizer.get("dampening"):
            yield Fault("optimizer.dampening", optimizer["dampening"], "Nesterov needs dampening 0")


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
    if optimizer.get("lr") == "auto" and optimizer.get("scale_lr", "none") != "none":
        must = "must be none: the lr that is found fits this very batch"
        yield Fault("optimizer.scale_lr", optimizer["scale_lr"], must, "or give optimizer.lr as a number")
    if optimizer.get("lr") == "auto" and values.get("mode") == "preview":
        fix = "find it with mode=find_lr, or give a number"
        yield Fault("optimizer.lr", "auto", "is not known before it is looked for", fix)


def _end(trainer: Values) -> Iterator[Fault]:
    if trainer.get("max_epochs") is None and trainer.get("max_steps") == -1 and trainer.get("max_time") is None:
        fix = "give trainer.max_epochs, trainer.max_steps or trainer.max_time"
        yield Fault("trainer.max_epochs", None, "the run would have no end", fix)


def _on_cpu(trainer: Values) -> Iterator[Fault]:
    if trainer.get("accelerator") != "cpu":
        return
    if trainer.get("precision") in ("16-mixed", 16):
        fix = "use trainer.precision=auto"
        yield Fault("trainer.precision", trainer["precision"], "needs a GPU, trainer.accelerator is cpu", fix)
    if trainer.get("sync_batchnorm") is True:
        must, fix = "needs GPUs, trainer.accelerator is cpu", "use trainer.sync_batchnorm=auto"
        yield Fault("trainer.sync_batchnorm", True, must, fix)
    devices = trainer.get("devices", "auto")
    if devices == -1 or isinstance(devices, list):
        must = "must be a number of processes >= 1 or auto, trainer.accelerator is cpu"
        yield Fault("trainer.devices", devices, must)


def _validation(trainer: Values, scheduler: Values) -> Iterator[Fault]:
    interval = trainer.get("val_check_interval")
    if trainer.get("check_val_every_n_epoch", 1) is None and isinstance(interval, float):
        must = "must be a number of batches where trainer.check_val_every_n_epoch is null"
        yield Fault("trainer.val_check_interval", interval, must)
    if trainer.get("limit_val_batches", 1) == 0 and str(scheduler.get(TARGET)).endswith(".Plateau"):
        must = "plateau needs validation, which this turns off"
        yield Fault("trainer.limit_val_batches", trainer["limit_val_batches"], must, "give 1.0, or another scheduler")


def _target(target: Values) -> Iterator[Fault]:
    yield from _in_table(target, ranges.TARGET, "target.")
    for name in target:
        if name not in ranges.TARGET:
            yield unknown(f"target.{name}", target[name], name, ranges.TARGET, "no such key, the keys of target are")


def _checkpoint(values: Values) -> Iterator[Fault]:
    given = values.get("checkpoint")
    if given is None and values.get("mode") == "test":
        fix = "add checkpoint=RUN/checkpoints/best.ckpt"
        yield Fault("checkpoint", None, "mode=test needs the file of the weights to test", fix)
    if isinstance(given, str) and not Path(given).is_file():
        folder = Path(given) if Path(given).is_dir() else Path(given).parent
        files = sorted([*folder.glob("*.ckpt"), *folder.glob("checkpoints/*.ckpt")])
        hint = f"there is {' '.join(map(str, files[:3]))}" if files else ""
        yield Fault(
            "checkpoint", given, "must be a file, this is a folder" if folder == Path(given) else "no such file", hint
        )


def _resume(values: Values) -> Iterator[Fault]:
    given = values.get("resume")
    if not isinstance(given, str):
        return
    last = Path(given) / "checkpoints" / "last.ckpt"
    others = sorted(last.parent.glob("*.ckpt"))
    weights = f"to start a new run from its weights: checkpoint={others[0]}" if others else ""
    if not Path(given).is_dir():
        yield Fault(
            "resume", given, "must be the folder of a run" if Path(given).exists() else "there is no such folder"
        )
    elif not last.is_file():
        yield Fault("resume", given, f"there is no {last} to go on from", weights)
    elif last.stat().st_size == 0:
        yield Fault("resume", given, f"{last} is empty")
