"""resume=RUN_DIR: the command of the run that is gone on with, in front of the present one."""

from collections.abc import Sequence
from pathlib import Path

from kasoku.training.directory import overrides_of


def with_stored_overrides(argv: Sequence[str]) -> list[str]:
    """`argv`, if it has resume=DIR, with the run's own overrides before it and its directory as hydra.run.dir.

    What `argv` overrides comes later and wins, so that a resume changes on purpose what it names and nothing else.

    Raises:
        ConfigError: no run is in DIR.
    """
    given = [argument.removeprefix("resume=") for argument in argv if argument.startswith("resume=")]
    if not given or given[-1] in ("", "null") or _multirun(argv):
        return list(argv)
    directory = Path(given[-1])
    flags = [argument for argument in argv if argument.startswith("-")]
    rest = [argument for argument in argv if argument not in flags]
    return [*flags, *overrides_of(directory), *rest, f"hydra.run.dir={directory}"]


def _multirun(argv: Sequence[str]) -> bool:
    return any(argument in ("-m", "--multirun") for argument in argv)
