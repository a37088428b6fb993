"""What was typed at the prompt, over all runs: a JSON string a line, for the owner only, safe with several chats."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.history import History

from shammah.files import open_private, replace
from shammah.locks import locked

KEPT = 2_000
"""Entries that are offered; the file is cut to them when it holds twice as many."""
PATIENCE = 0.2
"""Seconds to wait for another chat that is at work on the file, which takes it a millisecond unless it was stopped."""


class InputHistory(History):
    """The input history of prompt_toolkit over a file that several chats append to.

    An entry is one write to a file opened for appending, so entries of two chats never mix; and one chat at a time is
    at work on it, so that none is cut that just came.
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
            with _at_work(self._path), open_private(self._path, "ab") as file:
                file.write(json.dumps(string).encode("ascii") + b"\n")
        except OSError as cause:
            self._trouble = f"What is typed cannot be kept in {self._path}: {cause.strerror}"


def _shorten(path: Path) -> None:
    with contextlib.suppress(OSError), _at_work(path) as alone:
        if alone:
            replace(path, b"\n".join(path.read_bytes().splitlines()[-KEPT:]) + b"\n")


@contextlib.contextmanager
def _at_work(path: Path) -> Iterator[bool]:
    """Keep other chats from the file meanwhile, and tell whether none is at work on it: typing waits for nobody long.

    Where there are no locks, another may always be.
    """
    with open_private(path.with_name(f".{path.name}.lock"), "ab") as lock:
        yield _soon_locked(lock.fileno())


def _soon_locked(lock: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(OSError):
        while not (ours := locked(lock)) and time.monotonic() < deadline:
            time.sleep(PATIENCE / 20)
        return ours
    return False


def _entry(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # Torn by a full disk; the other lines are good.
    return entry if isinstance(entry, str) and entry.strip() else None
