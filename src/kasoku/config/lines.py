"""Overrides as lines of text, read and written by Hydra's grammar."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf


def as_typed(overrides: ListConfig) -> list[str]:
    """Hydra's own list of overrides, with the interpolations in them as they were typed: iterating resolves them."""
    lines: Any = OmegaConf.to_container(overrides, resolve=False)
    return lines


def searchpath(lines: Sequence[str]) -> list[str]:
    """Those of the overrides that say where more configuration lies."""
    return [line for line in lines if line.lstrip("+").startswith("hydra.searchpath=")]


def text_of(line: str) -> str | None:
    """The text that an override gives its key, whatever quotes stand around it; None for null.

    A name of a file or folder that is there needs no quotes.
    """
    text = line.partition("=")[2]
    if Path(text).exists():
        return text
    try:
        override = OverridesParser.create().parse_override(line)
    except HydraException:
        return text
    value = text if override.is_sweep_override() else override.value()
    return None if value is None else str(value)


def override_of(key: str, text: str) -> str:
    """An override that gives `key` this very text, in quotes where Hydra would read something else without."""
    line = f"{key}={text}"
    try:
        override = OverridesParser.create().parse_override(line)
        if not override.is_sweep_override() and override.value() == text:
            return line
    except HydraException:
        pass
    return f"{key}={QuotedString(text, Quote.single).with_quotes()}"
