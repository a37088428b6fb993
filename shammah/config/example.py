"""Writes config.example.toml from the declaration."""

from __future__ import annotations

import textwrap

from shammah.config.declaration import Setting, sections, settings
from shammah.config.text import toml_text

HEAD = """
Every setting of shammah with its default. What you do not set has its default, so copy only what you change into
your own config.toml; `shammah config path` says where it is, and `shammah config set KEY VALUE` edits it for you.
"""


def example() -> str:
    """The whole example file; loading it gives the defaults."""
    return "\n".join([_comment(" ".join(HEAD.split())), *(_section(name) for name in sections())])


def _section(name: str) -> str:
    title = _comment(str(sections()[name].__doc__))
    entries = [_entry(setting) for setting in settings() if setting.section == name]
    return "\n".join([f"[{name}]\n{title}", *entries])


def _entry(setting: Setting) -> str:
    return _comment(f"{setting.meaning}{_allowed(setting)}") + _assignment(setting)


def _assignment(setting: Setting) -> str:
    value = setting.sample or 0 if setting.default is None else setting.default
    return f"{'# ' if setting.unset else ''}{setting.name} = {toml_text(value)}\n"


def _allowed(setting: Setting) -> str:
    if setting.choices:
        return f" One of {', '.join(toml_text(choice) for choice in setting.choices)}."
    if setting.minimum is not None:
        return f" From {setting.minimum} to {setting.maximum}."
    return ""


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"
