"""One trial, in a process of its own: a fork of one that has done the imports."""

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from kasoku.config import checks, modes, resolvers, trust
from kasoku.faults import ConfigError
from kasoku.search.job import Job, Source
from kasoku.search.reporter import VARIABLE, Reporter

RANK_OF = "KASOKU_RANK_OF"


def main(job: Job, source: Source, sweep: Connection) -> None:
    """Run `job`, tell `sweep` why it failed if it does, and leave with a run's exit code."""
    _stand_alone(job)
    code, reason = 1, ""
    try:
        code = _run(job, source, sweep)
    except ConfigError as error:
        code, reason = 2, str(error)
    except KeyboardInterrupt:
        code, reason = 130, "interrupted"
    except BaseException as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    if reason:
        print(reason, file=sys.stderr)
        sweep.send(("failed", " ".join(reason.split())[:500]))
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _stand_alone(job: Job) -> None:
    """Away from the sweep's terminal and its other trials; gone when the sweep is."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    job.directory.mkdir(parents=True)
    output = os.open(job.directory / "output.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    faulthandler.enable()
    sys.argv[1:] = []
    os.environ[RANK_OF] = str(job.directory)
    os.environ[VARIABLE] = str(job.number)
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    if job.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job.gpus)
    torch.set_num_threads(job.threads)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(os.getpid(), signal.SIGKILL)


def _run(job: Job, source: Source, sweep: Connection) -> int:
    started = time.time()

    def report(count: int, values: Mapping[str, float]) -> bool:
        sweep.send(("report", count, dict(values)))
        return sweep.recv()

    def task(cfg: DictConfig) -> int:
        trusted = trust.trusted(source.conf_dir)
        if faults := checks.check(cfg) + trust.faults_of_targets(cfg, trusted):
            raise ConfigError(*faults)
        _mark(cfg, job)
        place = modes.Place(job.directory, job.overrides, trusted, started, [Reporter(job.metrics, report)])
        return modes.MODES[cfg.mode](cfg, place)

    cfg = compose(source, job.overrides, job.directory)
    context = HydraContext(source.loader, Callbacks(cfg))
    result = run_job(task, cfg, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    if isinstance(result._return_value, Exception):
        raise result._return_value
    return int(result._return_value)


def compose(source: Source, overrides: tuple[str, ...], directory: Path) -> DictConfig:
    """The configuration of a trial, as that of a single run with its `overrides`.

    Raises:
        hydra.errors.HydraException: it does not compose.
    """
    version.setbase("1.3")
    setup_globals()
    resolvers.register()
    cfg = source.loader.load_configuration(source.name, [*source.hydra_overrides, *overrides], RunMode.RUN)
    with open_dict(cfg):
        cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir = str(directory.parent), directory.name
        cfg.hydra.job.num, cfg.hydra.job.id = int(directory.name), directory.name
        cfg.hydra.job.name, cfg.hydra.mode = source.job, RunMode.MULTIRUN
        for node in ("sweeper", "search", "launcher"):
            cfg.pop(node, None)
    return cfg


def _mark(cfg: DictConfig, job: Job) -> None:
    """Write into the configuration which trial of which sweep this is; W&B groups the runs by it."""
    sweep = job.directory.parent.name
    with open_dict(cfg):
        cfg.trial = OmegaConf.create({"sweep": sweep, "number": job.number, "parameters": dict(job.parameters)})
        node = cfg.logger.get("wandb") if cfg.get("logger") else None
        if node is not None and "group" in node and not any(o.startswith("logger.wandb.group=") for o in job.overrides):
            node.group, node.job_type = sweep, "trial"
