"""Workers elsewhere: each runs the sweep's own command and joins its study.

A worker needs what the command needs, this package and the sweep's storage, and nothing from the launcher but a start.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasoku import home
from kasoku.faults import ConfigError, Fault
from kasoku.signatures import check_call


@dataclass(frozen=True)
class Fleet:
    """Workers that were launched: how many are left, how those ended that did not end well, and how to end them."""

    alive: Callable[[], int]
    lost: Callable[[], list[str]]
    cancel: Callable[[], None]


@dataclass(frozen=True)
class Work:
    """`count` workers with `command`; what the launcher writes goes to `directory`."""

    command: list[str]
    count: int
    token: str
    directory: Path


def launch(node: Mapping[str, Any], command: Sequence[str], count: int, token: str, directory: Path) -> Fleet | None:
    """Start `count` workers with `command` by the launcher that `node` describes; None for local, which needs none.

    Raises:
        ConfigError: there is no such launcher, its package is not installed, or it does not take these settings.
    """
    launchers: dict[Any, Callable[..., Fleet]] = {"slurm": _slurm, "ray": _ray}
    kind, settings = node.get("kind"), {key: value for key, value in node.items() if key != "kind"}
    if kind == "local":
        return None
    if kind not in launchers:
        raise ConfigError(Fault("launcher.kind", kind, "must be one of local slurm ray"))
    if faults := check_call(launchers[kind], settings, "launcher."):
        raise ConfigError(*faults)
    try:
        return launchers[kind](Work(list(command), count, token, directory), **settings)
    except ImportError as error:
        fix = f"pip install 'kasoku[{kind}]'"
        raise ConfigError(Fault("launcher", kind, f"needs the package {error.name}", fix)) from None


def _slurm(work: Work, *, cluster: str | None, parameters: dict[str, Any]) -> Fleet:
    """Jobs of SLURM; with cluster=local, processes of this machine that submitit treats alike."""
    import submitit

    executor = submitit.AutoExecutor(folder=work.directory / "jobs", cluster=cluster)
    executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
    variables = {home.WORKER: work.token}
    jobs = [executor.submit(_work, work.command, variables, str(Path.cwd())) for _ in range(work.count)]

    def lost() -> list[str]:
        ended = [(job, job.exception()) for job in jobs if job.done()]
        return [text for job, error in ended if (text := _in_short(error) if error else job.result())]

    def cancel() -> None:
        for job in jobs:
            job.cancel()

    return Fleet(lambda: sum(not job.done() for job in jobs), lost, cancel)


def _ray(work: Work, *, address: str | None, num_cpus: float, num_gpus: float) -> Fleet:
    """Tasks of a Ray cluster; with address=null, of a Ray that is started on this machine."""
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    ray.init(address=address, include_dashboard=False, ignore_reinit_error=True, **quiet)
    # A worker whose process Ray could not start, or lost, is started again: it joins the study where that stands.
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=3)(_work)
    variables = {name: os.environ[name] for name in (home.STORAGE, home.TRUST) if name in os.environ}
    variables[home.WORKER] = work.token
    tasks = [task.remote(work.command, variables, str(Path.cwd())) for _ in range(work.count)]

    def alive() -> int:
        return len(ray.wait(tasks, num_returns=len(tasks), timeout=0)[1])

    def lost() -> list[str]:
        found = []
        for task in ray.wait(tasks, num_returns=len(tasks), timeout=0)[0]:
            try:
                found.append(ray.get(task))
            except ray.exceptions.RayError as error:
                found.append(_in_short(error))
        return [text for text in found if text]

    def cancel() -> None:
        for one in tasks:
            ray.cancel(one, force=True)
        ray.shutdown()

    return Fleet(alive, lost, cancel)


def _work(command: list[str], variables: dict[str, str], folder: str) -> str:
    """A worker on the machine that was chosen for it, whose environment holds; how it ended, "" for well."""
    last = ""
    with subprocess.Popen(command, env=os.environ | variables, cwd=folder, stderr=subprocess.PIPE, text=True) as worker:
        for line in worker.stderr or ():
            sys.stderr.write(line)
            last = line.strip() or last
    return f"exit code {worker.returncode}: {last}" if worker.returncode else ""


def _in_short(error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), "without a word")
    return f"{type(error).__name__}: {first}"


def worker_command(flags: Sequence[str], overrides: Sequence[str], own: Sequence[str]) -> list[str]:
    """The sweep's command for one worker: its own settings `own` come last and win."""
    return [*home.command(), "-m", *flags, *overrides, *own]
