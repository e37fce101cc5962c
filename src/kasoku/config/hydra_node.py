"""Hydra's own node of a configuration: it makes objects, opens files and sets variables before all else."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict, read_write

from kasoku.config.places import Said, covers, is_inside, leads_out, outside, resolved_later
from kasoku.config.tree import plain
from kasoku.config.trust import locate, targets
from kasoku.faults import ConfigError, Fault

OF_HYDRA = (
    "hydra._internal.core_plugins",
    "hydra.experimental.callbacks",
    "hydra_plugins",
    "colorlog.ColoredFormatter",
)
OF_LOGGING = ("Formatter", "StreamHandler", "FileHandler", "handlers.RotatingFileHandler")
SWEEPER = "hydra_plugins.kasoku.sweeper.KasokuSweeper"
LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
LOGGINGS = ("job_logging", "hydra_logging")
CALLING = (*LOGGINGS, "callbacks", "sweeper", "launcher")
ACTING = (*CALLING, "output_subdir")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
KEYS = {  # of each handler, formatter and filter: those that only say how
    "handlers": (
        *("class", "level", "formatter", "filters", "stream", "filename"),
        *("mode", "delay", "encoding", "maxBytes", "backupCount"),
    ),
    "formatters": ("class", "()", "format", "datefmt", "style", "validate", "log_colors"),
    "filters": ("name",),
}
WORDS = re.compile(r"%\(\w+\)[-#0 +]*\d*\.?\d*[a-z]|%[A-Za-z]")  # what a format stands for
# Variables that no library runs or loads anything by.
HARMLESS = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "NCCL_DEBUG",
    "NCCL_IB_DISABLE",
    "NCCL_P2P_DISABLE",
    "OMP_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
)


def faults_of_hydra(
    hydra: DictConfig, trusted: Sequence[str], said: Said = (), has_directory: bool = False
) -> list[Fault]:
    """Each fault of Hydra's node: calls that are not trusted, and files, variables and folders not `said` by hand.

    A resumed run and a trial have their directory, whatever the node says.
    """
    values, unresolved = plain(hydra)
    faults = [
        fault for fault in unresolved if fault.key.split(".")[0] in (*LOGGINGS, "callbacks", "sweeper", "launcher")
    ]
    faults = [fault for fault in faults if not fault.key.endswith(".filename")]  # in the run's directory, not made yet
    faults += [_named(fault) for fault in _uncallable(values, trusted)]
    directory = Path(str(values["runtime"].get("output_dir") or values["sweep"].get("dir") or "."))
    acting = {name: values.get(name) for name in ACTING}
    own = [
        *(Fault(key, value, "is resolved only when it is used") for key, value in resolved_later(acting)),
        *_logs(values, directory),
        *_environment(values["job"].get("env_set") or {}),
        *([] if has_directory else _directories(values)),
        *_folders(values),
        *_plugins(values, said),
    ]
    return faults + [fault for fault in map(_named, own) if not covers(said, fault.key)]


def settle(cfg: DictConfig) -> None:
    """Put in place of Hydra's acting nodes what they resolve to now: what was judged is what Hydra reads."""
    values = plain(cfg.hydra)[0]
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.job.env_set = values["job"].get("env_set") or {}
        for name in ACTING:
            if name in values:
                cfg.hydra[name] = values[name]


def _named(fault: Fault) -> Fault:
    return Fault(f"hydra.{fault.key}", fault.value, fault.must, fault.fix)


def _uncallable(values: Mapping[str, Any], trusted: Sequence[str]) -> Iterator[Fault]:
    """Hydra's callbacks, sweeper, launcher and logging are called before all else."""
    allowed = (*trusted, *OF_HYDRA, *(f"logging.{name}" for name in OF_LOGGING))
    named = [*targets(values), *targets(values, "", "()")]
    for logging in LOGGINGS:
        named += targets(values.get(logging), f"{logging}.", "class")
    for key, name in named:
        try:
            locate(key, name, allowed)
        except ConfigError as error:
            yield from error.faults


def _logs(values: Mapping[str, Any], directory: Path) -> Iterator[Fault]:
    for name in LOGGINGS:
        node = values.get(name)
        for kind, keys in KEYS.items():
            for part, settings in ((node or {}).get(kind) or {}).items():
                yield from _settings(f"{name}.{kind}.{part}", settings, keys, directory)


def _settings(key: str, settings: Any, keys: Sequence[str], directory: Path) -> Iterator[Fault]:
    for name, value in (settings if isinstance(settings, Mapping) else {}).items():
        if name not in keys:
            yield Fault(f"{key}.{name}", value, f"must be one of {' '.join(keys)}")
        elif isinstance(value, str) and re.match(r"(ext|cfg)://", value) and value not in STREAMS:
            yield Fault(f"{key}.{name}", value, f"imports code, it must be one of {' '.join(STREAMS)}")
        elif name == "filename" and not is_inside(directory, value):
            yield outside(f"{key}.{name}", value)
        elif name in ("format", "datefmt") and re.search(r"\w{2}", WORDS.sub("", str(value).replace("HYDRA", ""))):
            must = "may hold no words of its own, only what logging fills in"
            yield Fault(f"{key}.{name}", value, must, f"say so on the command line: hydra.{key}.{name}=...")


def _environment(variables: Mapping[str, Any]) -> Iterator[Fault]:
    for name, value in variables.items():
        if name not in HARMLESS:
            must = "a file may set none but " + " ".join(HARMLESS)
            yield Fault(f"job.env_set.{name}", value, must, f"export {name}=... before the command")


def _directories(values: Mapping[str, Any]) -> Iterator[Fault]:
    """The directory itself is below runs/ or sweeps/ of the present folder."""
    for name, folder in (("run", "runs"), ("sweep", "sweeps")):
        place = values[name].get("dir")
        if place is not None and not is_inside(Path(folder), place):
            yield Fault(f"{name}.dir", place, f"lies outside of {folder}/", f"say so here: hydra.{name}.dir=...")


def _folders(values: Mapping[str, Any]) -> Iterator[Fault]:
    for key, name in (("output_subdir", values.get("output_subdir")), ("sweep.subdir", values["sweep"].get("subdir"))):
        if isinstance(name, str) and leads_out(name):
            yield outside(key, name)
    if values["job"].get("chdir"):
        fix = "say so here: hydra.job.chdir=true"
        yield Fault("job.chdir", True, "files of the run's directory would count as those of the present folder", fix)


def _plugins(values: Mapping[str, Any], said: Said) -> Iterator[Fault]:
    for name, own in (("sweeper", SWEEPER), ("launcher", LAUNCHER)):
        target = (values.get(name) or {}).get("_target_")
        if target != own and f"hydra/{name}" not in said:
            yield Fault(f"{name}._target_", target, f"must be {own}", f"say so on the command line: hydra/{name}=...")
