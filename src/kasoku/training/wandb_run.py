"""One W&B run for one run: online where a key and the network are there, offline otherwise, never a prompt."""

import contextlib
import logging
import netrc
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyExperiment as _DummyExperiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

log = logging.getLogger("kasoku")

PATIENCE = 1.0  # seconds for the network to answer before the run goes offline


class WandbRun(WandbLogger):
    """Lightning's W&B logger that keeps its run: the id lies in `directory`/wandb/run_id and is used again at a resume.

    The W&B run begins when training does, in a thread of its own, so that the first steps do not wait for it and a run
    that is refused leaves none. Rows logged in the meantime are kept and sent once it stands.

    Args:
        directory: the run's directory.
        config: plain nested values, logged as the W&B run's configuration.
        target: the summary has best/<metric> for every val/* metric: by the target's mode for its own, the least of a
            loss, error or perplexity, the greatest of any other.
        mode: online, offline, disabled, or auto: online where a key is configured and the server answers.
        settings: any further arguments of wandb.init (project, group, job_type, tags, name, ...).
    """

    def __init__(
        self, directory: Path, config: Mapping[str, Any], target: Any = None, mode: str = "auto", **settings: Any
    ):
        self._directory, self._target, self._mode = directory, target, mode
        self._best: dict[str, float] = {}
        self._waiting: list[tuple[dict[str, float], int | None]] = []
        self._beginning: Future[Any] | None = None
        settings.setdefault("settings", wandb.Settings(silent=True))
        super().__init__(save_dir=directory, resume="allow", offline=False, **settings)
        self._wandb_init["config"] = dict(config)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on, wandb warns about it

    @rank_zero_only
    def begin(self) -> None:
        """Start the W&B run in the background."""
        if self._beginning is None:
            pool = ThreadPoolExecutor(1, thread_name_prefix="wandb")
            self._beginning = pool.submit(self._begin)
            pool.shutdown(wait=False)

    def _begin(self) -> Any:
        self._wandb_init |= {"id": _run_id(self._directory), "mode": _mode(self._mode)}
        return WandbLogger.experiment.fget(self)

    @property
    def experiment(self) -> Any:
        """The W&B run, waited for; a stand-in that ignores all before `begin`."""
        return _DummyExperiment() if self._beginning is None else self._beginning.result()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._waiting.append((dict(metrics), step))
        if self._beginning is not None and self._beginning.done():
            self._send()

    def _send(self) -> None:
        for metrics, step in self._waiting:
            self._note_best(metrics)
            super().log_metrics(metrics, step)
        self._waiting.clear()

    def _note_best(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name.startswith("val/"):
                better = min if self._direction(name) == "min" else max
                self._best[f"best/{name}"] = better(value, self._best.get(f"best/{name}", value))

    def _direction(self, name: str) -> str:
        if self._target is not None and name == self._target.metric:
            return self._target.mode
        return "min" if any(word in name for word in ("loss", "error", "perplexity")) else "max"

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Left to `finish`: Lightning calls this between training and test too."""

    @rank_zero_only
    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Close the W&B run, so that the next run of this process does not go on in it."""
        if self._beginning is None:
            return
        run = self.experiment
        self._send()
        run.summary.update(self._best | dict(summary))
        run.finish(exit_code=exit_code)
        if run.settings.mode == "offline":
            log.info("W&B was offline; upload with: wandb sync %s", run.settings.sync_dir)


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
    """Whether the server takes a connection within PATIENCE; in a thread, for a name can take longer to resolve."""
    address = urlsplit(_server())
    asking = threading.Thread(target=_connect, args=(address, answered := threading.Event()), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if not answered.is_set():
        log.info("W&B: %s does not answer, going on offline", address.hostname)
    return answered.is_set()


def _connect(address: SplitResult, answered: threading.Event) -> None:
    port = address.port or (443 if address.scheme == "https" else 80)
    with contextlib.suppress(OSError), socket.create_connection((address.hostname or "", port), timeout=PATIENCE):
        answered.set()


def _run_id(directory: Path) -> str:
    path = directory / "wandb" / "run_id"
    if path.exists():
        return path.read_text().strip()
    run_id = secrets.token_hex(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(run_id + "\n")
    return run_id
