"""One W&B run for one run: online where a key and the network are there, offline otherwise, never a prompt."""

import contextlib
import io
import logging
import netrc
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

log = logging.getLogger("kasoku")

PATIENCE = 1.0  # seconds for the network to answer before the run goes offline


class WandbRun(WandbLogger):
    """Lightning's W&B logger that keeps its run: the id lies in `directory`/wandb/run_id and is used again at a resume.

    Args:
        directory: the run's directory.
        config: plain nested values, logged as the W&B run's configuration.
        target: metric and mode whose best value the summary shows; other val/* metrics show their least if they are a
            loss, error or perplexity, and their greatest otherwise.
        mode: online, offline, disabled, or auto: online where a key is configured and the server answers.
        settings: any further arguments of wandb.init (project, group, job_type, tags, name, ...).
    """

    def __init__(
        self, directory: Path, config: Mapping[str, Any], target: Any = None, mode: str = "auto", **settings: Any
    ):
        self._target = target
        self._defined: set[str] = set()
        self._directory = directory
        mode = _mode(mode)
        run_id = _run_id(directory)
        settings.setdefault("settings", wandb.Settings(silent=True))
        super().__init__(save_dir=directory, id=run_id, resume="allow", offline=False, mode=mode, **settings)
        self._wandb_init["config"] = dict(config)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name in metrics:
            if name.startswith("val/") and name not in self._defined:
                self._defined.add(name)
                self.experiment.define_metric(name, summary=f"{self._direction(name)},last")
        super().log_metrics(metrics, step)

    def _direction(self, name: str) -> str:
        if self._target is not None and name == self._target.metric:
            return self._target.mode
        return "min" if any(word in name for word in ("loss", "error", "perplexity")) else "max"

    @rank_zero_only
    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Close the W&B run, so that the next run of this process does not go on in it."""
        if self._experiment is None:
            return
        self._experiment.summary.update(dict(summary))
        with contextlib.redirect_stdout(io.StringIO()):
            self._experiment.finish(exit_code=exit_code)
        if self._experiment.settings.mode == "offline":
            log.info(f"W&B was offline; upload with: wandb sync {self._experiment.settings.sync_dir}")


def _mode(mode: str) -> str:
    if mode != "auto":
        return mode
    if chosen := os.environ.get("WANDB_MODE"):
        return chosen
    return "online" if _has_key() and _answers() else "offline"


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(_server()).hostname or ""
    path = os.environ.get("NETRC") or str(Path.home() / (".netrc" if os.name != "nt" else "_netrc"))
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers() -> bool:
    address = urlsplit(_server())
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        log.info(f"W&B: {address.hostname} does not answer, going on offline")
        return False
    return True


def _run_id(directory: Path) -> str:
    path = directory / "wandb" / "run_id"
    if path.exists():
        return path.read_text().strip()
    run_id = secrets.token_hex(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(run_id + "\n")
    return run_id
