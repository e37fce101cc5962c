"""One W&B run for one run: online where a key and the network are there, offline otherwise, never a prompt."""

import contextlib
import html
import logging
import os
import secrets
import shlex
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Predicate
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from kasoku import home
from kasoku.files import write_text
from kasoku.results import is_cost
from kasoku.training import wandb_server
from kasoku.training.background import in_background
from kasoku.training.guests import PATIENCE, Patience, TookTooLong, in_short, within
from kasoku.training.pictures import svg_of
from kasoku.training.plain import described
from kasoku.training.standin import Act, Standin

# W&B's reports about itself go to the same server, and hold up the end of the process where that one is sick.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

log = logging.getLogger("kasoku")

Mode = Literal["auto", "online", "offline", "disabled"]
SHARE = 0.7  # of the patience, that the beginning may take; the rest is left for going offline


def _is_project(name: str) -> bool:
    """a name of at most 128 characters without / \\ # ? % :"""
    return 0 < len(name) <= 128 and not set(name) & set("/\\#?%:")


def _is_tag(name: str) -> bool:
    """1 to 64 characters long"""
    return 1 <= len(name) <= 64


class WandbRun(WandbLogger):
    """Lightning's W&B logger that keeps its run: the id lies in `directory`/wandb/run_id and is used again at a resume.

    The W&B run begins when training does, in a thread of its own, so that the first steps do not wait for it and a run
    that is refused leaves none. What is logged in the meantime is kept and sent once it stands: rows, hyperparameters,
    and whatever a module asks of `logger.experiment`. A run that cannot begin online, or whose process is gone, goes on
    offline.

    Args:
        directory: the run's directory.
        config: plain nested values, logged as the W&B run's configuration.
        target: the summary has best/<metric> for each metric of validation: by the target's mode for its own, the least
            of a loss, an error and their kin, the greatest of any other.
        mode: online, offline, disabled, or auto: online where a key is configured and the server takes it.
        project, tags: as W&B takes them.
        log_model: keep checkpoints/best.ckpt as an artifact of the run, once it has ended.
        patience: seconds that the end of the run waits for W&B; what it has not sent by then stays on disk. None: as
            long as it takes.
        settings: any further arguments of wandb.init (group, job_type, name, ...).
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        target: Any = None,
        mode: Mode = "auto",
        project: Annotated[str, Predicate(_is_project)] | None = None,
        tags: Sequence[Annotated[str, Predicate(_is_tag)]] | None = None,
        log_model: bool = False,
        patience: Patience = PATIENCE,
        **settings: Any,
    ):
        self._directory, self._target, self._mode, self._patience = directory, target, mode, patience
        self._best: dict[str, float] = {}
        self._keeps_model = log_model
        self.progress: Callable[[], Mapping[str, float]] = dict  # samples and seconds so far, beside each row
        self._waiting: deque[Callable[[], Any]] = deque()
        self._is_sending = False
        self._beginning: Future[Any] | None = None
        self._experiment: Any = None
        self._has_failed = False
        self._unsent: list[str] = []  # folders of W&B runs that the server has not got, or not all of
        self._logged = 0  # characters of the names in the rows of the present W&B run: its file is longer
        settings.setdefault("settings", wandb.Settings(silent=True, **_limits(patience)))
        super().__init__(save_dir=directory, project=project, tags=tags, resume="allow", offline=False, **settings)
        self._wandb_init["config"] = dict(config)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on, wandb warns about it

    @rank_zero_only
    def begin(self) -> None:
        """Start the W&B run in the background, once it is known that the server takes it."""
        if self._beginning is None:
            self._wandb_init |= {"id": _run_id(self._directory)}
            self._beginning = in_background(self._begin, wandb_server.decided(self._mode))

    def _begin(self, mode: str) -> Any:
        try:
            return self._init(mode)
        except Exception as error:  # W&B raises many kinds
            return self._offline_after(error)

    def _init(self, mode: str) -> Any:
        self._wandb_init |= {"mode": mode}
        run = WandbLogger.experiment.fget(self)
        if self._target is not None:  # a chart of it has the best value in its legend, not the last
            name, mode = self._target.metric, self._target.mode
            run.define_metric(name, step_metric="trainer/global_step", step_sync=True, summary=mode)
        return run

    def _offline_after(self, error: Exception) -> Any:
        """A W&B run that is offline, in a new process of W&B's.

        Raises:
            Exception: `error`, where it is not the first.
        """
        if self._has_failed:
            raise error
        self._has_failed = True
        log.warning("W&B: %s, going on offline", in_short(error))
        if self._experiment is not None:
            self._unsent.append(self._experiment.settings.sync_dir)
        _tear_down()
        self._experiment, self._logged = None, 0
        return self._init("offline")

    @property
    def experiment(self) -> Any:
        """The W&B run, waited for, with all that waited for it; before `begin`, and on further ranks, a stand-in."""
        if self._beginning is None:
            return Standin(self._keep)
        run = self._beginning.result()
        self._send()
        return run

    @rank_zero_only
    def _keep(self, act: Act) -> None:
        self._waiting.append(lambda: act(self.experiment))

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Into the W&B run's configuration; under `hparams` where the run's own has a key of the same name."""
        own, values = self._wandb_init["config"], described(params)
        taken = {name: value for name, value in values.items() if name in own}
        further = {name: value for name, value in values.items() if name not in own}
        self.experiment.config.update(further | ({"hparams": taken} if taken else {}), allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._waiting.append(partial(self._log_row, dict(metrics) | dict(self.progress()), step))
        if self._beginning is not None and self._beginning.done():
            try:
                self._send()
            except Exception as error:
                if self._has_failed:
                    raise
                self._beginning = in_background(self._offline_after, error)

    def _log_row(self, metrics: Mapping[str, float], step: int | None) -> None:
        super().log_metrics(metrics, step)
        self._logged += sum(map(len, metrics))

    def _send(self) -> None:
        """Do all that waits, in order; what fails stays, for the W&B run that is offline."""
        if self._is_sending:  # what waits asks for the experiment, which sends what waits
            return
        self._is_sending = True
        try:
            while self._waiting:
                self._waiting[0]()
                self._waiting.popleft()
        finally:
            self._is_sending = False

    @rank_zero_only
    def note_groups(self, rows: Sequence[Any]) -> None:
        """A table of the parameter groups: a name, tensors, parameters, lr and weight decay each.

        As HTML: W&B makes an artifact of each of its own tables, which asks the server several times.
        """
        columns = ("name", "tensors", "parameters", "lr", "weight_decay")
        cells = [[html.escape(f"{getattr(row, column)}") for column in columns] for row in rows]
        lines = "".join(f"<tr><td>{'<td>'.join(line)}" for line in cells)
        table = f"<table><tr><th>{'<th>'.join(columns)}{lines}</table>"
        self._waiting.append(lambda: self.experiment.log({"parameter_groups": wandb.Html(table)}))

    @rank_zero_only
    def note_schedule(self, steps: Sequence[int], curves: Mapping[str, Sequence[float]]) -> None:
        """A picture of the lr over the run, and of what else is driven, each a list as long as `steps`."""
        if steps:
            picture = svg_of(steps, curves)
            self._waiting.append(lambda: self.experiment.log({"schedule": wandb.Html(picture)}))

    @rank_zero_only
    def note_validation(self, metrics: Mapping[str, float]) -> None:
        """Keep the best of what a validation gave."""
        for name, value in metrics.items():
            better = min if self._falls(name) else max
            self._best[f"best/{name}"] = better(value, self._best.get(f"best/{name}", value))

    def _falls(self, name: str) -> bool:
        if self._target is not None and name == self._target.metric:
            return self._target.mode == "min"
        return is_cost(name)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Left to `finish`: Lightning calls this between training and test too."""

    @rank_zero_only
    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Close the W&B run, so that the next run of this process does not go on in it."""
        if self._beginning is None:
            return
        try:
            with within(self._patience):
                self._close(exit_code, summary)
        except (TimeoutError, TookTooLong):  # by W&B's own clock, or ours
            threading.Thread(target=_tear_down, daemon=True).start()  # or the end of the process would wait for it
            if self._experiment is not None:
                self._unsent.append(self._experiment.settings.sync_dir)
            told = "W&B did not take everything within logger.wandb.patience=%g s; metrics.csv has every row"
            log.warning(told, self._patience)
        else:
            self._look_at_file()
        if self._unsent:
            log.info("upload what W&B lacks with: wandb sync %s", shlex.join(self._unsent))

    def _look_at_file(self) -> None:
        """W&B's own process says nothing of a write that fails."""
        path = Path(self._experiment.settings.sync_file) if self._unsent and self._experiment is not None else None
        if path and (not path.exists() or path.stat().st_size < self._logged):
            log.warning("W&B could not write all of %s, is the disk full? metrics.csv has every row", path)

    def _close(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        try:
            self._end(self.experiment, exit_code, summary)
        except TimeoutError:
            raise
        except Exception as error:
            self._end(self._offline_after(error), exit_code, summary)

    def _end(self, run: Any, exit_code: int, summary: Mapping[str, Any]) -> None:
        self._send()
        of_charts = {self._target.metric} if self._target is not None else set()  # W&B keeps its best by itself
        run.summary.update(self._best | {name: value for name, value in summary.items() if name not in of_charts})
        if self._keeps_model and (best := self._directory / "checkpoints" / "best.ckpt").exists():
            model = wandb.Artifact(f"{run.id}-best", "model", metadata={"status": summary.get("status")})
            model.add_file(str(best))
            run.log_artifact(model)
        run.finish(exit_code=exit_code)
        if run.settings.mode == "offline":
            self._unsent.append(run.settings.sync_dir)


def _limits(patience: float | None) -> dict[str, Any]:
    if patience is None:
        return {}
    return {"init_timeout": SHARE * patience, "finish_timeout": SHARE * patience, "finish_timeout_raises": True}


def _tear_down() -> None:
    """End W&B's own process, and let go of a run whose process is gone."""
    with contextlib.suppress(Exception):
        wandb.teardown()
    wandb.run = None


def _run_id(directory: Path) -> str:
    """The id of the directory's W&B run; of a new one the id that the agent of a W&B sweep gives, else a fresh one."""
    path = directory / "wandb" / "run_id"
    if path.exists():
        return path.read_text().strip()
    is_agents = bool(os.environ.get("WANDB_SWEEP_ID")) and home.TRIAL not in os.environ
    of_agent = os.environ.get("WANDB_RUN_ID") if is_agents else None
    run_id = of_agent or secrets.token_hex(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, run_id + "\n")
    return run_id
