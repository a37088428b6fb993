"""One conversation: the way of a question from the person to an engine and into the history.

question -> remembered -> routed -> permitted -> asked -> each piece shown and saved -> finished, or stopped by closing

An engine that fails before its first piece is not asked again; the question is routed anew, to one that may answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shammah.attempts import Attempts
from shammah.engine import Engine
from shammah.errors import EngineError
from shammah.history.record import Record
from shammah.history.store import Conversation, Origin, Store, Turn
from shammah.message import Event, Finish, Message, Notice, Options, Trimmed
from shammah.router import AskedFor, Facts, Route, choose
from shammah.secret_signs import secret_in

MARKED = "you marked it private"
WHOLLY = "you keep this conversation private"
KEPT = "you kept it on this machine"
PRIVATE_IN_VIEW = "it was answered with what is private in view"
"""Why a question stays here: see `Question.private`."""
RETRY_LOCAL = "/retry local asks on this machine"


@dataclass(frozen=True)
class Exchange:
    """A question and what was answered to it; `turn` is its number in the history, where it could be saved.

    `private` says why the question must not leave this machine, `stays` why question and answer together must not: also
    an answer that only had something private in view may repeat it. Both are "" where they may.
    `complete` tells that the answer came to its own end: not stopped, not failed, and not cut at a limit.
    """

    question: str
    answer: str
    turn: int | None = None
    private: str = ""
    stays: str = ""
    complete: bool = False


@dataclass(frozen=True)
class Question:
    """What a person asks; `private` says why it must not leave this machine, "" where it may.

    `asked_for` names who is to answer this one question. `retries` is the exchange that it asks again.
    """

    text: str
    private: str = ""
    asked_for: AskedFor = ""
    retries: Exchange | None = None


@dataclass(frozen=True)
class Outgoing:
    """What would leave this machine; `withheld` is the number of exchanges that are left out because they stay here."""

    model: str
    messages: tuple[Message, ...]
    characters: int
    withheld: int


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

    def ask(
        self,
        question: Question,
        facts: Callable[[Sequence[Message]], Facts],
        options: Options,
        permit: Callable[[Outgoing], bool],
    ) -> Generator[Event | Notice]:
        """Answer a question: the engines' events and notices, ending with one Finish.

        `facts` tells what is known now, given what the local model would read; `permit` is asked in mode ask before
        anything leaves. Closing the generator stops the engine and keeps what was said, marked as interrupted.

        Raises:
            EngineError: nothing could be answered at all; the question is kept.
        """
        question = replace(question, private=self.private or question.private)
        former = self._make_way_for(question)
        retries = former.turn if former else None
        record = Record(self._store, self.conversation.id, question.text, question.private, retries)
        self.receipt, attempts = None, Attempts()
        finish: Finish | None = None
        try:
            yield from record.notices()
            while finish is None:
                route, engine, ask_first = self._route(question, attempts, facts)
                if ask_first and not permit(self.outgoing(question)):
                    question = _kept_here(question)
                    continue
                self.receipt = Receipt(route, engine.model, attempts.end("interrupted"), tuple(attempts.before))
                record.stays(question.private)
                record.answered_by(Origin(route.engine, engine.model, route.why, self.receipt.before))
                yield from attempts.begin(route, engine)
                messages = yield from self._given(question, route)
                finish = yield from self._hear(engine.reply(messages, options), attempts, record)
        except EngineError as error:
            finish = attempts.end("failed", error)
            raise
        finally:
            # Also when the caller closes us in the middle: then the answer so far is what was said.
            finish = finish or attempts.end("interrupted")
            record.stays(question.private)
            record.finish(finish)
            self._keep(question, record, former, complete=finish.reason == "stop")
            if self.receipt:
                self.receipt = replace(self.receipt, finish=finish)
        yield from record.notices()
        yield finish

    def _route(
        self, question: Question, attempts: Attempts, facts: Callable[[Sequence[Message]], Facts]
    ) -> tuple[Route, Engine, bool]:
        """Who answers next, of those that have not failed on this question; and whether the person is asked first."""
        while True:
            known = facts(self.messages(question.text))
            known = replace(known, private=question.private, asked_for=question.asked_for, failed=dict(attempts.failed))
            try:
                route = choose(known)
            except EngineError as error:
                raise (attempts.error or error) from None
            engine = self._engines.get(route.engine)
            if engine is not None:
                return route, engine, route.engine == "claude" and known.mode == "ask"
            attempts.failed[route.engine] = "it has ended"  # Since the facts were told.

    def _given(self, question: Question, route: Route) -> Generator[Notice, None, Sequence[Message]]:
        """What the engine is given; what of it Claude is not given is told."""
        if route.engine != "claude":
            return self.messages(question.text)
        outgoing = self.outgoing(question)
        yield from _told_what_stays(outgoing)
        return outgoing.messages

    def _hear(
        self, reply: Generator[Event], attempts: Attempts, record: Record
    ) -> Generator[Event | Notice, None, Finish | None]:
        """Pass an answer on while it comes, and return its end; None where the engine failed before its first piece."""
        try:
            with contextlib.closing(reply) as events:
                for event in events:
                    attempts.tally.see(event)
                    if isinstance(event, Finish):
                        return attempts.whole(event)
                    record.see(event, attempts.spent(event))
                    if isinstance(event, Trimmed):
                        self.left_out += event.turns
                    yield event
                    yield from record.notices()
        except EngineError as error:
            if record.answer:
                return attempts.end("failed", error)
            attempts.fail(error)
        return None

    def _make_way_for(self, question: Question) -> Exchange | None:
        """Take the exchange away that is asked again, and return it."""
        if question.retries is None or self.exchanges[-1:] != [question.retries]:
            return None
        self.left_out = 0
        return self.exchanges.pop()

    def _keep(self, question: Question, record: Record, former: Exchange | None, *, complete: bool) -> None:
        """Add the exchange; where asking again brought no answer, the one before stays."""
        if former and not record.answer:
            self.exchanges.append(replace(former, turn=record.turn or former.turn))
            return
        engine = self.receipt.route.engine if self.receipt else ""
        stays = _stays(question.private, engine, self.exchanges)
        exchange = Exchange(question.text, record.answer, record.turn, question.private, stays, complete)
        self.exchanges.append(exchange)

    # What the engines are given

    def messages(self, question: str | None = None) -> list[Message]:
        """What an engine of this machine is given: system prompt, answered exchanges not left out, the question."""
        answered = [exchange for exchange in self.exchanges if exchange.answer]
        return self._messages(answered[self.left_out :], question)

    def outgoing(self, question: Question) -> Outgoing:
        """What Claude would be given: the same, without the exchanges that stay on this machine."""
        answered = [exchange for exchange in self.exchanges if exchange.answer]
        open_ones = [exchange for exchange in answered if not exchange.stays]
        messages = tuple(self._messages(open_ones, question.text))
        claude = self._engines.get("claude")
        return Outgoing(
            model=claude.model if claude else "",
            messages=messages,
            characters=sum(len(message.content) for message in messages),
            withheld=len(answered) - len(open_ones),
        )

    def _messages(self, exchanges: Sequence[Exchange], question: str | None) -> list[Message]:
        messages = [Message("system", self.conversation.system)] if self.conversation.system else []
        for exchange in exchanges:
            messages += [Message("user", exchange.question), Message("assistant", exchange.answer)]
        return messages if question is None else [*messages, Message("user", question)]

    @property
    def private(self) -> str:
        """Why every question of this conversation stays on this machine, "" where they may leave."""
        return self.conversation.private or secret_in(self.conversation.system, "the system prompt")

    # What the person changes

    def keep_private(self, why: str) -> None:
        """Keep all that is asked in this conversation from now on here, also when it is gone on with another day.

        Raises:
            HistoryError: it holds for this run only.
        """
        self.conversation = replace(self.conversation, private=why)
        self._store.keep_conversation_private(self.conversation.id, why)

    def new(self, system: str) -> None:
        """Begin another conversation; this one stays in the history."""
        self.conversation = self._store.new_conversation(system)
        self.exchanges, self.left_out, self.receipt = [], 0, None

    def resume(self, conversation: Conversation) -> list[Turn]:
        """Go on with a conversation of the history; returns its turns."""
        turns = self._store.turns(conversation.id)
        self.conversation = conversation
        self.exchanges, self.left_out, self.receipt = [], 0, None
        for turn in turns:
            self.exchanges.append(_remembered(turn, self.exchanges))
        return turns

    def retry(self, asked_for: AskedFor = "") -> Question | None:
        """The last question, to be asked again; None where there is none.

        Nothing changes until it is asked. Then the answer before is kept in the history, as another to the same
        question, and takes its place again where the new one does not come to a single piece.
        """
        if not self.exchanges:
            return None
        last = self.exchanges[-1]
        return Question(last.question, last.private, asked_for, retries=last)

    def undo(self) -> Exchange | None:
        """Take the last exchange back; the history keeps it, marked as undone."""
        if not self.exchanges:
            return None
        if (turn := self.exchanges[-1].turn) is not None:
            self._store.undo(turn)
        self.left_out = 0
        return self.exchanges.pop()

    def set_system(self, system: str) -> None:
        """Change the system prompt of this conversation."""
        self._store.set_system(self.conversation.id, system)
        self.conversation = replace(self.conversation, system=system)


def _kept_here(question: Question) -> Question:
    """The question that the person did not let go, which stays here for good.

    Raises:
        EngineError: it was meant for Claude alone.
    """
    if question.asked_for == "claude":
        raise EngineError("Nothing was sent: you kept the question here", hint=RETRY_LOCAL)
    return replace(question, asked_for="local", private=question.private or KEPT)


def _stays(private: str, engine: str, earlier: Sequence[Exchange]) -> str:
    """Why an exchange must not leave this machine: Claude never had in view what is private, the others had."""
    if private or engine == "claude":
        return private
    return PRIVATE_IN_VIEW if any(exchange.stays and exchange.answer for exchange in earlier) else ""


def _remembered(turn: Turn, earlier: Sequence[Exchange]) -> Exchange:
    """The exchange of a turn; where asking again brought no answer, with the one before."""
    answered = turn.answered
    stays = _stays(turn.private, answered.origin.engine, earlier)
    complete = answered.reason == "stop"
    return Exchange(turn.question, answered.answer, turn.id, turn.private, stays, complete)


def _told_what_stays(outgoing: Outgoing) -> Iterator[Notice]:
    if outgoing.withheld == 1:
        yield Notice("1 earlier exchange is private and stays here; Claude answers without it", RETRY_LOCAL)
    elif outgoing.withheld:
        count = outgoing.withheld
        yield Notice(f"{count} earlier exchanges are private and stay here; Claude answers without them", RETRY_LOCAL)
