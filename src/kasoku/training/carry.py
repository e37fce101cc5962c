"""The parts of a checkpoint that a run cannot take over as it is configured now: said before anything is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn

from kasoku.faults import MISSING, ConfigError, Fault, unknown
from kasoku.optim.bridge import settings_of
from kasoku.optim.plateau import Plateau
from kasoku.recipe import Recipe
from kasoku.training import pretrained
from kasoku.training.clock import configure_optimizers
from kasoku.training.position import Position
from kasoku.training.run import Run

Checkpoint = Mapping[str, Any]
LOSS = "train/loss"  # the one metric that training logs
Groups = list[dict[str, Any]]


def check(run: Run, checkpoint: Checkpoint, path: Path, changed: Sequence[str]) -> None:
    """Check that `run` can go on from `checkpoint`, which was read from `path`.

    Args:
        changed: what is not as it was when the run began, as `key: old -> new`.

    Raises:
        ConfigError: all that cannot be carried over.
    """
    faults = [*_weights(run, checkpoint, path, changed), *_averages(run, checkpoint, path)]
    faults += [*_gathered(checkpoint, changed), *_metrics(run, checkpoint, changed)]
    if not faults and type(run.module).configure_optimizers is configure_optimizers:
        faults = _optimizer(run, checkpoint, path, changed)
    if faults:
        raise ConfigError(*faults)


def is_finished(run: Run, checkpoint: Checkpoint, position: Position) -> bool:
    """True if no step is left to train."""
    if position.is_open:
        return False
    settings: dict[str, Any] = run.trainer.keywords  # type: ignore[attr-defined]
    max_steps, max_epochs = settings.get("max_steps") or -1, settings.get("max_epochs") or -1
    reached = checkpoint["callbacks"].get("TargetWatch", {}).get("time_to_target") or {}
    at_target = (reached.get("metric"), reached.get("value")) == (run.target.metric, run.target.value)
    return 0 < max_steps <= position.steps or 0 < max_epochs <= position.epochs or (run.target.stop and at_target)


def _weights(run: Run, checkpoint: Checkpoint, path: Path, changed: Sequence[str]) -> Iterator[Fault]:
    match = pretrained.matched(run.module.state_dict(), checkpoint["state_dict"])
    for fault in pretrained.misfits(match, "resume", path)[:1]:
        yield replace(fault, fix=_of(changed, "model.", "data.") or fault.fix)


def _averages(run: Run, checkpoint: Checkpoint, path: Path) -> Iterator[Fault]:
    if "current_model_state" not in checkpoint:
        return
    states = checkpoint["callbacks"]
    averages = [callback for callback in run.callbacks if isinstance(callback, WeightAveraging)]
    if not any(callback.state_key in states for callback in averages):
        kept = " ".join(key for key, state in states.items() if "latest_update_step" in state)
        must = f"holds an average of the weights ({kept}), which this command has no callback to go on with"
        yield Fault("resume", path, must, "give callbacks=ema, swa or lawa as before")
    ring = checkpoint["averaging_state"].get("states", ())
    for callback in averages:
        if len(ring) not in (0, getattr(callback, "latest", len(ring))):
            yield Fault("callbacks.lawa.latest", callback.latest, f"was {len(ring)} in this run", f"give {len(ring)}")


def _gathered(checkpoint: Checkpoint, changed: Sequence[str]) -> Iterator[Fault]:
    """Gradients of a step that has begun count for the batches that it was to have."""
    key = "trainer.accumulate_grad_batches"
    if "gradients" in checkpoint["loops"]["fit_loop"]["state_dict"] and (change := _of(changed, f"{key}:")):
        must = f"the checkpoint was saved between the batches of a step; {change}"
        yield Fault(key, MISSING, must, "change it at a checkpoint between two steps")


def _metrics(run: Run, checkpoint: Checkpoint, changed: Sequence[str]) -> Iterator[Fault]:
    """A resume makes no sanity check, which would name these: the validations before it tell. Old names had passed."""
    logged = [name for name in checkpoint["loops"]["fit_loop"]["state_dict"]["metrics"] if name != LOSS]
    schedule = getattr(run.module.recipe, "schedule", None)
    wanted = {"target.metric": run.target.metric}
    if schedule is not None and schedule.func is Plateau:
        wanted["scheduler.metric"] = schedule.keywords.get("metric", "val/loss")
    for key, name in wanted.items():
        if logged and name not in logged and _of(changed, key):
            yield unknown(key, name, name, logged, "no such metric, those of the model are")


def _optimizer(run: Run, checkpoint: Checkpoint, path: Path, changed: Sequence[str]) -> list[Fault]:
    recipe: Recipe = run.module.recipe  # type: ignore[assignment]
    decay = recipe.optimizer.keywords.get("weight_decay", 0.0)
    groups = recipe.groups.split(run.module, lr=recipe.lr, weight_decay=decay)
    names = {id(p): name for name, p in run.module.named_parameters()}
    now = [[names[id(p)] for p in group["params"]] for group in groups]
    before = checkpoint["loops"]["fit_loop"]["state_dict"]["groups"]
    if now != before:
        must = f"was saved with parameter groups of {_sizes(before)} tensors, and now there are {_sizes(now)}"
        moved = next(name for name in chain(*before, *now) if _place(name, before) != _place(name, now))
        return [Fault("resume", path, f"{must}: {moved} is in another", _of(changed, "optimizer.", "model."))]
    others = [line for line in changed if line.startswith("optimizer.") and not line.startswith("optimizer.lr:")]
    try:
        if others:
            _step(recipe, groups, checkpoint["optimizer_states"][0])
    except Exception as error:  # each optimizer misses what it needs in its own way
        must = f"holds no state for these settings of the optimizer ({type(error).__name__}: {error})"
        return [Fault("resume", path, must, _of(changed, "optimizer."))]
    return []


def _step(recipe: Recipe, groups: Groups, state: Mapping[str, Any]) -> None:
    """A step with the state that is there, on a copy of the smallest parameter of each group."""
    copies, states = Groups(), {}
    for number, (group, saved) in enumerate(zip(groups, state["param_groups"], strict=True)):
        sizes = [p.numel() for p in group["params"]]
        place = sizes.index(min(sizes))
        copy = nn.Parameter(group["params"][place].detach().clone())
        copy.grad = torch.zeros_like(copy)
        copies.append(group | {"params": [copy]})
        states[number] = state["state"].get(saved["params"][place], {})
    optimizer = recipe.optimizer(copies)
    settings = [settings_of(optimizer, group) for group in optimizer.param_groups]
    saved_groups = [group | {"params": [number]} for number, group in enumerate(state["param_groups"])]
    optimizer.load_state_dict({"state": states, "param_groups": saved_groups})
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    if hasattr(optimizer, "train"):
        optimizer.train()
    optimizer.step()


def _place(name: str, groups: Sequence[Sequence[str]]) -> tuple[int, int] | None:
    return next(((number, group.index(name)) for number, group in enumerate(groups) if name in group), None)


def _sizes(groups: Sequence[Sequence[str]]) -> str:
    return " and ".join(str(len(group)) for group in groups)


def _of(changed: Sequence[str], *beginnings: str) -> str:
    """The changes of keys with one of these beginnings, as what to take back."""
    lines = [line for line in changed if line.startswith(beginnings)]
    return f"changed were {'; '.join(lines)}" if lines else ""
