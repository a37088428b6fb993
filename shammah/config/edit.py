"""Changes single settings in config.toml and leaves every other character of it alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from shammah.config.declaration import Config, Value, sections
from shammah.config.load import typed
from shammah.config.save import replace, sole_writer
from shammah.config.source import BOM, Source, decode, read_bytes
from shammah.config.values import accept, find, parse_value, with_value
from shammah.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

Changes = Mapping[str, Value | None]
"""New values by key; None removes the key, so that its default holds."""


def set_value(path: Path, key: str, text: str) -> Config:
    """Change one setting to the value a person typed; "unset" and "default" remove it."""
    return set_values(path, {key: parse_value(key, text)})


def set_values(path: Path, changes: Changes) -> Config:
    """Change settings in the file, all or none, and return what it now says, but for sections that no setting lies in.

    Raises:
        ConfigError: a key or value is wrong, or the file is broken or cannot be written; it is left as it was.
    """
    checked = {key: _checked(key, value) for key, value in changes.items()}
    # A link is followed, so that a file kept elsewhere is changed there and the link stays.
    target = Path(os.path.realpath(path))
    with sole_writer(target):
        old = read_bytes(target) or b""
        source = decode(old, path.name)
        config = _after(source, checked)
        new = _encoded(_edited(source, checked), old)
        if new != old:
            replace(target, new)
    return config


def _checked(key: str, value: Value | None) -> Value | None:
    setting = find(key)
    return None if value is None else accept(setting, value)


def _after(source: Source, changes: Changes) -> Config:
    """The settings after the change; what is not changed must be right as it stands."""
    known = {name: table for name, table in source.parse().items() if name in sections() or not isinstance(table, dict)}
    config = typed(_without(known, changes), source)
    for key, value in changes.items():
        config = with_value(config, key, value)
    return config


def _edited(source: Source, changes: Changes) -> str:
    """The text with the changes in it, with the line ends it had."""
    # It takes longer to import than the rest of a start, and only an edit needs it.
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    windows = source.text.count("\r\n") == source.text.count("\n")
    text = source.text.replace("\r\n", "\n") if windows else source.text
    try:
        document = tomlkit.parse(text)
        for key, value in changes.items():
            _change(document, key, value)
        edited = document.as_string()
    except (TOMLKitError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
        raise _cannot_edit(source) from cause
    edited = edited.replace("\n", "\r\n") if windows and source.text.count("\n") else edited
    if not _same_but_for(source.text, edited, changes):
        raise _cannot_edit(source)
    return edited


def _change(document: TOMLDocument, key: str, value: Value | None) -> None:
    section, _, name = key.partition(".")
    table: Any = document.get(section)
    if value is None:
        if table is not None:
            table.pop(name, None)
    elif table is None:
        _add_section(document, section, {name: value})
    elif name in table:
        table[name] = value
    else:
        _add(table, name, value)


def _add_section(document: TOMLDocument, section: str, values: dict[str, Value]) -> None:
    import tomlkit

    # The first new line may only end a last line that had none.
    for _ in range(2):
        if document.as_string() and not document.as_string().endswith("\n\n"):
            document.add(tomlkit.nl())
    document[section] = values


def _add(table: Any, name: str, value: Value) -> None:
    """Add a key to a table, above the comments at its end that belong to what follows it."""
    from tomlkit.items import Table, Whitespace

    body = table.value.body if isinstance(table, Table) else []
    end = len(body)
    while end and body[end - 1][0] is None:
        end -= 1
    blank = next((at for at in range(end, len(body)) if isinstance(body[at][1], Whitespace)), len(body))
    below = body[blank:]
    del body[blank:]
    table[name] = value
    body.extend(below)


def _same_but_for(old: str, new: str, changes: Changes) -> bool:
    """Whether both texts say the same but for these keys, and the new one has them as wanted."""
    # Floats are compared as written, since NaN equals nothing.
    before = _without(tomli.loads(old, parse_float=str), changes)
    after = _without(tomli.loads(new, parse_float=str), changes)
    document = tomli.loads(new)
    now = {key: document.get(find(key).section, {}).get(find(key).name) for key in changes}
    return before == after and now == changes


def _without(document: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The document without these keys, and without a section that is empty then."""
    left: dict[str, Any] = {}
    for section, table in document.items():
        if isinstance(table, dict):
            table = {name: value for name, value in table.items() if f"{section}.{name}" not in changes}
        if table != {} or section not in sections():
            left[section] = table
    return left


def _cannot_edit(source: Source) -> ConfigError:
    return ConfigError(
        f"{source.name} cannot be changed here without touching more than the setting", hint="Edit the file by hand"
    )


def _encoded(text: str, old: bytes) -> bytes:
    return (BOM if old.startswith(BOM) else b"") + text.encode()
