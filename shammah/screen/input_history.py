"""What was typed at the prompt, over all runs: a JSON string a line, for the owner only, safe with several chats."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History

from shammah.config.save import replace, sole_writer
from shammah.errors import ConfigError
from shammah.files import open_private

KEPT = 2_000
"""Entries that are offered; the file is cut to them when it holds twice as many."""


class InputHistory(History):
    """The input history of prompt_toolkit over a file that several chats append to.

    One chat at a time appends to it or cuts it, so entries of two chats never mix, and none is cut that just came.
    """

    def __init__(self, path: Path | None) -> None:
        """Without a path nothing is kept beyond this run."""
        super().__init__()
        self._path = path
        self._trouble: str | None = None

    def take_trouble(self) -> str | None:
        """What went wrong with writing since the last call."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def load_history_strings(self) -> Iterable[str]:
        """Entries, newest first; the same one only once."""
        if self._path is None:
            return []
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        if len(lines) > 2 * KEPT:
            _shorten(self._path)
        entries = filter(None, (_entry(line) for line in lines))
        return list(dict.fromkeys(reversed(list(entries))))[:KEPT]

    def store_string(self, string: str) -> None:
        """Append an entry; a disk that refuses costs the entry only, and `take_trouble` tells."""
        if self._path is None:
            return
        try:
            with sole_writer(self._path), open_private(self._path, "ab") as file:
                file.write(json.dumps(string).encode("ascii") + b"\n")
        except ConfigError as error:
            self._trouble = f"What is typed cannot be kept: {error}"


def _shorten(path: Path) -> None:
    with contextlib.suppress(ConfigError), sole_writer(path):
        replace(path, b"\n".join(path.read_bytes().splitlines()[-KEPT:]) + b"\n")


def _entry(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # Torn by a full disk; the other lines are good.
    return entry if isinstance(entry, str) and entry.strip() else None
