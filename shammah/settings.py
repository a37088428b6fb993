"""The settings of a running chat: an edit of config.toml, from here or elsewhere, counts from the next question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from shammah.config import Config, Value, load, parse_value, set_values, with_value
from shammah.config.lines import key_lines
from shammah.config.source import read

Save = Callable[[Mapping[str, Value | None]], Config]
"""Changes settings by key, all or none, None removing one; see `Settings.change`."""


class Watch:
    """Tells cheaply whether a file has changed since it was last asked about."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None

    def changed(self) -> bool:
        """Whether the file is another than at the last call, came or went; true at the first call."""
        before, self._seen = self._seen, self._signature()
        return self._seen != before

    def _signature(self) -> object:
        try:
            found = self._path.stat()
        except OSError as cause:
            return cause.errno
        # An edit in place may keep the size and the inode; ctime shows a change of the permissions too.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class Settings:
    """Holds the last good settings of a file, and over them what the command line set for this run."""

    def __init__(self, path: Path, overrides: Mapping[str, Value] | None = None) -> None:
        """Raises ConfigError where an override is no setting or a wrong value; reads nothing yet."""
        self.path = path
        self._watch = Watch(path)
        self._overrides = dict(overrides or {})
        self._config = self._overridden(Config())
        self._said: frozenset[str] = frozenset()
        """The keys that the file sets, when it was good last."""

    def current(self) -> Config:
        """The settings now, read again where the file has changed.

        Raises:
            ConfigError: the file is wrong. Told once for each change; then the last good settings hold,
                at first the defaults.
        """
        if self._watch.changed():
            self._take(load(self.path))
        return self._config

    def set(self, key: str, text: str) -> Config:
        """Change one setting in the file and here, also over the command line; "unset" and "default" remove it.

        Raises:
            ConfigError: the key, the value or the file is wrong, or cannot be written; nothing is changed.
        """
        return self.change({key: parse_value(key, text)})

    def change(self, changes: Mapping[str, Value | None]) -> Config:
        """The same for several settings at once, all or none; None removes a setting."""
        config = set_values(self.path, changes)
        for key in changes:
            self._overrides.pop(key, None)
        self._take(config)
        return self._config

    def override(self, key: str, value: Value) -> None:
        """Change a setting for this run only, as the command line does; the file stays as it is."""
        self._overrides[key] = value
        self._config = with_value(self._config, key, value)

    def says(self, key: str) -> bool:
        """Whether the file or the command line sets it, be it to its default."""
        return key in self._overrides or key in self._said

    def place(self, key: str) -> str:
        """Where the file sets it, as " (config.toml line 3)"; "" where it does not, or is not what counts."""
        section, _, name = key.partition(".")
        source = None if key in self._overrides else read(self.path)
        line = key_lines(source.text).get((section, name)) if source else None
        return f" ({self.path.name} line {line})" if line else ""

    def _take(self, config: Config) -> None:
        """Hold what the file says now."""
        source = read(self.path)
        self._said = frozenset(map(".".join, key_lines(source.text))) if source else frozenset()
        self._config = self._overridden(config)

    def _overridden(self, config: Config) -> Config:
        for key, value in self._overrides.items():
            config = with_value(config, key, value)
        return config
