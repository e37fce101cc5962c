"""What each `mode` does with a configuration. Imported once the configuration stands: torch comes with it."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.config.build import build
from kasoku.faults import ConfigError, Fault
from kasoku.training import checkpoints
from kasoku.training import directory as directories
from kasoku.training.preview import preview
from kasoku.training.run import EXIT_CODES, Run, fit, test

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
    run = _prepare(cfg, place)
    if cfg.resume:
        run.resume = run.last
        _refuse_finished(run)
    elif cfg.checkpoint:
        _load_weights(run, Path(cfg.checkpoint))
    ended = fit(run)
    summary = "  ".join(f"{name} {value:.4f}" for name, value in ended.result.metrics.items() if "/" in name)
    log.info("%s  %s", ended.result.status, summary)
    log.info(
        "%d steps, %.1f s of training, %.1f s in all",
        ended.result.steps,
        ended.result.train_seconds,
        ended.result.total_seconds,
    )
    log.info("everything lies in %s", place.directory)
    return ended.exit_code


def show(cfg: DictConfig, place: Place) -> int:
    """Draw the schedule and print the parameter groups; train nothing."""
    preview(_prepare(cfg, place))
    return 0


def evaluate(cfg: DictConfig, place: Place) -> int:
    """Test the weights in `checkpoint`."""
    run = _prepare(cfg, place)
    _load_weights(run, Path(cfg.checkpoint))
    result = test(run)
    log.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
    log.info("everything lies in %s", place.directory)
    return EXIT_CODES[result.status]


MODES: dict[str, Mode] = {"train": train, "preview": show, "test": evaluate}


def _prepare(cfg: DictConfig, place: Place) -> Run:
    _quiet()
    run = build(cfg, place.directory, place.trusted, place.overrides, place.started)
    run.callbacks = [*run.callbacks, *place.callbacks]
    directories.claim(place.directory, OmegaConf.to_yaml(cfg, resolve=False), place.overrides, resumed=bool(cfg.resume))
    return run


def _load_weights(run: Run, path: Path) -> None:
    state = checkpoints.read(path, "checkpoint")["state_dict"]
    checkpoints.check_weights(run.module, state, "checkpoint", path)
    run.module.load_state_dict(state)


def _refuse_finished(run: Run) -> None:
    """Lightning would train nothing, and say nothing."""
    progress = checkpoints.read(run.last, "resume")
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
    """Lightning's banners and its warnings about what is meant so; the rest of its words stay."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*GPU available but not used.*",
        ".*Checkpoint directory.*",
        ".*The number of training batches.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", text)
