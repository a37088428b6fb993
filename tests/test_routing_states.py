"""Whatever the state of everything: each question ends in an answer or one true sentence, and no byte leaves unasked.

The real session, router, engines and SDK, with a Claude on loopback that keeps every byte. The models of this machine
are parrots: they repeat each word in their view that is marked, so that whatever could leak does.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.exchange import Patience
from shammah.cloud.spending import Spending
from shammah.config import Config, Value, with_value
from shammah.engine import Engine
from shammah.engines import Engines
from shammah.errors import EngineError, WorkerError
from shammah.history.opening import memory_store
from shammah.message import Event, Finish, Message, Notice, Options, Spent
from shammah.models.engines import LocalModels
from shammah.router import AskedFor, Facts, Mode, ModelState
from shammah.session import KEPT, Outgoing, Question, Session
from tests.fakes import FakeEngine, Script, finish_of, said
from tests.servers.claude import KEY, Answer, Claude, Cut, Play, Status

MARKED = re.compile(r"(?:private|open)-\d+")
PRIVATE = b"private-"
DEAD = "http://127.0.0.1:9"
"""Nobody listens there."""
KEYS = {"none": "", "wrong": "sk-ant-another", "good": KEY}
NETWORKS: dict[str, tuple[Play, ...]] = {
    "up": (Answer(("From ", "afar.")),),
    "down": (Status(500),),
    "slow": (Answer(("From ", "afar."), delay_s=0.01),),
    # Before the first piece, after it, and at the very end; and what a server says that cannot.
    "cutting": (
        *(Cut(after, how) for after in (0, 200, 700, 1500) for how in ("fin", "rst", "overloaded", "json", "end")),
        Cut(10_000, "no reason"),
        Status(529),
        Status(400, "Your credit balance is too low"),
    ),
}
LOCALS = ("none", "downloading", "loading", "ready", "failing", "dying", "broken")
"""Of a model: not chosen, on its way twice, there, failing before its first piece and after it, not to be loaded."""
STATES: dict[str, ModelState] = {"none": "none", "downloading": "fetching", "loading": "loading", "broken": "failed"}
FAULT = WorkerError("The model worker hangs", hint="Ask again: a new one is started")


class Parrot:
    """Obeys the Engine contract; says its name, and every marked word that it was given."""

    def __init__(self, name: str, fault_at: int | None = None) -> None:
        self.name = name
        self.model = f"parrot-{name}"
        self._fault_at = fault_at

    def reply(self, messages: Sequence[Message], options: Options) -> Generator[Event]:
        """Repeat."""
        seen = sorted({word for message in messages for word in MARKED.findall(message.content)})
        pieces = [f"{self.name} saw", *(f" {word}" for word in seen), "."]
        fault = None if self._fault_at is None else FAULT
        script = Script(pieces, fault=fault, fault_at=self._fault_at or 0)
        yield from FakeEngine(script, name=self.name, model=self.model).reply(messages, options)


class Models(Mapping[str, Engine]):
    """The models of this machine as `Engines` sees them, in any state at once."""

    def __init__(self) -> None:
        self.local = "none"
        self.enabled = True
        self.tight = False

    def _engines(self) -> dict[str, Engine]:
        if not self.enabled:
            return {}
        fault_at = {"failing": 0, "dying": 1}.get(self.local)
        starter, local = Parrot("starter"), Parrot("local", fault_at)
        return {"starter": starter} if self.local in ("none", "downloading") else {"starter": starter, "local": local}

    def __getitem__(self, name: str) -> Engine:
        return self._engines()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines())

    def __len__(self) -> int:
        return len(self._engines())

    def facts(self, mode: Mode, enabled: bool, patient: bool, messages: Sequence[Message]) -> Facts:
        """As `LocalModels.facts`."""
        state = STATES.get(self.local, "ready")
        shortage = "only 90 MB are free" if self.tight and messages else ""
        return Facts(mode, enabled, patient, state, "qwen", "downloading (3 %)", short_of_memory=shortage)

    def close(self) -> None:
        """Nothing runs."""


CIRCUMSTANCES = {
    "local": LOCALS,
    "enabled": ("true", "true", "true", "false"),
    "key": ("good", "good", "good", "wrong", "none"),
    "network": ("up", "up", "slow", "cutting", "down"),
    "memory": ("ample", "tight"),
    "mode": ("auto", "auto", "ask", "cloud", "local"),
    "allowed": ("true", "false"),
    "budget": ("ample", "ample", "ample", "ample", "spent"),
}
"""What may be otherwise at each question; what is more often so, more often."""


def circumstances(number: int) -> dict[str, str]:
    """One of all combinations; by a single number they come up evenly, where separate draws favour the first ones."""
    found = {}
    for what, values in CIRCUMSTANCES.items():
        number, place = divmod(number, len(values))
        found[what] = values[place]
    return found


COUNT = math.prod(map(len, CIRCUMSTANCES.values()))
ALL = st.integers(0, COUNT - 1).map(circumstances)
ONE: st.SearchStrategy[dict[str, str]] = st.tuples(ALL, st.sampled_from(sorted(CIRCUMSTANCES))).map(
    lambda drawn: {drawn[1]: drawn[0][drawn[1]]}
)
CHANGES: st.SearchStrategy[dict[str, str]] = st.one_of(st.just({}), ONE, ALL)
WHOM: tuple[AskedFor, ...] = ("", "", "", "local", "claude")
CUTS = 60
"""So many ways of cutting at most."""
whom = st.sampled_from(WHOM)
bold = st.booleans()
cut = st.integers(0, CUTS - 1)


@dataclass
class Ending:
    """What came of one question."""

    events: list[Event | Notice]
    error: EngineError | None
    permits: list[Outgoing]


class Routing(RuleBasedStateMachine):
    """A chat, as the screen has it, in changing circumstances."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.claude = self.stack.enter_context(Claude())
        self.store = self.stack.enter_context(memory_store())
        self.config = Config()
        self.models = Models()
        self.mode: Mode = "auto"
        self.key, self.network = "none", "up"
        self.words = self.books = 0
        self.spent = False
        self.connect()
        self.session = Session(self.engines, self.store, "Be kind.")

    def teardown(self) -> None:
        self.cloud.close()
        self.stack.close()

    # What changes

    def connect(self) -> None:
        """Begin with a Cloud that has met nothing yet."""
        plan = CloudPlan(
            folder=self.folder,
            environment_key=KEYS[self.key],
            base_url=DEAD if self.network == "down" else self.claude.url,
            spending=Spending(self.folder / f"spending-{self.books}.db"),
            patience=Patience(connect_s=20.0, silence_s=20.0, retrying_s=0.0),
        )
        self.cloud = Cloud(plan)
        self.engines = Engines(cast("LocalModels", self.models), self.cloud)

    def change(self, what: str, value: str) -> None:
        match what:
            case "local":
                self.models.local = value
            case "memory":
                self.models.tight = value == "tight"
            case "enabled":
                self.models.enabled = value == "true"
                self.set("local.enabled", value == "true")
            case "allowed":
                self.set("cloud.allowed", value == "true")
            case "mode":
                self.mode = cast("Mode", value)
            case "key":
                self.key = value
                self.anew()
            case "network":
                self.network = value
                self.anew()
            case "budget":
                self.books += 1
                self.spent = value == "spent"
                self.anew()
                if self.spent:
                    self.spend_all()

    def set(self, key: str, value: Value) -> None:
        self.config = with_value(self.config, key, value)

    def anew(self) -> None:
        """The chat is started again, and goes on with its conversation."""
        self.cloud.close()
        self.connect()
        before, self.session = self.session, Session(self.engines, self.store, "Be kind.")
        if self.store.turns(before.conversation.id):
            self.session.resume(before.conversation)

    def spend_all(self) -> None:
        spending = Spending(self.folder / f"spending-{self.books}.db")
        spending.settle(spending.reserve("claude-sonnet-5-5", 9.0, 0.0), 9.0, estimated=False)

    @initialize(start=ALL)
    def begin(self, start: dict[str, str]) -> None:
        for what, value in start.items():
            self.change(what, value)

    # What the person does

    @rule(changes=CHANGES, private=st.booleans(), whom=whom, bold=bold, cut=cut)
    def ask(self, changes: dict[str, str], private: bool, whom: AskedFor, bold: bool, cut: int) -> None:
        for what, value in changes.items():
            self.change(what, value)
        self.put(self.question(private, whom), bold, cut)

    @rule(whom=whom, bold=bold, cut=cut)
    @precondition(lambda self: self.session.exchanges)
    def ask_again(self, whom: AskedFor, bold: bool, cut: int) -> None:
        question = self.session.retry(whom)
        assert question is not None
        before = self.session.messages()
        if self.put(question, bold, cut).error:
            assert self.session.messages() == before

    @rule(private=st.booleans(), whom=whom, bold=bold, cut=cut, after=st.integers(1, 5))
    def stop(self, private: bool, whom: AskedFor, bold: bool, cut: int, after: int) -> None:
        question = self.question(private, whom)
        heard, permits = self.prepare(cut), list[Outgoing]()
        with suppress(EngineError), closing(self.events(question, bold, permits)) as events:
            for _ in range(after):
                next(events, None)
        self.anew()  # Ends what is still on its way.
        self.check_consent(question, heard, permits, bold)
        assert self.session.exchanges[-1].question == question.text

    @rule(anew=st.integers(0, 3))
    def undo_or_begin_anew(self, anew: int) -> None:
        if anew == 3:
            self.session.new("Be kind.")
        else:
            self.session.undo()

    @rule()
    @precondition(lambda self: self.session.exchanges)
    def resume(self) -> None:
        before = self.session.messages(), self.session.outgoing(Question("?"))
        self.session.resume(self.session.conversation)
        assert (self.session.messages(), self.session.outgoing(Question("?"))) == before

    # One question

    def question(self, private: bool, whom: AskedFor) -> Question:
        self.words += 1
        mark = "private" if private else "open"
        return Question(f"What of {mark}-{self.words}?", "you marked it private" if private else "", whom)

    def events(self, question: Question, bold: bool, permits: list[Outgoing]) -> Generator[Event | Notice]:
        def permit(outgoing: Outgoing) -> bool:
            permits.append(outgoing)
            return bold

        def facts(messages: Sequence[Message]) -> Facts:
            return self.engines.facts(self.config, self.mode, messages)

        return self.session.ask(question, facts, Options(), permit)

    def prepare(self, cut: int) -> int:
        """What the screen does before each question; returns how many bytes Claude has heard until now."""
        self.cloud.want(self.config.cloud, self.mode)
        plays = NETWORKS[self.network]
        self.claude.answer = plays[cut % len(plays)]
        return len(self.claude.heard)

    def put(self, question: Question, bold: bool, cut: int) -> Ending:
        """Ask, and check what comes of it."""
        heard, asked = self.prepare(cut), len(self.claude.questions)
        ready = self.cloud.state == "ready"
        ending = Ending([], None, [])
        try:
            ending.events.extend(self.events(question, bold, ending.permits))
        except EngineError as error:
            ending.error = error
        sent = len(self.claude.heard) - heard
        self.check_end(ending)
        self.check_consent(question, heard, ending.permits, bold)
        self.check_receipt(ending, sent)
        self.check_history(question, ending, bold)
        self.check_somebody_answered(question, ending, ready, bold)
        if len(self.claude.questions) > asked:
            self.check_what_claude_got(question, ending)
        return ending

    # What must be true

    def check_end(self, ending: Ending) -> None:
        if ending.error is not None:
            told, hint = str(ending.error), ending.error.hint
            assert said(ending.events) == ""
        else:
            finish = finish_of(ending.events)
            assert sum(isinstance(event, Finish) for event in ending.events) == 1
            assert said(ending.events)
            if finish.reason == "stop":
                return
            assert finish.reason == "failed"
            told, hint = finish.error, finish.hint
        assert told
        assert hint
        assert "\n" not in told + hint
        assert not told.endswith(".")

    def check_consent(self, question: Question, heard: int, permits: list[Outgoing], bold: bool) -> None:
        may = {"local": False, "cloud": True, "ask": bool(permits) and bold, "auto": self.config.cloud.allowed}
        named = question.asked_for == "claude" and self.mode == "auto"
        allowed = (may[self.mode] or named) and not question.private and question.asked_for != "local"
        if not allowed:
            assert len(self.claude.heard) == heard
        if self.mode == "local":
            assert self.cloud.engine is None
        if self.mode != "ask":
            assert permits == []

    def check_receipt(self, ending: Ending, sent: int) -> None:
        receipt = self.session.receipt
        if receipt is None:
            assert ending.error
            assert sent == 0
            return
        finish, spent = receipt.finish, receipt.finish.spent
        assert spent.sent_bytes == sent
        assert spent == Spent() if sent == 0 else spent.cost_usd is not None
        assert receipt.route.why.startswith(f"{receipt.route.engine}, because ")
        replaced = [event for event in ending.events if isinstance(event, Notice) and "answers instead" in event.text]
        if ending.error is not None:
            assert (finish.reason, finish.error, finish.hint) == ("failed", str(ending.error), ending.error.hint)
            return
        assert finish == finish_of(ending.events)
        assert finish.usage.completion_tokens > 0
        assert len(receipt.before) == len(replaced)
        assert said(ending.events).startswith("From" if receipt.route.engine == "claude" else receipt.route.engine) or (
            receipt.route.engine == "claude" and said(ending.events).startswith("Well")
        )

    def check_history(self, question: Question, ending: Ending, bold: bool) -> None:
        turn, receipt = self.store.turns(self.session.conversation.id)[-1], self.session.receipt
        refused = bool(ending.permits) and not bold and question.asked_for != "claude"
        assert (turn.question, turn.private) == (question.text, question.private or (KEPT if refused else ""))
        assert turn.answer == said(ending.events)
        assert turn.reason == ("failed" if ending.error else finish_of(ending.events).reason)
        if receipt:
            assert (turn.origin.engine, turn.origin.model) == (receipt.route.engine, receipt.model)
            assert (turn.origin.why, turn.origin.before) == (receipt.route.why, receipt.before)
            assert (turn.sent_bytes, turn.cost_usd) == (receipt.finish.spent.sent_bytes, receipt.finish.spent.cost_usd)

    def check_somebody_answered(self, question: Question, ending: Ending, ready: bool, bold: bool) -> None:
        """The starter takes every question that is not meant for Claude; a Claude that is there takes those."""
        stays = self.mode == "local" or question.private or question.asked_for == "local"
        if question.asked_for != "claude" and (self.mode != "cloud" or stays):
            assert ending.error is None or not self.models.enabled
            return
        works = ready and self.key == "good" and self.network in ("up", "slow") and not self.spent
        if works and not stays and (self.mode != "ask" or bold):
            assert self.session.receipt is not None
            assert (ending.error, self.session.receipt.route.engine) == (None, "claude")

    def check_what_claude_got(self, question: Question, ending: Ending) -> None:
        got = [message["content"] for message in self.claude.questions[-1].body["messages"]]
        expected = self.session.outgoing(question).messages if not ending.permits else ending.permits[-1].messages
        if ending.permits:
            assert got == [message.content for message in expected if message.role != "system"]
        assert got[-1] == question.text

    @invariant()
    def nothing_private_has_left(self) -> None:
        assert PRIVATE not in self.claude.heard


TestRouting = Routing.TestCase
TestRouting.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_the_router_is_told_how_long_an_answer_may_be() -> None:
    chat = Routing()
    with closing(ExitStack()) as stack:
        stack.callback(chat.teardown)
        chat.set("generation.max_tokens", 50)
        assert chat.engines.facts(chat.config, "auto").max_tokens == 50


def test_all_circumstances_together_evenly_mixed() -> None:
    drawn = random.Random(20)
    chat = Routing()
    with closing(ExitStack()) as stack:
        stack.callback(chat.teardown)
        for number in drawn.sample(range(COUNT), 400):
            private, yes, way = drawn.random() < 0.3, drawn.random() < 0.5, drawn.randrange(CUTS)
            chat.ask(circumstances(number), private, drawn.choice(WHOM), yes, way)
            chat.nothing_private_has_left()
            match drawn.randrange(8):
                case 0:
                    chat.session.new("Be kind.")
                case 1:
                    chat.ask_again(drawn.choice(WHOM), yes, way)
                case 2:
                    chat.resume()
