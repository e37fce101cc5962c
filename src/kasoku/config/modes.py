"""What each `mode` does with a configuration. Imported once the configuration stands: torch comes with it."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from kasoku.config import resuming
from kasoku.config.build import build
from kasoku.faults import ConfigError, Fault
from kasoku.training import checkpoints
from kasoku.training import directory as directories
from kasoku.training.interrupts import Interrupted
from kasoku.training.lr_finder import show_lrs
from kasoku.training.preview import preview
from kasoku.training.run import Ended, Run, fit, test

log = logging.getLogger("kasoku")


@dataclass(frozen=True)
class Place:
    """Where a run lies and where it comes from: its directory, overrides, trusted names, the command's start.

    A sweep adds `callbacks` to those of the configuration.
    """

    directory: Path
    overrides: Sequence[str]
    trusted: Sequence[str]
    started: float
    callbacks: Sequence[Any] = ()


Mode = Callable[[DictConfig, Place], int]


def train(cfg: DictConfig, place: Place) -> int:
    """Fit, test, leave the run's directory; prints where everything lies."""
    changed = resuming.changes(place.directory, cfg, place.overrides) if cfg.resume else []
    run = _build(cfg, place)
    if cfg.resume:
        _go_on(run, changed)
    elif cfg.checkpoint:
        _load_weights(run, Path(cfg.checkpoint))
    _claim(cfg, place)
    return _report(fit(run), place)


def show(cfg: DictConfig, place: Place) -> int:
    """Draw the schedule and print the parameter groups; train nothing."""
    run = _build(cfg, place)
    _claim(cfg, place)
    preview(run)
    return 0


def find_lr(cfg: DictConfig, place: Place) -> int:
    """The LR range test on the run as it would be trained; train nothing."""
    run = _build(cfg, place)
    if cfg.checkpoint:
        _load_weights(run, Path(cfg.checkpoint))
    _claim(cfg, place)
    try:
        show_lrs(run)
    except Interrupted as error:
        return 128 + error.signum
    return 0


def evaluate(cfg: DictConfig, place: Place) -> int:
    """Test the weights in `checkpoint`."""
    run = _build(cfg, place)
    _load_weights(run, Path(cfg.checkpoint))
    _claim(cfg, place)
    return _report(test(run), place)


MODES: dict[str, Mode] = {"train": train, "preview": show, "find_lr": find_lr, "test": evaluate}


def _report(ended: Ended, place: Place) -> int:
    result = ended.result
    log.info("%s  %s", result.status, "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
    if result.steps:
        seconds = (result.train_seconds, result.total_seconds)
        log.info("%d steps, %.1f s of training, %.1f s in all", result.steps, *seconds)
    log.info("everything lies in %s", _shown(place.directory))
    if result.steps and ended.exit_code == 0:
        log.info("compare runs with: python -m kasoku.report %s", _shown(place.directory.parent))
    return ended.exit_code


def _shown(path: Path) -> str:
    """`path` from here, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _build(cfg: DictConfig, place: Place) -> Run:
    _quiet()
    run = build(cfg, place.directory, place.trusted, place.overrides, place.started)
    run.callbacks = [*run.callbacks, *place.callbacks]
    return run


def _claim(cfg: DictConfig, place: Place) -> None:
    if rank_zero_only.rank == 0:
        text = OmegaConf.to_yaml(cfg, resolve=False)
        directories.claim(place.directory, text, place.overrides, resumed=bool(cfg.resume))


def _load_weights(run: Run, path: Path) -> None:
    state = checkpoints.read(path, "checkpoint")["state_dict"]
    checkpoints.check_weights(run.module, state, "checkpoint", path)
    run.module.load_state_dict(state)


def _go_on(run: Run, changed: Sequence[resuming.Change]) -> None:
    """Resume from last.ckpt. A finished run is refused: Lightning would train nothing, and say nothing."""
    run.resume = run.last
    for change in changed:
        log.info("changed at this resume: %s", change)
    progress = checkpoints.read(run.last, "resume")
    if "current_model_state" in progress and not any(isinstance(c, WeightAveraging) for c in run.callbacks):
        must = "holds an average of the weights, which this command has no callback to go on with"
        raise ConfigError(Fault("resume", run.last, must, "give callbacks=ema, swa or lawa as before"))
    settings: dict[str, Any] = run.trainer.keywords  # type: ignore[attr-defined]
    max_steps = settings.get("max_steps") or -1
    max_epochs = settings.get("max_epochs") or -1
    epochs = progress["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if 0 < max_steps <= progress["global_step"] or 0 < max_epochs <= epochs:
        must = f"this run has finished, at step {progress['global_step']} of epoch {epochs}"
        raise ConfigError(
            Fault("resume", run.directory, must, "to extend it, add a larger trainer.max_epochs or max_steps")
        )


def _quiet() -> None:
    """Lightning's banners and its warnings about what is meant so; the rest of its words stay. Rank 0 alone speaks."""
    if rank_zero_only.rank:
        for name in ("kasoku", "pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*GPU available but not used.*",
        ".*Checkpoint directory.*",
        ".*The number of training batches.*",
        ".*LeafSpec.*",
        ".*could not find the monitored key.*",  # a run that ends before its first validation
    ):
        warnings.filterwarnings("ignore", text)
