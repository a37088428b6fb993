"""One conversation: the way of a question from the person to an engine and into the history.

question -> remembered -> routed -> asked -> each piece shown and saved -> finished, or stopped by closing
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

from shammah.engine import Engine, Tally
from shammah.errors import EngineError, HistoryError
from shammah.history.store import Conversation, Origin, Store, Turn
from shammah.history.writer import AnswerWriter
from shammah.message import Event, Finish, Message, Notice, Options, Piece, Trimmed
from shammah.router import Facts, Route, choose


@dataclass(frozen=True)
class Exchange:
    """A question and what was answered to it; `turn` is its number in the history, where it could be saved."""

    question: str
    answer: str
    turn: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What there is to know of the last answer; `before` tells of each engine that was asked first and failed."""

    route: Route
    model: str
    finish: Finish
    before: tuple[str, ...] = ()


class Session:
    """The conversation in progress, and the engines that may answer it."""

    def __init__(self, engines: Mapping[str, Engine], store: Store, system: str) -> None:
        self._engines = engines
        self._store = store
        self.conversation: Conversation = store.new_conversation(system)
        self.exchanges: list[Exchange] = []
        self.left_out = 0
        self.receipt: Receipt | None = None

    def ask(self, question: str, facts: Facts, options: Options) -> Generator[Event | Notice]:
        """Answer a question: the engine's events and notices, ending with one Finish.

        Closing it stops the engine and keeps what was said, marked as interrupted.

        Raises:
            EngineError: nothing could be answered at all; the question is kept.
        """
        memory = _Memory(self._store, self.conversation.id, question)
        yield from memory.notices()
        self.receipt, tally = None, Tally()
        finish: Finish | None = None
        try:
            route = choose(facts)
            engine = self._engines[route.engine]
            self.receipt = Receipt(route, engine.model, tally.finish("interrupted"))
            memory.answered_by(Origin(route.engine, engine.model, route.why))
            with contextlib.closing(engine.reply(self.messages(question), options)) as events:
                for event in events:
                    tally.see(event)
                    memory.see(event)
                    if isinstance(event, Finish):
                        finish = event
                        break
                    if isinstance(event, Trimmed):
                        self.left_out += event.turns
                    yield event
                    yield from memory.notices()
        except EngineError as error:
            finish = tally.finish("failed", str(error), error.hint)
            raise
        finally:
            # Also when the caller closes us in the middle: then the answer so far is what was said.
            finish = finish or tally.finish("interrupted")
            memory.finish(finish)
            self.exchanges.append(Exchange(question, memory.answer, memory.turn))
            if self.receipt:
                self.receipt = replace(self.receipt, finish=finish)
        yield from memory.notices()
        yield finish

    def messages(self, question: str | None = None) -> list[Message]:
        """What an engine is given: the system prompt, answered exchanges that are not left out, and the question."""
        messages = [Message("system", self.conversation.system)] if self.conversation.system else []
        answered = [exchange for exchange in self.exchanges if exchange.answer]
        for exchange in answered[self.left_out :]:
            messages += [Message("user", exchange.question), Message("assistant", exchange.answer)]
        return messages if question is None else [*messages, Message("user", question)]

    def new(self, system: str) -> None:
        """Begin another conversation; this one stays in the history."""
        self.conversation = self._store.new_conversation(system)
        self.exchanges, self.left_out, self.receipt = [], 0, None

    def resume(self, conversation: Conversation) -> list[Turn]:
        """Go on with a conversation of the history; returns its turns."""
        turns = self._store.turns(conversation.id)
        self.conversation = conversation
        self.exchanges = [Exchange(turn.question, turn.answer, turn.id) for turn in turns]
        self.left_out, self.receipt = 0, None
        return turns

    def undo(self) -> Exchange | None:
        """Take the last exchange back; the history keeps it, marked as undone."""
        if not self.exchanges:
            return None
        if self.exchanges[-1].turn is not None:
            self._store.undo(self.conversation.id)
        self.left_out = 0
        return self.exchanges.pop()

    def set_system(self, system: str) -> None:
        """Change the system prompt of this conversation."""
        self._store.set_system(self.conversation.id, system)
        self.conversation = replace(self.conversation, system=system)


class _Memory:
    """Keeps one turn: at once the question, the answer as it grows. What the disk refuses becomes a notice, once."""

    def __init__(self, store: Store, conversation: str, question: str) -> None:
        self._pieces: list[str] = []
        self._notices: list[Notice] = []
        self._store = store
        self._origin = Origin()
        self._writer: AnswerWriter | None = None
        self.turn: int | None = None
        with self._told():
            self.turn = store.begin_turn(conversation, question).id
            self._writer = AnswerWriter(store, self.turn)

    def answered_by(self, origin: Origin) -> None:
        self._origin = origin
        if self.turn is not None:
            with self._told():
                self._store.choose(self.turn, origin)

    @property
    def answer(self) -> str:
        return "".join(self._pieces)

    def see(self, event: Event) -> None:
        text = ""
        if isinstance(event, Piece):
            text = event.text
            self._pieces.append(text)
        if self._writer:
            with self._told():
                self._writer.add(text)  # Also with nothing new: what waits for its commit gets it.

    def finish(self, finish: Finish) -> None:
        if self._writer:
            with self._told():
                self._writer.finish(finish, self._origin)

    def notices(self) -> Iterator[Notice]:
        while self._notices:
            yield self._notices.pop(0)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except HistoryError as error:
            self._notices.append(Notice(str(error), error.hint))
