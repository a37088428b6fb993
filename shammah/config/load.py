"""Reads config.toml, and names key and line of whatever is wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shammah.config.declaration import Config, by_key, sections
from shammah.config.nearest import unknown, unknown_section
from shammah.config.source import Source, read
from shammah.config.text import shown
from shammah.config.values import accept
from shammah.errors import ConfigError


def load(path: Path) -> Config:
    """The settings of a file; the defaults where there is none.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds a wrong key or value.
    """
    source = read(path)
    return typed(source.parse(), source) if source else Config()


def typed(document: Mapping[str, object], source: Source) -> Config:
    """The settings of a parsed source, each checked."""
    found = {name: _section(name, table, source) for name, table in document.items()}
    return Config(**found)


def _section(section: str, table: object, source: Source) -> Any:
    declaration = sections().get(section)
    place = source.place(section)
    if not isinstance(table, dict):
        raise _no_section(section, table, place) if declaration else unknown([section], place)
    if not declaration:
        raise unknown_section(section, place)
    return declaration(**{name: _value(section, name, value, source) for name, value in table.items()})


def _value(section: str, name: str, value: object, source: Source) -> object:
    place = source.place(section, name)
    setting = by_key().get(f"{section}.{name}")
    if setting is None:
        raise unknown([section, name], place)
    return accept(setting, value, place)


def _no_section(section: str, value: object, place: object) -> ConfigError:
    return ConfigError(
        f"{section} must be a section, not {shown(value)}{place}", hint=f"Write [{section}] and its settings below it"
    )
