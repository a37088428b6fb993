"""A value as TOML writes it."""

from __future__ import annotations

import json

from shammah.config.declaration import Value


def toml_text(value: Value) -> str:
    """The value as it stands in config.toml: `"auto"`, `true`, `4096`, `1.0`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def shown(value: object) -> str:
    """Any value of a TOML file in a few words, for a message."""
    match value:
        case str():
            return toml_text(value if len(value) <= 40 else f"{value[:40]}…")
        case int() if value.bit_length() > 64:
            return "so large a number"
        case bool() | int() | float():
            return toml_text(value)
        case dict():
            return "a section"
        case list():
            return "a list"
        case _:
            return "a date or time"
