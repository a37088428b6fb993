"""What a mistyped name was probably meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shammah.config.declaration import sections, settings
from shammah.config.text import toml_text
from shammah.errors import ConfigError

LONGEST = 60
"""Characters: nothing longer is a slip of the fingers, and comparing it would take long."""


def unknown(path: Sequence[str], where: object = "") -> ConfigError:
    """The error for a key that does not exist; `where` names file and line."""
    near = nearest_setting(".".join(path))
    hint = f"Did you mean {near}?" if near else "/set or shammah config show lists every setting"
    return ConfigError(f"There is no setting {dotted(path)}{where}", hint=hint)


def unknown_section(name: str, where: object) -> ConfigError:
    """The error for a table that does not exist."""
    near = nearest(name.lower(), sections(), cutoff=0.5)
    hint = f"Did you mean [{near}]?" if near else f"The sections are {', '.join(sections())}"
    return ConfigError(f"There is no section {dotted([name])}{where}", hint=hint)


def nearest_setting(key: str) -> str:
    """The setting that `key` begins, names in the wrong section, or resembles; or nothing."""
    key = key.lower().replace("-", "_")
    keys = [setting.key for setting in settings()]
    name = key.rpartition(".")[2]
    same_name = [other for other in keys if other.endswith(f".{name}")]
    begun = [other for other in keys if len(name) > 2 and other.startswith(key)]
    near_name = nearest(name, [setting.name for setting in settings()], cutoff=0.7)
    alike = [other for other in keys if near_name and other.endswith(f".{near_name}")]
    return (
        nearest(key, same_name or begun, cutoff=0.0)
        or nearest(key, keys, cutoff=0.75)
        or nearest(key, alike, cutoff=0.0)
    )


def nearest(word: str, candidates: Iterable[str], cutoff: float) -> str:
    """The candidate most like `word`, or nothing."""
    # Only a mistake needs it, and a start without one should not pay for it.
    from difflib import get_close_matches

    found = get_close_matches(word, list(candidates), n=1, cutoff=cutoff) if len(word) <= LONGEST else []
    return found[0] if found else ""


def dotted(path: Sequence[str]) -> str:
    """A key as TOML writes it, on one line and not too long."""
    parts = [part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else toml_text(part) for part in path]
    key = ".".join(parts)
    return key if len(key) <= LONGEST else f"{key[:LONGEST]}…"
