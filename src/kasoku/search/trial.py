"""One trial, in a process of its own: a fork of one that has done the imports."""

import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from kasoku import home
from kasoku.command import modes
from kasoku.config import compose, diagnose
from kasoku.config.compose import Source
from kasoku.faults import ConfigError, masked
from kasoku.search.job import Job
from kasoku.signals import Stopped, raising
from kasoku.training.reporter import Reporter


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
    except Stopped as stopped:
        code, reason = 128 + stopped.signum, str(stopped)
    except BaseException as error:
        print(masked(traceback.format_exc()), file=sys.stderr)
        reason = masked(f"{type(error).__name__}: {error}")
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
    sys.argv[1:] = home.folder_flags(sys.argv[1:])
    os.environ[home.RANK_OF] = str(job.directory)
    os.environ[home.TRIAL] = str(job.number)
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    os.environ["TMPDIR"] = tempfile.tempdir = str(job.scratch)
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
        _mark(cfg, job)
        reporter = Reporter(job.metrics, report)
        return modes.run(cfg, modes.Origin(job.directory, job.overrides, source.trusted, started, [reporter]))

    with raising():
        return _composed_and_run(job, source, task)


def _composed_and_run(job: Job, source: Source, task: compose.Task) -> int:
    cfg = compose.of_trial(source, job.overrides, job.directory)
    if faults := diagnose.faults_of_trial(cfg, source.trusted, source.typed):
        raise ConfigError(*faults)
    return compose.run_trial(source, cfg, task)


def _mark(cfg: DictConfig, job: Job) -> None:
    """Write into the configuration which trial of which sweep this is; W&B groups the runs by it."""
    sweep = job.directory.parent.name
    with open_dict(cfg):
        cfg.trial = OmegaConf.create({"sweep": sweep, "number": job.number, "parameters": dict(job.parameters)})
        node = cfg.logger.get("wandb") if cfg.get("logger") else None
        if node is not None and "group" in node and not any(o.startswith("logger.wandb.group=") for o in job.overrides):
            node.group, node.job_type = sweep, str(job.parameters.get("phase", "trial"))
