"""One conversation: the way of a question from the person to an engine and into the history.

question -> remembered -> routed -> permitted -> asked -> each piece shown and saved -> finished, or stopped by closing

An engine that fails before its first piece is not asked again; the question is routed anew, to one that may answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shammah.engine import Engine, Tally
from shammah.errors import EngineError, HistoryError
from shammah.history.store import Conversation, Origin, Store, Turn
from shammah.history.writer import AnswerWriter
from shammah.message import Event, Finish, Message, Notice, Options, Piece, Reason, Spent, Timing, Trimmed
from shammah.router import AskedFor, Facts, Route, choose

KEPT = "you kept it on this machine"
PRIVATE_IN_VIEW = "it was answered with what is private in view"
RETRY_LOCAL = "/retry local asks on this machine"


@dataclass(frozen=True)
class Exchange:
    """A question and what was answered to it; `turn` is its number in the history, where it could be saved.

    `private` says why the question must not leave this machine, `stays` why question and answer together must not: also
    an answer that only had something private in view may repeat it. Both are "" where they may.
    """

    question: str
    answer: str
    turn: int | None = None
    private: str = ""
    stays: str = ""


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
        former = self._make_way_for(question)
        memory = _Memory(self._store, self.conversation.id, question, former)
        self.receipt, attempts = None, _Attempts(question)
        finish: Finish | None = None
        try:
            yield from memory.notices()
            while finish is None:
                route, engine = self._route(attempts, facts, permit)
                memory.stays(attempts.question.private)
                self.receipt = Receipt(route, engine.model, attempts.end("interrupted"), tuple(attempts.before))
                memory.answered_by(Origin(route.engine, engine.model, route.why, self.receipt.before))
                yield from attempts.notices(route, engine)
                finish = yield from self._hear(route, engine, options, attempts, memory)
        except EngineError as error:
            finish = attempts.end("failed", error)
            raise
        finally:
            # Also when the caller closes us in the middle: then the answer so far is what was said.
            finish = finish or attempts.end("interrupted")
            memory.stays(attempts.question.private)
            memory.finish(finish)
            self._keep(attempts.question, memory, former)
            if self.receipt:
                self.receipt = replace(self.receipt, finish=finish)
        yield from memory.notices()
        yield finish

    def _route(
        self, attempts: _Attempts, facts: Callable[[Sequence[Message]], Facts], permit: Callable[[Outgoing], bool]
    ) -> tuple[Route, Engine]:
        """Who answers next: of those that have not failed on this question, one that may."""
        while True:
            question = attempts.question
            known = facts(self.messages(question.text))
            known = replace(known, private=question.private, asked_for=question.asked_for, failed=dict(attempts.failed))
            try:
                route = choose(known)
            except EngineError as error:
                raise (attempts.error or error) from None
            engine = self._engines.get(route.engine)
            if engine is None:
                attempts.failed[route.engine] = "it has ended"  # Since the facts were told.
            elif route.engine != "claude" or known.mode != "ask" or permit(self.outgoing(question)):
                return route, engine
            else:
                attempts.keep_here()

    def _hear(
        self, route: Route, engine: Engine, options: Options, attempts: _Attempts, memory: _Memory
    ) -> Generator[Event | Notice, None, Finish | None]:
        """Pass an answer on while it comes, and return its end; None where the engine failed before its first piece."""
        messages: Sequence[Message] = self.messages(attempts.question.text)
        if route.engine == "claude":
            outgoing = self.outgoing(attempts.question)
            messages = outgoing.messages
            yield from _told_what_stays(outgoing)
        attempts.begin()
        try:
            with contextlib.closing(engine.reply(messages, options)) as events:
                for event in events:
                    attempts.tally.see(event)
                    if isinstance(event, Finish):
                        return attempts.whole(event)
                    memory.see(event, attempts.spent(event))
                    if isinstance(event, Trimmed):
                        self.left_out += event.turns
                    yield event
                    yield from memory.notices()
        except EngineError as error:
            if memory.answer:
                return attempts.end("failed", error)
            attempts.fail(route, engine, error)
        return None

    def _make_way_for(self, question: Question) -> Exchange | None:
        """Take the exchange away that is asked again, and return it."""
        if question.retries is None or self.exchanges[-1:] != [question.retries]:
            return None
        self.left_out = 0
        return self.exchanges.pop()

    def _keep(self, question: Question, memory: _Memory, former: Exchange | None) -> None:
        """Add the exchange; where asking again brought no answer, the one before stays."""
        if former and not memory.answer:
            self.exchanges.append(replace(former, turn=memory.turn or former.turn))
            return
        engine = self.receipt.route.engine if self.receipt else ""
        stays = _stays(question.private, engine, self.exchanges)
        self.exchanges.append(Exchange(question.text, memory.answer, memory.turn, question.private, stays))

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

    # What the person changes

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
        if self.exchanges[-1].turn is not None:
            self._store.undo(self.conversation.id)
        self.left_out = 0
        return self.exchanges.pop()

    def set_system(self, system: str) -> None:
        """Change the system prompt of this conversation."""
        self._store.set_system(self.conversation.id, system)
        self.conversation = replace(self.conversation, system=system)


def _stays(private: str, engine: str, earlier: Sequence[Exchange]) -> str:
    """Why an exchange must not leave this machine: Claude never had in view what is private, the others had."""
    if private or engine == "claude":
        return private
    return PRIVATE_IN_VIEW if any(exchange.stays and exchange.answer for exchange in earlier) else ""


def _remembered(turn: Turn, earlier: Sequence[Exchange]) -> Exchange:
    """The exchange of a turn; where asking again brought no answer, with the one before."""
    answered = next((one for one in [turn, *reversed(turn.former)] if one.answer), turn)
    stays = _stays(turn.private, answered.origin.engine, earlier)
    return Exchange(turn.question, answered.answer, turn.id, turn.private, stays)


def _told_what_stays(outgoing: Outgoing) -> Iterator[Notice]:
    if outgoing.withheld == 1:
        yield Notice("1 earlier exchange is private and stays here; Claude answers without it", RETRY_LOCAL)
    elif outgoing.withheld:
        count = outgoing.withheld
        yield Notice(f"{count} earlier exchanges are private and stay here; Claude answers without them", RETRY_LOCAL)


@dataclass
class _Attempts:
    """The engines asked for one question: who failed and why, what has left this machine, how long it took."""

    question: Question
    failed: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    error: EngineError | None = None
    tally: Tally = field(default_factory=Tally)
    _sent: Spent = field(default_factory=Spent)
    _lost_s: float = 0.0
    _untold: list[EngineError] = field(default_factory=list)

    def begin(self) -> None:
        """An engine is asked."""
        self.tally = Tally()

    def fail(self, route: Route, engine: Engine, error: EngineError) -> None:
        """It failed before its first piece."""
        end = self.tally.finish("failed")
        self._sent, self._lost_s = _sum(self._sent, end.spent), self._lost_s + end.timing.total_s
        self.tally = Tally()
        self.failed[route.engine] = str(error)
        self.before.append(f"{_name(route, engine)} failed: {error}")
        self._untold.append(error)
        # Who knows most tells the person most: the starter's own trouble comes last.
        self.error = self.error if self.error and route.engine == "starter" else error

    def keep_here(self) -> None:
        """The person did not let the question leave: it stays for good.

        Raises:
            EngineError: it was meant for Claude alone.
        """
        if self.question.asked_for == "claude":
            raise EngineError("Nothing was sent: you kept the question here", hint=RETRY_LOCAL)
        self.question = replace(self.question, asked_for="local", private=self.question.private or KEPT)

    def notices(self, route: Route, engine: Engine) -> Iterator[Notice]:
        """Tell of who failed since the last time, and who answers instead."""
        while self._untold:
            error = self._untold.pop(0)
            yield Notice(f"{error}; {_name(route, engine)} answers instead", error.hint)

    def spent(self, event: Event) -> Spent | None:
        """All that has left this machine for the question, where the event tells of more."""
        return _sum(self._sent, event) if isinstance(event, Spent) else None

    def end(self, reason: Reason, error: EngineError | None = None) -> Finish:
        """An end that no engine told."""
        return self.whole(self.tally.finish(reason, str(error or ""), error.hint if error else ""))

    def whole(self, finish: Finish) -> Finish:
        """The end of an answer, counted from the question on, with what was sent for nothing."""
        timing, lost = finish.timing, self._lost_s
        timing = Timing(timing.first_token_s + lost, timing.total_s + lost, timing.tokens_per_s)
        return replace(finish, timing=timing, spent=_sum(self._sent, finish.spent))


def _name(route: Route, engine: Engine) -> str:
    """Who is asked, as a person knows them."""
    return "Claude" if route.engine == "claude" else engine.model


def _sum(one: Spent, other: Spent) -> Spent:
    """Both together; a price that is not known leaves the sum unknown."""
    unknown = one.cost_usd is None or other.cost_usd is None
    cost = None if unknown else (one.cost_usd or 0.0) + (other.cost_usd or 0.0)
    return Spent(one.sent_bytes + other.sent_bytes, cost, one.estimated or other.estimated, other.usage)


class _Memory:
    """Keeps one turn: at once the question, the answer as it grows. What the disk refuses becomes a notice, once."""

    def __init__(self, store: Store, conversation: str, question: Question, former: Exchange | None) -> None:
        self._pieces: list[str] = []
        self._notices: list[Notice] = []
        self._store = store
        self._origin = Origin()
        self._private = question.private
        self._writer: AnswerWriter | None = None
        self.turn: int | None = None
        retries = former.turn if former else None
        with self._told():
            self.turn = store.begin_turn(conversation, question.text, private=question.private, retries=retries).id
            self._writer = AnswerWriter(store, self.turn)

    def stays(self, private: str) -> None:
        """The turn must not leave this machine, and why; "" leaves it as it is."""
        if self.turn is not None and private != self._private:
            self._private = private
            with self._told():
                self._store.keep_private(self.turn, private)

    def answered_by(self, origin: Origin) -> None:
        self._origin = origin
        if self.turn is not None:
            with self._told():
                self._store.choose(self.turn, origin)

    @property
    def answer(self) -> str:
        return "".join(self._pieces)

    def see(self, event: Event, spent: Spent | None) -> None:
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
