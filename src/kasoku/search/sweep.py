"""The run of a sweep that was ordered: its directory, its study, its loop, and what is said at the end."""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from kasoku import home
from kasoku.config import environment
from kasoku.config.compose import Source
from kasoku.config.overrides import root
from kasoku.config.tree import plain
from kasoku.faults import ConfigError, Fault
from kasoku.report import page
from kasoku.search import children, record
from kasoku.search.agenda import Drawn
from kasoku.search.bracket import BracketAgenda
from kasoku.search.launchers import Fleet, launch, worker_command
from kasoku.search.loop import Loop, Plan
from kasoku.search.objective import Objective
from kasoku.search.order import Order
from kasoku.search.race import outcome, show
from kasoku.search.race.agenda import MEASURES, RaceAgenda
from kasoku.search.samplers import make_pruner, make_sampler, method_of
from kasoku.search.screen import Screen, table
from kasoku.search.study import Book, open_book, open_storage, open_study, without_password

JOURNAL = "study.journal"
SHOWN = 10  # rows of the last table


def run(order: Order, failing: Sequence[Fault] = ()) -> int:
    """Run the sweep in this process; its exit code. The trials with the faults `failing` are known to fail."""
    settings = order.settings
    method = "random" if order.race or order.bracket else method_of(settings, order.space)
    directory = Path(order.cfg.hydra.sweep.dir).absolute()
    address = settings.storage or str(directory / JOURNAL)
    shown = _as_written(order, str(directory / JOURNAL))
    sheet = record.Sheet(directory, _writable(order), shown, order.objectives, home.WORKER in os.environ)
    agenda = _agenda(order)
    if isinstance(agenda, RaceAgenda):
        sheet = replace(sheet, also=show.writer(agenda, directory, shown))
    claim(sheet, order)
    storage = open_storage(address)
    study, is_new = open_study(study_name(order), storage, order.objectives, order.identity)
    book = open_book(study, agenda)
    several = len(order.objectives) > 1
    book.study.sampler = make_sampler(method, seed_of(settings.seed, book, is_new), order.space, several)
    book.study.pruner = make_pruner(settings.pruner)
    sheet.write(book)
    for fault in failing:
        print(f"trials with this will fail: {fault}", file=sys.stderr)
    return _conduct(order, book, sheet, method)


def _agenda(order: Order) -> Drawn | RaceAgenda | BracketAgenda:
    if order.bracket:
        return BracketAgenda(order.bracket)
    return RaceAgenda(order.race) if order.race else Drawn(order.n_trials, order.space, order.combinations)


def _launch(order: Order, book: Book, directory: Path, token: str) -> Fleet | None:
    """The workers that the launcher starts elsewhere; none for launcher=local."""
    own = ["launcher=local", "sweeper.workers=1", f"sweeper.study={book.study.study_name}"]
    own += [f"hydra.sweep.dir='{directory}'"]
    if order.settings.storage:
        os.environ[home.STORAGE] = order.settings.storage
        own += [f"sweeper.storage=${{oc.env:{home.STORAGE}}}"]
    else:
        own += [f"sweeper.storage='{directory / JOURNAL}'"]
    replaced = ("sweeper.workers", "sweeper.storage")
    # A worker of a resumed sweep reads for itself what that one stored: on its command line it would count as typed.
    given = order.typed if order.cfg.resume else [*order.hydra_overrides, *order.arguments]
    kept = [line for line in given if root(line) != "launcher" and _key(line) not in replaced]
    command = worker_command(home.folder_flags(sys.argv[1:]), kept, own)
    return launch(plain(order.cfg.launcher)[0], command, order.settings.workers, token, directory)


def _conduct(order: Order, book: Book, sheet: record.Sheet, method: str) -> int:
    settings = order.settings
    token = os.environ.get(home.WORKER) or secrets.token_hex(4)
    fleet = _launch(order, book, sheet.directory, token)
    if fleet is None:
        children.start_imports()
    job = order.cfg.hydra.job
    plan = Plan(
        Source(order.loader, job.config_name, job.name, tuple(order.hydra_overrides), order.trusted, order.typed),
        order.fixed,
        order.objectives,
        guide_of(order),
        sheet.directory,
        0 if fleet else settings.workers,
        gpus_each(order.cfg),
        settings.timeout,
        one_space=not (order.combinations or order.race),
        token=token,
        measures=MEASURES if order.race else (),
    )
    race, workers = book.agenda, settings.workers
    view = show.view(race, workers) if isinstance(race, RaceAgenda) else None
    with Screen(order.objectives, order.n_trials, workers, view=view) as screen:
        screen.say(_opening(order, book, method))
        screen.skip(book)
        loop = Loop(book, plan, sheet, screen, fleet)
        loop.run()
    if isinstance(race, RaceAgenda):
        return _close_race(order, race, book, sheet, loop)
    return _close(order, book, sheet, loop)


def _opening(order: Order, book: Book, method: str) -> str:
    done = len(book.finished())
    if order.race:
        names, rules = ", ".join(s.name for s in order.race.strategies), order.race.rules
        goal = f"{rules.target.metric} {rules.goal:g}"
        said = [f"race to {goal} between {names}", f"{done} runs are done" if done else ""]
        return ", ".join(part for part in [*said, f"baseline {rules.baseline}"] if part)
    chosen = f"{method}, chosen by bayes" if order.settings.method == "bayes" else method
    if order.bracket:
        shorter = " ".join(f"{key}={length}" for key, length in order.bracket.shorter.items())
        chosen = f"bracket of {order.bracket.parameter.key}, {f'first with {shorter}' if shorter else 'all whole runs'}"
    goal = " and ".join(f"{objective.metric} {objective.mode}" for objective in order.objectives)
    most = "at most " if order.bracket else ""
    parts = [f"{most}{order.n_trials} trials", f"{done} are done" if done else "", chosen, goal]
    pruner = order.settings.pruner
    parts += [f"pruner {pruner}" if pruner != "none" else "", f"workers {order.settings.workers}"]
    return "sweep: " + ", ".join(part for part in parts if part)


def _close(order: Order, book: Book, sheet: record.Sheet, loop: Loop) -> int:
    """Say what came of it; the exit code."""
    out = _out()
    if rows := table(book, order.objectives, SHOWN):
        out.print(rows, highlight=False)
    say = partial(out.print, markup=False, highlight=False, soft_wrap=True)
    states = record.tally(book)
    say(
        f"{sum(states.values())} of {book.agenda.n_trials} trials: "
        + ", ".join(f"{n} {state}" for state, n in states.items())
    )
    if shares := record.importance(book):
        say("importance: " + "  ".join(f"{name} {share:.2f}" for name, share in shares.items()))
    for trial in record.best(book)[:SHOWN]:
        say(f"best, trial {trial.number}: {record.command(trial)}")
        if order.bracket and (warning := order.bracket.dimension.warning(*trial.params.values())):
            say(warning)
    _say_where(order, sheet, book, loop, say)
    if loop.signum:
        return 128 + loop.signum
    if states.keys() & {"completed", "reached_target", "pruned"}:
        return 0
    if loop.refused:
        print(loop.refused[0], file=sys.stderr)
        return 2
    if loop.lacking:
        fix = "validate, or choose another sweeper.metric"
        print(ConfigError(Fault("sweeper.metric", order.settings.metric, loop.lacking, fix)), file=sys.stderr)
        return 2
    return 1


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)


def _say_where(order: Order, sheet: record.Sheet, book: Book, loop: Loop, say: Callable[[str], None]) -> None:
    say(f"results are in {sheet.directory}")
    if not sheet.is_worker:
        page.leave(sheet.directory, say)
        if node := plain(order.cfg.logger)[0].get("wandb"):
            from kasoku.training import wandb_study  # with torch: only where W&B is asked for

            wandb_study.leave(sheet.directory, node, say)
    if loop.signum or not book.is_complete:
        given = [line for line in _writable(order) if _key(line) == "sweeper.storage"]
        say(f"go on with: {home.typed('-m', f'resume={sheet.directory}', *given)}")


def _close_race(order: Order, agenda: RaceAgenda, book: Book, sheet: record.Sheet, loop: Loop) -> int:
    """Say who was the sooner; the exit code."""
    say, race = partial(_out().print, markup=False, highlight=False, soft_wrap=True), agenda.plan(book.live())
    if race.is_over:
        for line in outcome.lines(race):
            say(line)
    _say_where(order, sheet, book, loop, say)
    return 128 + loop.signum if loop.signum else int(bool(race.stopped or race.pending))


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
    except OSError as error:
        if isinstance(error, FileExistsError) and directory.is_dir():
            fix = f"choose another, or go on with it: -m resume={directory}"
            raise ConfigError(Fault("hydra.sweep.dir", directory, "a sweep is there already", fix)) from None
        must = f"cannot be written: {error.strerror}"
        raise ConfigError(Fault("hydra.sweep.dir", directory, must, "choose another")) from None


def _shares_storage(sheet: record.Sheet) -> bool:
    """True if the sweep that is there is this one, started on another machine."""
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
    return [without_password(line) if _key(line) == "sweeper.storage" else line for line in order.arguments]


def _key(line: str) -> str:
    return line.lstrip("+").partition("=")[0]


def _as_written(order: Order, journal: str) -> dict[str, Any]:
    """The settings without values of the environment and a database's password; `journal` is the storage by default."""
    with environment.hidden():
        written = plain(order.cfg.sweeper)[0]
    return written | {"storage": without_password(written.get("storage") or journal)}


def guide_of(order: Order) -> Objective | None:
    """The metric that running trials are compared by: the objective, or the target's where that is a time or cost."""
    if len(order.objectives) > 1:
        return None
    [objective], target = order.objectives, order.cfg.target
    return objective if objective.is_evaluated else Objective(target.metric, target.mode)


def gpus_each(cfg: DictConfig) -> int:
    """GPUs of a trial: as many as trainer.devices says, or one."""
    devices = cfg.trainer.get("devices")
    return devices if isinstance(devices, int) and devices > 0 else len(devices) if isinstance(devices, list) else 1
