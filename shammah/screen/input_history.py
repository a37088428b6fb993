"""What was typed at the prompt, over all runs: a JSON string a line, for the owner only, safe with several chats."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History

KEPT = 2_000
"""Entries that are offered; the file is cut to them when it holds twice as many."""


class InputHistory(History):
    """The input history of prompt_toolkit over a file that several chats append to.

    An entry is one write to a file opened for appending, so entries of two chats never mix.
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
            _shorten(self._path, lines)
        entries = filter(None, (_entry(line) for line in lines))
        return list(dict.fromkeys(reversed(list(entries))))[:KEPT]

    def store_string(self, string: str) -> None:
        """Append an entry; a disk that refuses costs the entry only, and `take_trouble` tells."""
        if self._path is None:
            return
        line = json.dumps(string).encode("ascii") + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as cause:
            self._trouble = f"What is typed cannot be kept in {self._path}: {cause.strerror}"


def _shorten(path: Path, lines: list[bytes]) -> None:
    # Beside and then over it: a crash in between leaves the old file whole.
    with contextlib.suppress(OSError):
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"\n".join(lines[-KEPT:]) + b"\n")
        fresh.replace(path)


def _entry(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # Torn by a full disk; the other lines are good.
    return entry if isinstance(entry, str) and entry.strip() else None
