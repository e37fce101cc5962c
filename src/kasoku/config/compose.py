"""The one door to Hydra's internals: a command's configuration is composed here, and its job run."""

import argparse
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from kasoku import home
from kasoku.config import deprecated, replaced, resolvers
from kasoku.config.checks import OF_A_SWEEP
from kasoku.config.lines import searchpath
from kasoku.faults import ConfigError, Fault

PRIMARY = "train"
BASIS = "kasoku"  # another name of kasoku's own train.yaml, for the `defaults:` of a user's that takes its place
BASE = "1.3"  # of Hydra's behaviour

Task = Callable[[DictConfig], int]


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which leaves out what was written for a class that another one replaced: see `replaced`."""

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        cfg = super().load_configuration(config_name, overrides, *args, **kwargs)
        replaced.drop(cfg, overrides)
        return cfg

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        own = [one for one in defaults if not str(one.config_path).startswith("hydra/")]
        layers = [self._layer(one, repo) for one in own]  # before they are merged, which changes what `repo` keeps
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        replaced.drop_of_files(cfg, layers)
        return cfg

    def _layer(self, default: ResultDefault, repo: IConfigRepository) -> replaced.Layer:
        values = self._load_single_config(default, repo).config
        return replaced.Layer(str(default.config_path), str(default.parent), replaced.mappings(values))


class Command:
    """A command line as Hydra reads it, and what composes its configuration from `conf_dir` and the folders it names.

    `rest` holds the words that are neither flags of Hydra's nor overrides, `argv` is what Hydra may read. `typed` are
    the overrides that were typed, where the command has others besides, as of a run that is resumed.
    """

    def __init__(self, argv: Sequence[str], conf_dir: Path | str, typed: Sequence[str] | None = None):
        self.typed: tuple[str, ...] = tuple(word for word in (argv if typed is None else typed) if word[:1] != "-")
        self.args, self.rest = get_args_parser().parse_known_intermixed_args(replaced.adding(argv))
        self.conf_dir = Path(conf_dir).resolve()
        self.name = self.args.config_name or PRIMARY
        self.lines: list[str] = self.args.overrides
        self.argv = _flags_first(replaced.adding(argv), self.lines)
        self.is_sweep = is_sweep(argv)
        self.shows_only = bool(self.args.cfg or self.args.info or self.args.hydra_help or self.args.shell_completion)
        self._loader: Loader | None = None

    @property
    def loader(self) -> Loader:
        if self._loader is None:
            self._loader = _loader(self.args, self.conf_dir)
        return self._loader

    def runs(self, cfg: DictConfig) -> bool:
        """True if it is one run: not a sweep, and nothing that is shown alone."""
        return not (self.is_sweep or self.shows_only) and cfg.hydra.mode in (None, RunMode.RUN)

    def load(self, lines: Sequence[str]) -> DictConfig:
        """The configuration of the overrides `lines`, with Hydra's own node.

        Raises:
            hydra.errors.HydraException: they do not compose.
        """
        mode = RunMode.MULTIRUN if self.is_sweep else RunMode.RUN
        return self.loader.load_configuration(self.name, list(lines), mode, validate_sweep_overrides=False)

    def groups(self) -> "Groups":
        """The groups there are, those of `hydra.searchpath` included."""
        search = searchpath(self.lines)
        return Groups(self.loader._parse_overrides_and_create_caching_repo(self.name, search)[1])


class Groups:
    """The groups of a configuration and their options."""

    def __init__(self, repository: IConfigRepository):
        self._repository = repository

    def __contains__(self, name: str) -> bool:
        return self._repository.group_exists(name)

    def inside(self, parent: str = "") -> list[str]:
        """The names of the groups below `parent`, but Hydra's own."""
        names = sorted(self._repository.get_group_options(parent, ObjectType.GROUP))
        return [name for name in names if parent or name != "hydra"]

    def options(self, group: str) -> list[str]:
        return sorted(self._repository.get_group_options(group, ObjectType.CONFIG))


def apply(override: Override, cfg: DictConfig) -> None:
    """Set in `cfg` what `override` says.

    Raises:
        hydra.errors.HydraException: it cannot be set.
    """
    ConfigLoaderImpl._apply_overrides_to_config([override], cfg)


def note_overrides(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    """Write into Hydra's own node of `cfg` which `overrides` it is composed of, as Hydra does that applies them all."""
    task = [override for override in overrides if not override.is_hydra_override()]
    own = [override for override in overrides if override.is_hydra_override()]
    config = cfg.hydra.job.config.override_dirname
    with open_dict(cfg.hydra):
        cfg.hydra.overrides.task = [override.input_line for override in task]
        cfg.hydra.overrides.hydra = [override.input_line for override in own]
        dirname = get_overrides_dirname(
            task, kv_sep=config.kv_sep, item_sep=config.item_sep, exclude_keys=config.exclude_keys
        )
        cfg.hydra.job.override_dirname = dirname.replace("${", "{")  # a name, nothing to be resolved


def settle_directory(cfg: DictConfig) -> None:
    """Decide on a run's directory now, so that what refers to it can be judged: Hydra does it once it makes it."""
    with suppress(OmegaConfBaseException), read_write(cfg.hydra):
        cfg.hydra.run.dir = str(cfg.hydra.run.dir)
        cfg.hydra.runtime.output_dir = str(Path(cfg.hydra.run.dir).absolute())


def foreign_packages(command: Command) -> list[str]:
    """Packages in hydra.searchpath that were not typed: Hydra imports them to look for configurations."""
    given = [line.partition("=")[2] for line in searchpath(command.lines) if line not in command.typed]
    folders = [folder for folder in (command.args.config_dir, command.args.config_path, command.conf_dir) if folder]
    for file in (Path(folder, f"{command.name}.yaml") for folder in folders):
        if file.is_file():
            given.append(str(OmegaConf.select(OmegaConf.load(file), "hydra.searchpath")))
    return [text for text in given if "pkg://" in text]


def parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of the command `argv`, each with its value, and its overrides, wherever they stand."""
    args, rest = get_args_parser().parse_known_args(argv)
    overrides = [*args.overrides, *(word for word in rest if not word.startswith("-"))]
    left, flags = Counter(overrides), list[str]()
    for word in reversed(argv):  # a flag's value stands before an override that reads the same
        if left[word]:
            left[word] -= 1
        else:
            flags.insert(0, word)
    return flags, overrides


def is_sweep(argv: Sequence[str]) -> bool:
    """True if the command `argv` is for many runs."""
    args, _ = get_args_parser().parse_known_args(argv)
    return args.multirun or "hydra.mode=MULTIRUN" in args.overrides


@contextmanager
def as_current(cfg: DictConfig) -> Iterator[None]:
    """`cfg` as what ${hydra:...} reads."""
    current = HydraConfig.instance()
    before = current.cfg
    current.set_config(cfg)
    try:
        yield
    finally:
        current.cfg = before


def run(command: Command, cfg: DictConfig, task: Task) -> int:
    """Run `task` on `cfg` as Hydra runs a job: in its output directory, with its logging; what `task` returns."""
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    _forget_copies(cfg)
    _make_folder("hydra.run.dir", cfg.hydra.run.dir)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=command.name)
    done = run_job(task, cfg, "hydra.run.dir", None, HydraContext(command.loader, callbacks))
    callbacks.on_run_end(config=cfg, config_name=command.name, job_return=done)
    return done.return_value


def leave_to_hydra(command: Command, task: Task, trusted: Sequence[str]) -> int:
    """Let Hydra sweep, or show the configuration; the least exit code of the jobs.

    The sweeper has what the command trusts, and what was typed, from the function that it is to run.
    """
    codes: list[int] = []

    def note(cfg: DictConfig) -> None:
        codes.append(task(cfg))

    note.trusted, note.typed = tuple(trusted), command.typed  # type: ignore[attr-defined]
    hydra._internal.hydra.ConfigLoaderImpl = Loader  # type: ignore[misc]  # what the sweeper has and --cfg shows
    hydra.main(version_base=BASE, config_path=str(command.conf_dir), config_name=PRIMARY)(note)()
    return 0 if 0 in codes else max(codes, default=0)


@dataclass(frozen=True)
class Source:
    """The ingredients of a trial's configuration, which is composed as Hydra composes that of the command.

    `trusted` and the overrides `typed` are those of the command.
    """

    loader: ConfigLoader
    name: str
    job: str
    hydra_overrides: tuple[str, ...]
    trusted: tuple[str, ...]
    typed: tuple[str, ...]


def of_trial(source: Source, overrides: Sequence[str], directory: Path) -> DictConfig:
    """The configuration of a trial in `directory`, as that of a single run with its `overrides`.

    Raises:
        hydra.errors.HydraException: it does not compose.
    """
    version.setbase(BASE)
    setup_globals()
    resolvers.register()
    accept_old_keys()
    offer_basis()
    cfg = source.loader.load_configuration(source.name, [*source.hydra_overrides, *overrides], RunMode.RUN)
    with open_dict(cfg):
        cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir = str(directory.parent), directory.name
        cfg.hydra.job.num, cfg.hydra.job.id = int(directory.name), directory.name
        cfg.hydra.job.name, cfg.hydra.mode = source.job, RunMode.MULTIRUN
        cfg.hydra.runtime.output_dir = str(directory)
        for key in OF_A_SWEEP:
            above, _, name = key.rpartition(".")
            if isinstance(node := OmegaConf.select(cfg, above) if above else cfg, DictConfig):
                node.pop(name, None)
    return cfg


def run_trial(source: Source, cfg: DictConfig, task: Task) -> int:
    """Run `task` on the configuration of a trial; what it returns, or raises."""
    _forget_copies(cfg)
    context = HydraContext(source.loader, Callbacks(cfg))
    done = run_job(task, cfg, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    if isinstance(done._return_value, Exception):
        raise done._return_value
    return int(done._return_value)


def _flags_first(argv: Sequence[str], lines: Sequence[str]) -> list[str]:
    """`argv` as Hydra wants it, which does not read the overrides `lines` where flags stand between them."""
    flags = list(argv)
    for line in lines:
        flags.remove(line)
    return [*flags, *lines]


def _make_folder(key: str, name: str) -> None:
    """Raises ConfigError where the folder of a run cannot be made; Hydra makes it without a word about the key."""
    if not name:
        raise ConfigError(Fault(key, "", "must be the name of a folder"))
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(Fault(key, name, f"cannot be made: {error.strerror}", "choose another")) from None


def _forget_copies(cfg: DictConfig) -> None:
    """Drop the values of the environment that hydra.job.env_copy put into the configuration: they are there anyway."""
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        for key in cfg.hydra.job.env_copy:
            cfg.hydra.job.env_set.pop(key, None)


def accept_old_keys() -> None:
    """Let Hydra read files in which a key has the name that it had: see `kasoku.config.deprecated`."""
    if not deprecated.TABLE:
        return
    Plugins.instance()  # which imports the sources
    source: Any = SourcesRegistry.instance().resolve("file")
    plain = source.load_config
    if getattr(plain, "renames", False):
        return

    @functools.wraps(plain)
    def load_config(self: Any, config_path: str) -> Any:
        found = plain(self, config_path)
        group = config_path.rpartition("/")[0].replace("/", ".")
        package = {"_global_": "", "_group_": group, None: group}.get(said := found.header.get("package"), said)
        if isinstance(found.config, DictConfig):
            deprecated.move(found.config, package or "", str(Path(self.path, config_path)))
        return found

    load_config.renames = True  # type: ignore[attr-defined]
    source.load_config = load_config


def offer_basis() -> None:
    """Let a train.yaml of the user's begin with `defaults: [kasoku, ...]`, which is what kasoku's own says."""
    ConfigStore.instance().store(BASIS, OmegaConf.load(home.conf_dir() / f"{PRIMARY}.yaml"), provider=BASIS)


def _loader(args: argparse.Namespace, conf_dir: Path) -> ConfigLoaderImpl:
    version.setbase(BASE)
    setup_globals()
    accept_old_keys()
    if args.config_path or conf_dir.resolve() != home.conf_dir().resolve():
        offer_basis()
    path = args.config_path or str(conf_dir)
    search_path = create_config_search_path(path if "://" in path else str(conf_dir.parent / path))
    if args.config_dir:
        folder = Path(args.config_dir).absolute()
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return Loader(search_path)
