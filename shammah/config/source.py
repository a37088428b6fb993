"""The text of a config.toml: read within bounds, parsed, with the line of every mistake."""

from __future__ import annotations

import stat
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from shammah.config.lines import key_lines
from shammah.errors import ConfigError

LIMIT = 1_000_000
"""Bytes: a larger file is no config.toml."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Place:
    """Where a key stands, as words for a message; looked up only when the message is written."""

    source: Source
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f" ({self.source.name} line {key_lines(self.source.text).get(self.path, 1)})"


@dataclass(frozen=True)
class Source:
    """The text of a file without its byte order mark, and the file's name."""

    text: str
    name: str

    def place(self, *path: str) -> Place:
        """Where that key stands in this text."""
        return Place(self, path)

    def parse(self) -> dict[str, Any]:
        """The document as tomli sees it.

        Raises:
            ConfigError: the text is not TOML; names line and column.
        """
        try:
            return tomli.loads(self.text)
        except tomli.TOMLDecodeError as cause:
            place = f"{self.name} line {cause.lineno}, column {cause.colno}"
            hint = "Mend that line"
            if cause.msg == "Invalid value":
                word = self.text[cause.pos :].partition("\n")[0].strip()
                truth = word.lower() in ("true", "false")
                hint = "true and false are written in small letters" if truth else "Text stands in quotes"
            raise ConfigError(f"{cause.msg} ({place})", hint=f"{hint}; the file is left as it is") from cause
        except (ValueError, RecursionError) as cause:
            place = f"{self.name} line {self._line_beyond_the_parser()}"
            raise ConfigError(
                f"Too long a number or too deep a nesting ({place})", hint="Mend or remove that line"
            ) from cause

    def _line_beyond_the_parser(self) -> int:
        """The line with which the parser's limits are passed; its errors for that name none."""
        lines = self.text.splitlines(keepends=True)
        return bisect_left(range(len(lines)), True, key=lambda last: _beyond("".join(lines[: last + 1]))) + 1


def _beyond(text: str) -> bool:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return False
    except (ValueError, RecursionError):
        return True
    return False


def read(path: Path) -> Source | None:
    """The source of a file, or None where there is no file.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8.
    """
    data = read_bytes(path)
    return None if data is None else decode(data, path.name)


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, or None where there is no file."""
    try:
        # Opening a pipe would wait for its writer, so the kind is asked first.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no plain file"
            raise ConfigError(f"{path} is {kind}", hint="Move it away; settings are kept in a text file of that name")
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise ConfigError(
            f"{path} cannot be read: {cause.strerror or cause}",
            hint="Check that the file and its folder may be read by you",
        ) from cause
    if len(data) > LIMIT:
        raise ConfigError(f"{path} is larger than 1 MB", hint="Move it away, or keep only settings in it")
    return data


def decode(data: bytes, name: str) -> Source:
    """The source in these bytes, which must be UTF-8."""
    try:
        return Source(data.removeprefix(BOM).decode("utf-8"), name)
    except UnicodeDecodeError as cause:
        line = cause.object[: cause.start].count(b"\n") + 1
        raise ConfigError(
            f"{name} is not UTF-8 ({name} line {line})", hint="Save it as UTF-8 in your editor"
        ) from cause
