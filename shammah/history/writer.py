"""Saves an answer while it grows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from shammah.errors import HistoryError
from shammah.history.faults import HistoryBusy
from shammah.history.store import Origin, Store
from shammah.message import Finish, Spent

PACE_S = 0.2
"""Seconds between two commits of a growing answer."""
RETRY_S = 2.0
"""Seconds after which a growing answer that could not be written is tried again."""


class AnswerWriter:
    """Saves one answer while it grows: at most a commit every 0.2 s, at most 250 ms of text unsaved.

    Where the disk refuses, HistoryError is raised once for the whole answer, from `add` or from `finish`, so that
    the chat says it once and goes on. The text is kept here and tried again.
    """

    def __init__(self, store: Store, turn_id: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._turn_id = turn_id
        self._clock = clock
        self._unsaved: list[str] = []
        self._length = 0
        self._due = clock()
        self._told = False

    def add(self, text: str = "") -> None:
        """Take the next piece; while the engine only waits, call it without text: the last piece may still be due."""
        if text:
            self._unsaved.append(text)
        if self._unsaved and self._clock() >= self._due:
            self._save()

    def spend(self, spent: Spent) -> None:
        """Note what has left this machine; a disk that refuses is told by the text and the end."""
        with contextlib.suppress(HistoryError):
            self._store.spend(self._turn_id, spent)

    def finish(self, finish: Finish, origin: Origin) -> None:
        """Save the rest and how the answer ended."""
        tail = "".join(self._unsaved)
        try:
            self._store.finish(self._turn_id, finish, origin, tail=tail, at=self._length)
        except HistoryError as error:
            self._tell(error)
        else:
            self._unsaved.clear()

    def _save(self) -> None:
        text = "".join(self._unsaved)
        try:
            self._store.append(self._turn_id, text, self._length)
        except HistoryBusy:
            # Another chat is writing: no reason for a word, this text goes with the next commit.
            self._due = self._clock() + PACE_S
        except HistoryError as error:
            self._due = self._clock() + RETRY_S
            self._tell(error)
        else:
            self._due = self._clock() + PACE_S
            self._length += len(text)
            self._unsaved.clear()

    def _tell(self, error: HistoryError) -> None:
        if not self._told:
            self._told = True
            raise error
