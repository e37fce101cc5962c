"""mode=export checkpoint=RUN puts the stored command of that run before the present one: it says what the net is."""

import os
from collections.abc import Sequence
from pathlib import Path

from kasoku.config import compose
from kasoku.config.checks import is_of_a_sweep
from kasoku.config.directory import last_checkpoint, overrides_of
from kasoku.config.lines import override_of, text_of
from kasoku.config.overrides import key_of, root
from kasoku.faults import ConfigError, Fault

CHECKPOINT, FOLDER = "checkpoint=", "export"
NOT_THE_NETS = ("mode", "checkpoint", "resume", "export", "hydra")


def with_overrides_of_run(argv: Sequence[str], typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """`argv`, if it has mode=export and the checkpoint of a run, with that run's own overrides before it; and `typed`.

    The checkpoint may be the run's directory, which stands for its best.ckpt, or the last where none is tracked. The
    files go into its folder export/, unless the command says hydra.run.dir. A file outside of a run is left to the
    present command, which then says model and data itself. To `typed`, what the person at the command line said, the
    folder is added: it follows from the run that they named.

    Raises:
        ConfigError: a directory was given in which there is no run or no checkpoint, or the files are there already.
    """
    flags, overrides = compose.parted(argv)
    given = [text_of(line) for line in overrides if line.startswith(CHECKPOINT)]
    if "mode=export" not in overrides or not given or not given[-1] or compose.is_sweep(argv):
        return list(argv), list(typed)
    path = Path(given[-1])
    run = path if path.is_dir() else _run_of(path)
    if run is None:
        return list(argv), list(typed)
    stored = [line for line in _stored(run) if _is_the_nets(line)]
    file = override_of("checkpoint", str(_best(run) if path.is_dir() else path))
    rest = [file if line.startswith(CHECKPOINT) else line for line in overrides]
    rest = [line for line in rest if not line.startswith("hydra.run.dir=")]
    place = [line for line in overrides if line.startswith("hydra.run.dir=")]
    place = place or [override_of("hydra.run.dir", str(_free(run / FOLDER)))]
    return [*flags, *stored, *rest, *place], [*typed, *place]


def _run_of(path: Path) -> Path | None:
    """The directory of the run that the checkpoint in `path` is of."""
    folder = path.parent.parent
    return folder if path.parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def _is_the_nets(line: str) -> bool:
    return root(line).partition("/")[0] not in NOT_THE_NETS and not is_of_a_sweep(key_of(line))


def _stored(run: Path) -> list[str]:
    try:
        return overrides_of(run)
    except ConfigError as error:
        faults = (Fault("checkpoint", fault.value, fault.must, fault.fix) for fault in error.faults)
        raise ConfigError(*faults) from None


def _best(run: Path) -> Path:
    """The weights of a run that people mean: the best by its target, or the last where none are tracked."""
    best = run / "checkpoints" / "best.ckpt"
    path = best if best.is_file() else last_checkpoint(run)
    if not path.is_file():
        must = "the run there has left no checkpoint"
        raise ConfigError(Fault("checkpoint", run, must, "give the file of the weights: checkpoint=FILE"))
    return path


def _free(folder: Path) -> Path:
    if os.path.lexists(folder):
        must = "is there already"
        raise ConfigError(Fault("hydra.run.dir", folder, must, "remove it, or choose another: hydra.run.dir=FOLDER"))
    return folder
