"""One turn as it is kept: the question at once, the answer as it grows; what the disk refuses becomes a notice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from shammah.errors import HistoryError
from shammah.history.store import Origin, Store
from shammah.history.writer import AnswerWriter
from shammah.message import Event, Finish, Notice, Piece, Spent


class Record:
    """One turn in the making; `turn` is its number, None where it could not be saved."""

    def __init__(self, store: Store, conversation: str, question: str, private: str, retries: int | None) -> None:
        """Write the question down; arguments as for `Store.begin_turn`."""
        self._pieces: list[str] = []
        self._notices: list[Notice] = []
        self._store = store
        self._origin = Origin()
        self._private = private
        self._writer: AnswerWriter | None = None
        self.turn: int | None = None
        with self._told():
            self.turn = store.begin_turn(conversation, question, private=private, retries=retries).id
            self._writer = AnswerWriter(store, self.turn)

    def stays(self, private: str) -> None:
        """Why the turn must not leave this machine, where that has changed."""
        if self.turn is not None and private != self._private:
            self._private = private
            with self._told():
                self._store.keep_private(self.turn, private)

    def answered_by(self, origin: Origin) -> None:
        """Somebody is asked."""
        self._origin = origin
        if self.turn is not None:
            with self._told():
                self._store.choose(self.turn, origin)

    @property
    def answer(self) -> str:
        """What was said until now."""
        return "".join(self._pieces)

    def see(self, event: Event, spent: Spent | None) -> None:
        """Take note of an event, and of all that was sent until now where that has changed."""
        text = ""
        if isinstance(event, Piece):
            text = event.text
            self._pieces.append(text)
        if self._writer:
            with self._told():
                self._writer.add(text)  # Also with nothing new: what waits for its commit gets it.
            if spent:
                self._writer.spend(spent)

    def finish(self, finish: Finish) -> None:
        """Close the turn."""
        if self._writer:
            with self._told():
                self._writer.finish(finish, self._origin)

    def notices(self) -> Iterator[Notice]:
        """What the disk refused since the last time."""
        while self._notices:
            yield self._notices.pop(0)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except HistoryError as error:
            self._notices.append(Notice(str(error), error.hint))
