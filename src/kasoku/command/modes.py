"""The modes: train, preview, find_lr, test, export. Imported once the configuration stands, for torch comes with it."""

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch.distributed import is_initialized

from kasoku import home, results
from kasoku.command import export as exports
from kasoku.command.build import build, build_trained
from kasoku.command.foreign import refuse_places
from kasoku.command.tasks import batch_of
from kasoku.config import directory as directories
from kasoku.config import resuming
from kasoku.faults import ConfigError, Fault
from kasoku.files import remove_parts
from kasoku.recipe import learning_rates
from kasoku.training import carry, checkpoints, pretrained, voice
from kasoku.training.clock import recipe_of
from kasoku.training.interrupts import Interrupted
from kasoku.training.lr_finder import find_lrs
from kasoku.training.position import position_in
from kasoku.training.preview import preview
from kasoku.training.reporter import Reporter
from kasoku.training.run import Ended, Run
from kasoku.training.session import fit, test
from kasoku.training.spent import lines
from kasoku.training.suggestions import Rule

log = logging.getLogger("kasoku")


@dataclass(frozen=True)
class Origin:
    """The origin of a run: its directory, overrides, trusted names, and the time of the command's start.

    A sweep adds `callbacks` to those of the configuration.
    """

    directory: Path
    overrides: Sequence[str]
    trusted: Sequence[str]
    started: float
    callbacks: Sequence[Any] = ()


REWINDS = 3  # times that on_divergence=rewind goes back
Mode = Callable[[DictConfig, Origin], int]


def train(cfg: DictConfig, origin: Origin) -> int:
    """Fit, test, leave the run's directory; print where the results are."""
    ended = _go_on(cfg, origin) if cfg.resume else _begin(cfg, origin)
    for _ in range(REWINDS if cfg.on_divergence == "rewind" else 0):
        if ended.result.status != "diverged":
            break
        if is_initialized():
            log.warning("on_divergence=rewind: several processes do not go back together, resume the run by hand")
            break
        cfg, origin = _with_half_the_lr(cfg, origin)
        log.warning("rewind: on from the last checkpoint with optimizer.lr=%g", cfg.optimizer.lr)
        ended = _go_on(cfg, origin)
    return _report(ended, origin)


def show(cfg: DictConfig, origin: Origin) -> int:
    """Draw the schedule and print the parameter groups; train nothing."""
    run = _build(cfg, origin)
    _claim(cfg, origin)
    preview(run)
    return 0


def find_lr(cfg: DictConfig, origin: Origin) -> int:
    """The LR range test on the run as it would be trained; train nothing."""
    run = _build(cfg, origin)
    if cfg.checkpoint:
        _load_weights(run, cfg)
    _claim(cfg, origin)
    try:
        lrs = find_lrs(run)
    except Interrupted as error:
        return 128 + error.signum
    if rank_zero_only.rank == 0:
        _print_lrs(run, lrs)
    return 0


def evaluate(cfg: DictConfig, origin: Origin) -> int:
    """Test the weights in `checkpoint`."""
    run = _build(cfg, origin)
    _load_weights(run, cfg)
    _claim(cfg, origin)
    return _report(test(run), origin)


def export(cfg: DictConfig, origin: Origin) -> int:
    """Write the net with the weights in `checkpoint` into files that run without kasoku, each held against it."""
    quiet()
    voice.tune(cfg.get("verbosity", "normal"))
    module, data = build_trained(cfg, origin.trusted, origin.overrides)
    if str(cfg.trainer.get("precision")) in ("64", "64-true"):
        module.double()
    pretrained.load(module, Path(cfg.checkpoint), cfg.model.get("load", "strict"))
    _claim(cfg, origin)
    formats = None if cfg.export.formats is None else list(cfg.export.formats)
    return exports.write(module, data, batch_of(cfg.get("batch")), origin.directory, formats)


MODES: dict[str, Mode] = {
    "train": train,
    "preview": show,
    "find_lr": find_lr,
    "test": evaluate,
    "export": export,
}


def run(cfg: DictConfig, origin: Origin) -> int:
    """Do with `cfg` what its mode says; the exit code."""
    return MODES[cfg.mode](cfg, origin)


def followers() -> list[Callback]:
    """Callbacks of the ranks above 0 that no configuration names: a trial's hear with rank 0 that it is pruned."""
    return [Reporter()] if home.TRIAL in os.environ else []


def _report(ended: Ended, origin: Origin) -> int:
    result = ended.result
    log.info("%s  %s", result.status, "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items()))
    if result.steps:
        seconds = (result.train_seconds, result.total_seconds)
        log.info("%d steps, %.1f s of training, %.1f s in all", result.steps, *seconds)
        for line in lines(result.spent):
            log.info("%s", line)
    if result.steps and voice.draws():
        print(voice.charts(origin.directory, result.target.metric if result.target else ""))
    log.info("results are in %s", home.shown(origin.directory))
    if result.steps and ended.exit_code == 0:
        log.info("compare runs with: %s report %s", home.program(), home.shown(origin.directory.parent))
    return ended.exit_code


def _build(cfg: DictConfig, origin: Origin) -> Run:
    quiet()
    voice.tune(cfg.get("verbosity", "normal"))
    run = build(cfg, origin.directory, origin.trusted, origin.overrides, origin.started)
    run.callbacks = [*run.callbacks, *origin.callbacks]
    if cfg.get("verbosity") == "quiet" and run.bar is None:
        run.bar = False
    return run


def _claim(cfg: DictConfig, origin: Origin) -> None:
    if rank_zero_only.rank == 0:
        text = OmegaConf.to_yaml(cfg, resolve=False)
        directories.claim(origin.directory, text, origin.overrides, resumed=bool(cfg.resume))


def _begin(cfg: DictConfig, origin: Origin) -> Ended:
    run = _build(cfg, origin)
    if cfg.checkpoint:
        _load_weights(run, cfg)
    _claim(cfg, origin)
    return fit(run)


def _with_half_the_lr(cfg: DictConfig, origin: Origin) -> tuple[DictConfig, Origin]:
    """The configuration and the origin of the same run, resumed as by hand with a lower lr."""
    lower = cfg.copy()
    lower.optimizer.lr = cfg.optimizer.lr / 2
    lower.resume = str(origin.directory)
    overrides = [*directories.overrides_of(origin.directory), f"optimizer.lr={lower.optimizer.lr!r}"]
    return lower, replace(origin, overrides=overrides)


def _load_weights(run: Run, cfg: DictConfig) -> None:
    pretrained.load(run.module, Path(cfg.checkpoint), cfg.model.get("load", "strict"))


def _go_on(cfg: DictConfig, origin: Origin) -> Ended:
    """Train on from the newest checkpoint, or anew where the run was ended before it wrote one.

    Until that begins, all that the run has left stays as it is.
    """
    # The further ranks have the configuration that rank 0 has compared.
    changed = [] if rank_zero_only.rank else resuming.changes(origin.directory, cfg, origin.overrides)
    run = _build(cfg, origin)
    for folder in (run.directory, run.last.parent):
        remove_parts(folder)
    run.resume = checkpoints.newest(directories.last_checkpoint(run.directory))
    if run.resume is None:
        log.warning("the run was ended before its first checkpoint: it begins again at step 0")
    else:
        _check_resumable(run, run.resume, changed)
    run.callbacks = [*run.callbacks, _Begin(origin.directory, changed, anew=run.resume is None)]
    _claim(cfg, origin)
    try:
        return fit(run)
    finally:
        rank_zero_only(directories.withdraw)(origin.directory)


def _check_resumable(run: Run, path: Path, changed: Sequence[resuming.Change]) -> None:
    """Raises ConfigError where the run cannot go on from the checkpoint in `path`, or has finished."""
    checkpoint = checkpoints.read(path, "resume")
    refuse_places(checkpoint, path)
    position = position_in(checkpoint, path, run.data)
    carry.check(run, checkpoint, path, [str(change) for change in changed])
    if carry.is_finished(run, checkpoint, position) and results.has_ended(run.directory):
        must = f"this run has finished, at step {position.steps}, after {position.epochs} epochs"
        fix = "to extend it, add a larger trainer.max_epochs or max_steps (-1 takes either limit away)"
        raise ConfigError(Fault("resume", run.directory, must, fix))


class _Begin(Callback):
    """Makes a resume the run's own once it trains: config.yaml, and a line in the log for each change.

    A run that begins `anew` loses the rows that it wrote before.
    """

    def __init__(self, directory: Path, changed: Sequence[resuming.Change], anew: bool):
        self._directory, self._changed, self._anew = directory, changed, anew

    @rank_zero_only
    def on_train_start(self, *args: Any) -> None:
        directories.confirm(self._directory)
        if self._anew:
            (self._directory / "metrics.csv").unlink(missing_ok=True)
        for change in self._changed:
            log.info("changed at this resume: %s", change)


def quiet() -> None:
    """Lightning's banners and its warnings about what is meant so; the rest of its words stay. Rank 0 alone speaks."""
    if rank_zero_only.rank:
        for name in ("kasoku", "pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*Total length of `list` across ranks is zero.*",  # data without a validation part
        ".*exists and is not empty.*",
        ".*GPU available but not used.*",
        ".*Checkpoint directory.*",
        ".*The number of training batches.*",
        ".*LeafSpec.*",
        ".*could not find the monitored key.*",  # a run that ends before its first validation
    ):
        warnings.filterwarnings("ignore", text)


def _print_lrs(run: Run, lrs: Mapping[Rule, float]) -> None:
    """Print the suggestions of the range test and the command that trains with the chosen one."""
    chosen = run.range_test.suggestion
    table = Table("rule", "lr", title="lr range test", title_justify="left")
    for rule, lr in lrs.items():
        table.add_row(rule, f"{lr:g}", style="bold" if rule == chosen else None)
    Console(highlight=False).print(table)
    print(_command_with(run, lrs[chosen]))
    print(f"lr_finder.csv and lr_finder.png are in {run.directory}")


def _command_with(run: Run, lr: float) -> str:
    recipe = recipe_of(run.module)
    rates = learning_rates(recipe.with_lr(lr).optimizer)
    given = {f"optimizer.{name}": f"{value:.12g}" for name, value in rates.items() if name in recipe.optimizer.keywords}
    if recipe.scale_lr != "none":
        given["optimizer.scale_lr"] = "none"  # the lr was found at this very batch
    if recipe.scale_steps != "none":
        given["optimizer.scale_steps"] = "none"
    left_out = ("mode", "optimizer.lr", *given)
    rest = [override for override in run.overrides if override.lstrip("+").split("=")[0] not in left_out]
    return home.typed(*rest, *(f"{key}={value}" for key, value in given.items()))
