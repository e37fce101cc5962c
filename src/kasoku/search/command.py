"""The run of a sweep that was ordered: its directory, its study, its loop, and what is said at the end."""

import hashlib
import json
import os
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from kasoku.config.plain import plain
from kasoku.faults import ConfigError, Fault
from kasoku.search import children, record
from kasoku.search.job import Source
from kasoku.search.launchers import VARIABLE, Fleet, launch, worker_command
from kasoku.search.loop import Loop, Plan
from kasoku.search.objective import Objective
from kasoku.search.samplers import make_pruner, make_sampler, method_of
from kasoku.search.screen import Screen, table
from kasoku.search.study import Book, open_book, open_storage, open_study, without_password
from kasoku.search.sweep import Order, flags, root

JOURNAL = "study.journal"
SHOWN = 10  # rows of the last table


def run(order: Order) -> int:
    """Run the sweep in this process; its exit code."""
    settings = order.settings
    method = method_of(settings, order.space)
    directory = Path(order.cfg.hydra.sweep.dir).absolute()
    address = settings.storage or str(directory / JOURNAL)
    shown = asdict(settings) | {"storage": without_password(address)}
    sheet = record.Sheet(directory, _writable(order), shown, order.objectives, VARIABLE in os.environ)
    claim(sheet, order)
    storage = open_storage(address)
    study, is_new = open_study(study_name(order), storage, order.objectives, order.identity)
    book = open_book(study, order.n_trials, order.space, order.combinations)
    several = len(order.objectives) > 1
    book.study.sampler = make_sampler(method, seed_of(settings.seed, book, is_new), order.space, several)
    book.study.pruner = make_pruner(settings.pruner)
    sheet.write(book)
    return _conduct(order, book, sheet, method)


def _launch(order: Order, book: Book, directory: Path, token: str) -> Fleet | None:
    """The workers that the launcher starts elsewhere; none for launcher=local."""
    address = order.settings.storage or directory / JOURNAL
    own = ["launcher=local", "sweeper.workers=1", f"sweeper.study={book.study.study_name}"]
    own += [f"sweeper.storage='{address}'", f"hydra.sweep.dir='{directory}'"]
    kept = [line for line in order.arguments if root(line) != "launcher" and not line.startswith("sweeper.workers=")]
    command = worker_command(flags(), [*order.hydra_overrides, *kept], own)
    return launch(plain(order.cfg.launcher)[0], command, order.settings.workers, token, directory)


def _conduct(order: Order, book: Book, sheet: record.Sheet, method: str) -> int:
    settings = order.settings
    token = os.environ.get(VARIABLE) or secrets.token_hex(4)
    fleet = _launch(order, book, sheet.directory, token)
    if fleet is None:
        children.start_imports()
    job = order.cfg.hydra.job
    plan = Plan(
        Source(order.loader, job.config_name, job.name, tuple(order.hydra_overrides), str(order.conf_dir)),
        order.fixed,
        order.objectives,
        guide_of(order),
        sheet.directory,
        0 if fleet else settings.workers,
        gpus_each(order.cfg),
        settings.timeout,
        one_space=not order.combinations,
        token=token,
    )
    with Screen(order.objectives, order.n_trials, settings.workers) as screen:
        screen.say(_opening(order, book, method))
        screen.skip(book)
        loop = Loop(book, plan, sheet, screen, fleet)
        loop.run()
    return _close(order, book, sheet, loop)


def _opening(order: Order, book: Book, method: str) -> str:
    done = len(book.finished())
    chosen = f"{method}, chosen by bayes" if order.settings.method == "bayes" else method
    goal = " and ".join(f"{objective.metric} {objective.mode}" for objective in order.objectives)
    parts = [f"{order.n_trials} trials", f"{done} are done" if done else "", chosen, goal]
    pruner = order.settings.pruner
    parts += [f"pruner {pruner}" if pruner != "none" else "", f"workers {order.settings.workers}"]
    return "sweep: " + ", ".join(part for part in parts if part)


def _close(order: Order, book: Book, sheet: record.Sheet, loop: Loop) -> int:
    """Say what came of it; the exit code."""
    out = Console(width=None if sys.stdout.isatty() else 160)
    if rows := table(book, order.objectives, SHOWN):
        out.print(rows, highlight=False)
    say = lambda text: out.print(text, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
    states = record.tally(book)
    say(
        f"{sum(states.values())} of {order.n_trials} trials: "
        + ", ".join(f"{n} {state}" for state, n in states.items())
    )
    if shares := record.importance(book):
        say("importance: " + "  ".join(f"{name} {share:.2f}" for name, share in shares.items()))
    for trial in record.best(book)[:SHOWN]:
        say(f"best, trial {trial.number}: {record.command(trial)}")
    say(f"everything lies in {sheet.directory}")
    if loop.signum or not book.is_complete:
        say(f"go on with: python train.py -m resume={sheet.directory}")
    if loop.signum:
        return 128 + loop.signum
    if states.keys() & {"completed", "reached_target", "pruned"}:
        return 0
    if loop.refused:
        print(loop.refused[0], file=sys.stderr)
        return 2
    return 1


def claim(sheet: record.Sheet, order: Order) -> None:
    """Make the directory this sweep's, or join the one that is there if it is resumed or shares this storage.

    Raises:
        ConfigError: another sweep has it, or it cannot be written.
    """
    directory = sheet.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not (order.cfg.resume or sheet.is_worker or _shares_storage(sheet)):
            sheet.write_first()
    except FileExistsError:
        fix = f"choose another, or go on with it: -m resume={directory}"
        raise ConfigError(Fault("hydra.sweep.dir", directory, "a sweep is there already", fix)) from None
    except OSError as error:
        raise ConfigError(Fault("hydra.sweep.dir", directory, f"cannot be written: {error.strerror}")) from None


def _shares_storage(sheet: record.Sheet) -> bool:
    """Whether the sweep that is there is this one, started on another machine."""
    path = sheet.directory / record.FILE
    if not path.is_file() or str(sheet.settings["storage"]).startswith(str(sheet.directory)):
        return False
    return json.loads(path.read_text())["settings"]["storage"] == sheet.settings["storage"]


def study_name(order: Order) -> str:
    """The study's name: as given, or one that the same command has on every machine."""
    digest = hashlib.sha256("\n".join(order.identity).encode()).hexdigest()[:10]
    return order.settings.study or f"{order.cfg.task_name}-{digest}"


def seed_of(seed: int, book: Book, is_new: bool) -> int:
    """`seed` for a new study. Who joins or resumes one must not draw the points again that were drawn already."""
    if is_new:
        return seed
    states = [trial.state.name for trial in book.trials()]
    is_alone = "RUNNING" not in states and set(states) != {"WAITING"}
    text = f"{seed} {len(states) - states.count('WAITING')} {'' if is_alone else book.me}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def _writable(order: Order) -> list[str]:
    """The command's overrides without a database's password."""
    key = "sweeper.storage="
    return [
        key + without_password(line.removeprefix(key)) if line.startswith(key) else line for line in order.arguments
    ]


def guide_of(order: Order) -> Objective | None:
    """What trials are compared by while they run: the objective, or the target's metric where it is a time or cost."""
    if len(order.objectives) > 1:
        return None
    [objective], target = order.objectives, order.cfg.target
    return objective if objective.is_evaluated else Objective(target.metric, target.mode)


def gpus_each(cfg: DictConfig) -> int:
    """GPUs of a trial: as many as trainer.devices says, or one."""
    devices = cfg.trainer.get("devices")
    return devices if isinstance(devices, int) and devices > 0 else len(devices) if isinstance(devices, list) else 1
