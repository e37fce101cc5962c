"""What `python train.py --help` prints. Hydra's own listing copies its repository for each group, most of a second."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from hydra._internal.config_repository import IConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from kasoku.config.diagnose import PRIMARY, loader_of, searchpath


def text(argv: Sequence[str], conf_dir: Path) -> str:
    """hydra.help.template of the configuration that `argv` composes, with its groups and itself filled in."""
    args = get_args_parser().parse_args(argv)
    loader, name = loader_of(args, conf_dir), args.config_name or PRIMARY
    cfg = loader.load_configuration(name, args.overrides, RunMode.RUN)
    repository = loader._parse_overrides_and_create_caching_repo(name, searchpath(args.overrides))[1]
    HydraConfig.instance().set_config(cfg)
    template = Template(cfg.hydra.help.template)
    with open_dict(cfg):
        del cfg["hydra"]
    return template.substitute(
        APP_CONFIG_GROUPS="".join(f"{group}: {', '.join(options)}\n" for group, options in _groups(repository)),
        CONFIG=OmegaConf.to_yaml(cfg, resolve=args.resolve),
    )


def _groups(repository: IConfigRepository, parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each group below `parent` but Hydra's own, with its options."""
    for name in sorted(repository.get_group_options(parent, ObjectType.GROUP)):
        group = f"{parent}/{name}".lstrip("/")
        if group != "hydra":
            if options := sorted(repository.get_group_options(group, ObjectType.CONFIG)):
                yield group, options
            yield from _groups(repository, group)
