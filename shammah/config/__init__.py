"""The settings of config.toml: declared once, read with the reason for every mistake, edited without loss."""

from shammah.config.declaration import (
    Chat,
    Cloud,
    Config,
    Generation,
    Local,
    Routing,
    Setting,
    Value,
    sections,
    settings,
)
from shammah.config.edit import set_value, set_values
from shammah.config.example import example
from shammah.config.load import load
from shammah.config.text import toml_text
from shammah.config.values import find, parse_value, value_of, with_value

__all__ = [
    "Chat",
    "Cloud",
    "Config",
    "Generation",
    "Local",
    "Routing",
    "Setting",
    "Value",
    "example",
    "find",
    "load",
    "parse_value",
    "sections",
    "set_value",
    "set_values",
    "settings",
    "toml_text",
    "value_of",
    "with_value",
]
