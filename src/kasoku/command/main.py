"""The command: kasoku optimizer=nesterov scheduler=step warmup=linear

--help lists what can be chosen. Exit codes: 0 done, 2 wrong configuration, 3 diverged, 130 and 143 interrupted with a
checkpoint saved, 1 anything else.
"""

import importlib
import importlib.metadata
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

STARTED = time.time()

# Threads that spin while they wait make a small net 8 times slower where another process wants the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions to us: see answer()
sys.excepthook = lambda kind, *rest: None if issubclass(kind, KeyboardInterrupt) else sys.__excepthook__(kind, *rest)
logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, must not fill the screen

from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402

from kasoku import home, signals, tracebacks  # noqa: E402
from kasoku.command import requeue  # noqa: E402
from kasoku.config import (  # noqa: E402
    compose,
    deprecated,
    diagnose,
    directory,
    exporting,
    overrides,
    project,
    ranges,
    resolvers,
    resuming,
    trust,
    usage,
)
from kasoku.config.compose import Command  # noqa: E402
from kasoku.config.lines import as_typed  # noqa: E402
from kasoku.faults import MISSING, ConfigError, Fault, closest, masked  # noqa: E402
from kasoku.files import CannotWrite  # noqa: E402

SUBCOMMANDS = {
    "report": "kasoku.report.__main__",
    "dashboard": "kasoku.report.dashboard",
    "new": "kasoku.command.new",
    "schema": "kasoku.command.schema",
}


def main() -> int:
    """Do what sys.argv says; the exit code."""
    with signals.deadly():
        return _main()


def _main() -> int:
    resolvers.register()
    if sys.argv[1:] == ["--version"]:
        print(f"kasoku {importlib.metadata.version('kasoku')}")
        return 0
    if sys.argv[1:] and sys.argv[1] in SUBCOMMANDS:
        return answer(lambda: importlib.import_module(SUBCOMMANDS[sys.argv[1]]).main(sys.argv[2:]))
    word = next(iter(sys.argv[1:]), "-")
    if fault := _unknown_command(word):
        print(ConfigError(fault), file=sys.stderr)
        return 2
    try:
        project.enter()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    trust.open_present_folder()
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and home.RANK_OF in os.environ:
        return answer(lambda: further_rank(Path(os.environ[home.RANK_OF])))
    return answer(compose_and_run)


def _unknown_command(word: str) -> Fault | None:
    """The fault of a first word that is most like one of the subcommands."""
    if word.startswith("-") or "=" in word or word in get_args(ranges.Mode):
        return None
    meant = closest(word, SUBCOMMANDS)
    return Fault(word, MISSING, "is no command", f"did you mean {meant}?") if meant else None


def compose_and_run() -> int:
    """Compose and judge the command's configuration, once, and run it; a sweep and what only shows go to Hydra."""
    conf_dir = home.conf_dir()
    trusted = trust.trusted(conf_dir)
    typed = deprecated.lines([*sys.argv[1:], *requeue.words(sys.argv[1:])])
    argv, said = exporting.with_overrides_of_run(resuming.with_stored_overrides(typed), typed)
    command = Command(overrides.opened(deprecated.lines(argv, stored=True)), conf_dir, said)
    sys.argv[1:] = command.argv  # what Hydra reads, and is explained where Hydra refuses it
    if command.args.help:
        print(usage.text(command))
        return 0

    def task(cfg: DictConfig) -> int:
        return answer(lambda: run(cfg, trusted))

    if command.args.shell_completion:  # its words are no overrides
        return compose.leave_to_hydra(command, task, trusted)
    cfg = diagnose.composed(command, trusted)
    return compose.run(command, cfg, task) if command.runs(cfg) else compose.leave_to_hydra(command, task, trusted)


def run(cfg: DictConfig, trusted: tuple[str, ...]) -> int:
    """One run, in the directory that Hydra made for it."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    lines = [line for line in as_typed(hydra.overrides.task) if not line.startswith("resume=")]
    os.environ[home.RANK_OF] = str(folder)
    try:
        with signals.raising():
            from kasoku.command import modes  # torch is imported here, not earlier

            code = modes.run(cfg, modes.Origin(folder, lines, trusted, STARTED))
    except (ConfigError, signals.Stopped):
        _close_log(folder)
        directory.give_back(folder)
        raise
    requeue.after(code, folder)
    return code


def _close_log(folder: Path) -> None:
    """Nobody, as torch at its exit, is to write into the train.log of a directory that is given back."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder:
            root.removeHandler(handler)
            handler.close()


def further_rank(folder: Path) -> int:
    """A rank above 0: the same run, from the configuration that rank 0 wrote."""
    from kasoku.command import modes

    logging.getLogger().addHandler(logging.FileHandler(folder / "train.log", delay=True))
    written = directory.of_this_start(folder)
    cfg: Any = OmegaConf.load(written)
    lines = directory.read_overrides(written)
    return modes.run(cfg, modes.Origin(folder, lines, trust.trusted(home.conf_dir()), STARTED, modes.followers()))


def answer(work: Callable[[], int]) -> int:
    """The exit code of `work`. A wrong configuration is said in a few lines, another failure with the user's frames."""
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except signals.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signum
    except BrokenPipeError:  # whoever read our output has seen enough: kasoku --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigError as error:
        print(error, file=sys.stderr)
        if error.__cause__:
            print(masked(tracebacks.shown(error.__cause__)), file=sys.stderr, end="")
            keep_whole()
        return 2
    except CannotWrite as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        if explained := diagnose.explain(error, sys.argv[1:], home.conf_dir()):
            print(explained, file=sys.stderr)
            return 2
        if path := keep_whole():
            logging.getLogger("kasoku").error("failed; the whole traceback is in %s", path)
            print(masked(tracebacks.brief(error)), file=sys.stderr)
        else:
            print(masked(traceback.format_exc()), file=sys.stderr)
        return 1


def keep_whole() -> str:
    """Write the traceback of the present exception into train.log alone; its path, or nothing where there is none."""
    logger = logging.getLogger("kasoku")
    whole = f"failed\n{masked(traceback.format_exc())}"
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "%s", (whole,), None)
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    files = [handler for handler in handlers if Path(handler.baseFilename).parent.is_dir()]  # a refused run has none
    for file in files:
        file.handle(record)
    return home.shown(Path(files[0].baseFilename)) if files else ""
