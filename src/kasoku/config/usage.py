"""The text of --help. Hydra's own listing copies its repository for each group, which takes most of a second."""

from collections.abc import Iterator
from string import Template

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from kasoku.config.compose import Command, Groups


def text(command: Command) -> str:
    """hydra.help.template of the configuration that `command` composes, with its groups and itself filled in."""
    cfg = command.load(command.lines)
    HydraConfig.instance().set_config(cfg)
    template = Template(cfg.hydra.help.template)
    with open_dict(cfg):
        del cfg["hydra"]
    return template.substitute(
        APP_CONFIG_GROUPS="".join(f"{group}: {', '.join(options)}\n" for group, options in _groups(command.groups())),
        CONFIG=OmegaConf.to_yaml(cfg, resolve=command.args.resolve),
    )


def _groups(groups: Groups, parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each group below `parent`, with its options."""
    for name in groups.inside(parent):
        group = f"{parent}/{name}".lstrip("/")
        if options := groups.options(group):
            yield group, options
        yield from _groups(groups, group)
