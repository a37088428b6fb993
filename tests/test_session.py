"""One conversation: what is asked and answered is remembered, whatever happens on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from shammah.errors import CloudError, EngineError, HistoryError, WorkerError
from shammah.history.opening import open_store
from shammah.history.store import Store, Turn
from shammah.message import Event, Finish, Message, Notice, Options, Piece, Spent, Trimmed
from shammah.paths import Home
from shammah.router import Facts
from shammah.session import Outgoing, Question, Session
from tests.fakes import FakeEngine, Script, finish_of, said, user

GONE = WorkerError("The model worker is gone", hint="Ask again")


@dataclass
class Room:
    """A session on a history of its own, and a second look at that history."""

    store: Store
    home: Home
    session: Session = field(init=False)
    engine: FakeEngine = field(default_factory=FakeEngine)
    facts: list[Facts] = field(default_factory=lambda: [Facts()])
    counted: list[list[Message]] = field(default_factory=list)
    shown: list[Outgoing] = field(default_factory=list)
    permits: bool = True

    def talk(self, *scripts: Script, system: str = "", engine: FakeEngine | None = None) -> Session:
        self.engine = engine or FakeEngine(*scripts)
        self.session = Session({"starter": self.engine}, self.store, system)
        return self.session

    def among(self, facts: Facts, **engines: FakeEngine) -> Session:
        """Talk with several engines, of which these facts are known."""
        self.facts = [facts]
        self.session = Session(engines, self.store, "")
        return self.session

    def events(self, question: str | Question) -> Generator[Event | Notice]:
        asked = Question(question) if isinstance(question, str) else question
        return self.session.ask(asked, self.know, Options(), self.permit)

    def know(self, messages: Sequence[Message]) -> Facts:
        """What the router is told: each of `facts` once, the last one again and again."""
        self.counted.append(list(messages))
        return self.facts.pop(0) if len(self.facts) > 1 else self.facts[0]

    def permit(self, outgoing: Outgoing) -> bool:
        self.shown.append(outgoing)
        return self.permits

    def ask(self, question: str | Question) -> list[Event | Notice]:
        return list(self.events(question))

    def stop_after(self, question: str, pieces: int) -> None:
        answer = self.events(question)
        seen = 0
        while seen < pieces:
            seen += isinstance(next(answer), Piece)
        answer.close()

    def kept(self, *, undone: bool = False) -> list[Turn]:
        """The turns as another program finds them in the file."""
        with open_store(self.home.history) as other:
            return other.turns(self.session.conversation.id, undone=undone)


@pytest.fixture
def room(home: Home) -> Iterator[Room]:
    with open_store(home.history) as store:
        yield Room(store, home)


def assistant(text: str) -> Message:
    return Message("assistant", text)


# One turn


def test_a_question_is_on_the_disk_before_the_engine_is_asked(room: Room) -> None:
    seen: list[Turn] = []
    room.talk(engine=FakeEngine(when_asked=lambda: seen.extend(room.kept())))
    room.ask("Are you there?")
    (turn,) = seen
    assert turn.question == "Are you there?"
    assert (turn.origin.engine, turn.origin.model) == ("starter", "fake")


def test_the_engines_events_pass_and_end_with_one_finish(room: Room) -> None:
    room.talk(Script(["One ", "two."]))
    events = room.ask("Count")
    assert said(events) == "One two."
    assert finish_of(events).reason == "stop"
    assert sum(isinstance(event, Finish) for event in events) == 1


def test_the_answer_is_kept_with_who_gave_it_and_what_it_took(room: Room) -> None:
    room.talk(Script(["One ", "two."]))
    finish = finish_of(room.ask("Count"))
    (turn,) = room.kept()
    assert (turn.answer, turn.reason) == ("One two.", "stop")
    assert turn.usage == finish.usage
    assert turn.origin.why.startswith("starter, because")


def test_the_receipt_tells_the_route_and_the_end_of_the_last_answer(room: Room) -> None:
    session = room.talk()
    finish = finish_of(room.ask("Hello"))
    assert session.receipt is not None
    assert (session.receipt.route.engine, session.receipt.model) == ("starter", "fake")
    assert session.receipt.finish == finish


def test_the_engine_is_given_what_was_said_before(room: Room) -> None:
    room.talk(Script(["Hi."]), Script(["Fine."]), system="Be kind.")
    room.ask("Hello")
    room.ask("How are you?")
    assert room.engine.asked[1] == [
        Message("system", "Be kind."),
        user("Hello"),
        assistant("Hi."),
        user("How are you?"),
    ]


# Stopped


def test_closing_stops_the_engine_and_keeps_what_was_said_as_interrupted(room: Room) -> None:
    session = room.talk(Script(["One ", "two ", "three."]))
    room.stop_after("Count", 2)
    assert room.engine.stopped == 1
    (turn,) = room.kept()
    assert (turn.answer, turn.reason, turn.usage.completion_tokens) == ("One two ", "interrupted", 2)
    assert session.receipt is not None
    assert session.receipt.finish.reason == "interrupted"


def test_what_was_said_before_the_stop_is_part_of_the_conversation(room: Room) -> None:
    room.talk(Script(["One ", "two ", "three."]))
    room.stop_after("Count", 2)
    room.ask("Go on")
    assert room.engine.asked[1] == [user("Count"), assistant("One two "), user("Go on")]


def test_a_question_stopped_before_the_first_piece_is_kept_and_not_told_to_the_engine_again(room: Room) -> None:
    room.talk()
    answer = room.events("Wait")
    next(answer)
    answer.close()
    room.ask("Next")
    stopped, _ = room.kept()
    assert (stopped.question, stopped.answer, stopped.reason) == ("Wait", "", "interrupted")
    assert room.engine.asked[1] == [user("Next")]


# Failed


def test_a_question_that_nobody_could_answer_is_kept_and_is_no_part_of_the_context(room: Room) -> None:
    room.talk(Script(fault=GONE), Script(["Yes."]))
    with pytest.raises(EngineError, match="is gone"):
        room.ask("Are you there?")
    room.ask("And now?")
    first, second = room.kept()
    assert (first.question, first.answer, first.reason, first.error) == ("Are you there?", "", "failed", str(GONE))
    assert second.answer == "Yes."
    assert room.engine.asked[1] == [user("And now?")]


def test_a_fault_in_mid_answer_keeps_what_was_said(room: Room) -> None:
    room.talk(Script(["One ", "two "], fault=GONE, fault_at=1), Script(["Yes."]))
    events = room.ask("Count")
    assert (finish_of(events).reason, finish_of(events).hint) == ("failed", "Ask again")
    room.ask("And now?")
    assert [(turn.answer, turn.reason) for turn in room.kept()] == [("One ", "failed"), ("Yes.", "stop")]
    assert room.engine.asked[1] == [user("Count"), assistant("One "), user("And now?")]


def test_where_nobody_may_answer_that_is_told_and_the_engine_is_not_asked(room: Room) -> None:
    session = room.talk()
    with pytest.raises(EngineError, match=r"local\.enabled"):
        list(session.ask(Question("Hello"), lambda _: Facts(enabled=False), Options(), room.permit))
    assert room.engine.asked == []
    assert finish_of(room.ask("Hello")).reason == "stop"


# A history that cannot be written


def refuse_writes(room: Room, table: str) -> None:
    """Have SQLite refuse what a full or broken disk would."""
    other = sqlite3.connect(room.home.history)
    for change in ("INSERT", "UPDATE"):
        refusal = "BEGIN SELECT RAISE(FAIL, 'the disk is ill'); END"
        other.execute(f"CREATE TRIGGER refuse_{change} BEFORE {change} ON {table} {refusal}")
    other.commit()
    other.close()


@pytest.mark.parametrize("table", ["turns", "pieces"])
def test_what_the_disk_refuses_is_one_notice_and_the_answer_goes_on(room: Room, table: str) -> None:
    room.talk(Script(["One ", "two ", "three."], delay_s=0.25))
    refuse_writes(room, table)
    events = room.ask("Count")
    notices = [event for event in events if isinstance(event, Notice)]
    assert said(events) == "One two three."
    assert finish_of(events).reason == "stop"
    assert len(notices) == 1
    assert notices[0].hint


def test_an_exchange_that_could_not_be_saved_is_still_part_of_the_conversation(room: Room) -> None:
    session = room.talk(Script(["Hi."]))
    refuse_writes(room, "turns")
    room.ask("Hello")
    room.ask("Again")
    assert room.engine.asked[1] == [user("Hello"), assistant("Hi."), user("Again")]
    assert session.undo() is not None
    assert session.messages() == [user("Hello"), assistant("Hi.")]


# A conversation that no longer fits


def test_turns_that_the_engine_left_out_are_not_sent_again(room: Room) -> None:
    room.talk(Script(["One."]), Script(["Two."]), Script(["Three."], trimmed=Trimmed(1, 100)), Script(), system="S")
    for question in ("First", "Second", "Third"):
        room.ask(question)
    assert room.session.left_out == 1
    room.ask("Fourth")
    assert room.engine.asked[3] == [
        Message("system", "S"), user("Second"), assistant("Two."), user("Third"), assistant("Three."), user("Fourth"),
    ]  # fmt: skip
    assert [turn.question for turn in room.kept()] == ["First", "Second", "Third", "Fourth"]


def test_a_cut_is_told_before_the_answer(room: Room) -> None:
    room.talk(Script(trimmed=Trimmed(2, 100)))
    assert room.ask("Hello")[0] == Trimmed(2, 100)


def test_undo_new_and_resume_count_what_is_left_out_anew(room: Room) -> None:
    session = room.talk(Script(trimmed=Trimmed(1, 100)))
    for again in (session.undo, lambda: session.new(""), lambda: session.resume(session.conversation)):
        room.ask("Hello")
        assert session.left_out > 0
        again()
        assert session.left_out == 0


# Changes


def test_undo_takes_the_last_exchange_back_and_the_history_keeps_it_as_undone(room: Room) -> None:
    session = room.talk(Script(["One."]), Script(["Two."]))
    room.ask("First")
    room.ask("Second")
    undone = session.undo()
    assert undone is not None
    assert (undone.question, undone.answer) == ("Second", "Two.")
    assert session.messages() == [user("First"), assistant("One.")]
    assert [turn.undone for turn in room.kept(undone=True)] == [False, True]


def test_undo_takes_back_what_this_chat_shows_and_not_what_another_said_since(room: Room) -> None:
    first = room.talk(Script(["One."]))
    room.ask("Of this chat")
    with open_store(room.home.history) as store:
        other = Session({"starter": FakeEngine(Script(["Two."]))}, store, "")
        other.resume(first.conversation)
        list(other.ask(Question("Of the other"), room.know, Options(), room.permit))
    undone = first.undo()
    assert undone is not None
    assert undone.question == "Of this chat"
    assert [turn.question for turn in room.kept()] == ["Of the other"]


def test_what_two_chats_take_back_is_taken_back_once(room: Room) -> None:
    first = room.talk(Script(["One."]), Script(["Two."]))
    room.ask("First")
    room.ask("Second")
    with open_store(room.home.history) as store:
        other = Session({}, store, "")
        other.resume(first.conversation)
        assert other.undo() is not None
    assert first.undo() is not None
    assert [turn.question for turn in room.kept()] == ["First"]


def test_there_is_nothing_to_undo_in_a_new_conversation(room: Room) -> None:
    assert room.talk().undo() is None


def test_undo_after_a_failure_takes_the_failed_question_back(room: Room) -> None:
    session = room.talk(Script(["One."]), Script(fault=GONE))
    room.ask("First")
    with pytest.raises(EngineError):
        room.ask("Second")
    undone = session.undo()
    assert undone is not None
    assert undone.question == "Second"
    assert [turn.question for turn in room.kept()] == ["First"]


def test_a_retry_asks_the_same_without_the_first_answer(room: Room) -> None:
    session = room.talk(Script(["One."]), Script(["Better."]))
    room.ask("First")
    undone = session.undo()
    assert undone is not None
    room.ask(undone.question)
    assert room.engine.asked[1] == room.engine.asked[0] == [user("First")]
    assert [turn.answer for turn in room.kept()] == ["Better."]


def test_a_new_conversation_knows_nothing_of_the_one_before(room: Room) -> None:
    session = room.talk(Script(["One."]), system="Old")
    room.ask("First")
    before = session.conversation
    session.new("New")
    room.ask("Hello")
    assert session.conversation.id != before.id
    assert room.engine.asked[1] == [Message("system", "New"), user("Hello")]
    assert [turn.question for turn in room.store.turns(before.id)] == ["First"]


def test_a_conversation_is_taken_up_with_its_system_prompt_and_what_was_answered(room: Room) -> None:
    room.talk(Script(["One ", "two."]), Script(fault=GONE), Script(["Three."]), system="Be kind.")
    room.stop_after("Stopped", 1)
    with pytest.raises(EngineError):
        room.ask("Failed")
    room.ask("Answered")
    earlier = room.session.conversation
    later = room.talk(Script(["Four."]), system="Another")
    turns = later.resume(earlier)
    assert [turn.question for turn in turns] == ["Stopped", "Failed", "Answered"]
    room.ask("On")
    assert room.engine.asked[0] == [
        Message("system", "Be kind."),
        user("Stopped"), assistant("One "), user("Answered"), assistant("Three."), user("On"),
    ]  # fmt: skip
    assert len(room.kept()) == 4


def test_an_answer_that_came_to_its_own_end_is_known_as_complete_also_when_it_is_taken_up(room: Room) -> None:
    broken = Script(["One ", "two."], fault=GONE, fault_at=1)
    session = room.talk(broken, Script(["One ", "two."]))
    room.ask("Failed")
    room.ask("Whole")
    room.stop_after("Stopped", 1)
    list(session.ask(Question("Cut"), room.know, Options(max_tokens=1), room.permit))
    complete = [exchange.complete for exchange in session.exchanges]
    session.resume(session.conversation)
    assert complete == [exchange.complete for exchange in session.exchanges] == [False, True, False, False]


def test_another_system_prompt_counts_from_the_next_question_and_is_kept(room: Room) -> None:
    session = room.talk(Script(["One."]), system="Old")
    room.ask("First")
    session.set_system("New")
    room.ask("Second")
    assert room.engine.asked[1][0] == Message("system", "New")
    assert room.store.find(session.conversation.id).system == "New"
    session.set_system("")
    assert session.messages()[0] == user("First")


def test_the_options_reach_the_engine(room: Room) -> None:
    session = room.talk()
    list(session.ask(Question("Hello"), room.know, Options(max_tokens=7, seed=3), room.permit))
    assert room.engine.options == [Options(max_tokens=7, seed=3)]


# Several engines

CUT = CloudError("Claude could not be reached", hint="Check the network", trouble="offline")
READY = Facts(local="ready", local_name="qwen")
CLOUD = Facts(mode="cloud", local="ready", local_name="qwen", cloud="ready", cloud_name="claude-x")
ALLOWED = Facts(local="loading", local_name="qwen", cloud="ready", cloud_name="claude-x", allowed=True)


def qwen(*scripts: Script) -> FakeEngine:
    return FakeEngine(*scripts, name="local", model="qwen")


def claude(*scripts: Script) -> FakeEngine:
    return FakeEngine(*scripts, name="claude", model="claude-x")


def notices(events: Sequence[object]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_the_facts_are_asked_for_with_what_the_local_model_would_read(room: Room) -> None:
    room.talk(Script(["Hi."]), system="Be kind.")
    room.ask("Hello")
    room.ask("And?")
    assert room.counted == room.engine.asked


def test_where_an_engine_fails_before_its_first_piece_the_next_one_answers_and_the_receipt_says_so(room: Room) -> None:
    session = room.among(CLOUD, claude=claude(Script(fault=CUT)), local=qwen(Script(["From here."])))
    events = room.ask("Hello")
    assert (said(events), finish_of(events).reason) == ("From here.", "stop")
    assert notices(events) == ["Claude could not be reached; qwen answers instead"]
    assert session.receipt is not None
    assert (session.receipt.route.engine, session.receipt.model) == ("local", "qwen")
    assert session.receipt.before == ("Claude failed: Claude could not be reached",)
    (turn,) = room.kept()
    assert (turn.answer, turn.origin.engine, turn.origin.before) == ("From here.", "local", session.receipt.before)


def test_a_local_failure_goes_to_claude_only_where_that_is_allowed(room: Room) -> None:
    for allowed, who in ((True, "claude"), (False, "starter")):
        facts = replace(READY, cloud="ready", allowed=allowed)
        session = room.among(facts, local=qwen(Script(fault=GONE)), claude=claude(), starter=FakeEngine())
        room.ask("Hello")
        assert session.receipt is not None
        assert session.receipt.route.engine == who


def test_what_is_known_is_asked_anew_before_each_attempt(room: Room) -> None:
    engines = {"claude": claude(Script(fault=CUT)), "local": qwen(), "starter": FakeEngine(Script(["Starter."]))}
    room.among(CLOUD, **engines)
    room.facts = [ALLOWED, replace(ALLOWED, cloud="unreachable")]
    assert said(room.ask("Hello")) == "Starter."


def test_a_fault_after_the_first_piece_is_an_end_and_nobody_else_is_asked(room: Room) -> None:
    local = qwen()
    room.among(CLOUD, claude=claude(Script(["One ", "two"], fault=CUT, fault_at=1)), local=local)
    finish = finish_of(room.ask("Count"))
    assert (finish.reason, finish.error) == ("failed", "Claude could not be reached")
    assert local.asked == []
    room.facts = [READY]
    room.ask(Question("Go on", asked_for="local"))
    assert local.asked == [[user("Count"), assistant("One "), user("Go on")]]


def test_where_all_fail_the_error_is_that_of_the_one_who_knows_most(room: Room) -> None:
    small = FakeEngine(Script(fault=WorkerError("The starter is gone", hint="Ask again")))
    session = room.among(READY, local=qwen(Script(fault=GONE)), starter=small)
    with pytest.raises(EngineError, match="The model worker is gone"):
        room.ask("Hello")
    assert session.receipt is not None
    assert (session.receipt.finish.reason, session.receipt.before) == (
        "failed",
        ("qwen failed: The model worker is gone",),
    )
    (turn,) = room.kept()
    assert (turn.answer, turn.reason, turn.error) == ("", "failed", "The model worker is gone")


def test_an_engine_that_ended_since_the_facts_were_told_is_passed_over(room: Room) -> None:
    room.among(READY, starter=FakeEngine(Script(["Starter."])))
    assert said(room.ask("Hello")) == "Starter."


# What it cost


def test_what_left_the_machine_is_in_the_receipt_and_in_the_history(room: Room) -> None:
    spent = Spent(1200, 0.25, estimated=True)
    session = room.among(CLOUD, claude=claude(Script(spent=spent)), local=qwen())
    finish = finish_of(room.ask("Hello"))
    assert finish.spent == spent
    assert session.receipt is not None
    assert session.receipt.finish == finish
    (turn,) = room.kept()
    assert (turn.sent_bytes, turn.cost_usd, turn.estimated) == (1200, 0.25, True)


def test_what_a_failed_attempt_sent_stays_counted(room: Room) -> None:
    room.among(CLOUD, claude=claude(Script(fault=CUT, spent=Spent(900, 0.5))), local=qwen())
    assert finish_of(room.ask("Hello")).spent == Spent(900, 0.5)
    (turn,) = room.kept()
    assert (turn.origin.engine, turn.sent_bytes, turn.cost_usd) == ("local", 900, 0.5)


def test_what_was_sent_stays_counted_where_nobody_could_answer(room: Room) -> None:
    session = room.among(CLOUD, claude=claude(Script(fault=CUT, spent=Spent(900, None))))
    with pytest.raises(CloudError):
        room.ask("Hello")
    assert session.receipt is not None
    assert session.receipt.finish.spent == Spent(900, None)
    (turn,) = room.kept()
    assert (turn.sent_bytes, turn.cost_usd) == (900, None)


def test_a_stopped_answer_has_what_was_sent_until_then(room: Room) -> None:
    session = room.among(CLOUD, claude=claude(Script(["One ", "two."], spent=Spent(700, 0.1))))
    room.stop_after("Count", 1)
    assert session.receipt is not None
    assert session.receipt.finish.spent == Spent(700, 0.1)
    (turn,) = room.kept()
    assert (turn.reason, turn.sent_bytes) == ("interrupted", 700)


def test_the_time_of_a_failed_attempt_is_part_of_the_time_to_the_first_piece(room: Room) -> None:
    slow = Script(["Never."], delay_s=0.2, fault=CUT, fault_at=1)
    failing = claude(replace(slow, pieces=[], fault_at=0))
    room.among(CLOUD, claude=failing, local=qwen())
    timing = finish_of(room.ask("Hello")).timing
    assert timing.total_s >= timing.first_token_s >= 0.2


# Mode ask

ASK = replace(ALLOWED, mode="ask", allowed=False)


def test_in_mode_ask_nothing_goes_to_claude_before_the_person_has_seen_it_and_said_yes(room: Room) -> None:
    other = claude(Script(["From afar."]))
    room.among(ASK, claude=other, starter=FakeEngine())
    assert said(room.ask("Hello")) == "From afar."
    (seen,) = room.shown
    assert (seen.model, list(seen.messages), seen.characters, seen.withheld) == ("claude-x", other.asked[0], 5, 0)


def test_after_a_no_the_next_engine_answers_and_is_not_followed_by_another_question(room: Room) -> None:
    other = claude()
    room.permits = False
    local = qwen(Script(fault=GONE))
    session = room.among(replace(ASK, local="ready", wait_s=999.0), claude=other, local=local, starter=FakeEngine())
    events = room.ask("Hello")
    assert (other.asked, len(room.shown)) == ([], 1)
    assert notices(events) == ["The model worker is gone; fake answers instead"]
    assert session.receipt is not None
    assert session.receipt.route.engine == "starter"


def test_what_was_kept_by_a_no_stays_when_a_later_question_may_leave(room: Room) -> None:
    other = claude(Script(["From afar."]))
    room.permits = False
    session = room.among(ASK, claude=other, starter=FakeEngine(Script(["From here."])))
    room.ask("Keep this")
    room.permits = True
    events = room.ask("Send this")
    assert said(events) == "From afar."
    assert other.asked == [[user("Send this")]]
    assert room.shown[-1].withheld == 1
    assert session.resume(room.store.find(session.conversation.id))[0].private == "you kept it on this machine"


def test_a_no_to_what_was_meant_for_claude_is_an_end_and_the_answer_before_stays(room: Room) -> None:
    room.permits = False
    other = claude()
    session = room.among(replace(ASK, local="ready"), claude=other, local=qwen(Script(["Hi."])))
    room.ask("Hello")
    question = session.retry("claude")
    assert question is not None
    with pytest.raises(EngineError, match="you kept the question here"):
        room.ask(question)
    assert other.asked == []
    assert session.messages() == [user("Hello"), assistant("Hi.")]


def test_who_stops_when_asked_whether_to_send_gets_no_answer_and_the_question_is_kept(room: Room) -> None:
    def stop(_outgoing: Outgoing) -> bool:
        raise KeyboardInterrupt

    other, small = claude(), FakeEngine()
    session = room.among(ASK, claude=other, starter=small)
    with pytest.raises(KeyboardInterrupt):
        list(session.ask(Question("Hello"), room.know, Options(), stop))
    assert (other.asked, small.asked) == ([], [])
    (turn,) = room.kept()
    assert (turn.question, turn.answer, turn.reason, turn.private) == ("Hello", "", "interrupted", "")


@pytest.mark.parametrize("mode", ["auto", "cloud"])
def test_in_the_other_modes_the_person_is_not_asked(room: Room, mode: Any) -> None:
    room.among(replace(ALLOWED, mode=mode), claude=claude())
    room.ask("Hello")
    assert room.shown == []


# Private

SECRET = "My door code is 4711"
MARKED = "you marked it private"


def talk_of_something_private(room: Room, facts: Facts) -> FakeEngine:
    """Four exchanges: an open one by Claude, a private one, one with it in view, one by Claude. Returns Claude."""
    other = claude(Script(["From afar."]))
    local = qwen(Script(["Noted: 4711."]), Script(["It was 4711."]), Script(["Here."]))
    room.among(facts, claude=other, local=local)
    room.ask("Hello")
    room.ask(Question(SECRET, private=MARKED))
    room.ask(Question("What was it?", asked_for="local"))
    room.ask("How is the weather?")
    return other


def test_what_is_private_never_reaches_claude_nor_what_was_answered_with_it_in_view(room: Room) -> None:
    other = talk_of_something_private(room, CLOUD)
    assert other.asked[-1] == [user("Hello"), assistant("From afar."), user("How is the weather?")]
    room.ask("And tomorrow?")
    assert other.asked[-1][2:] == [user("How is the weather?"), assistant("From afar."), user("And tomorrow?")]


def test_how_many_exchanges_are_withheld_is_told_each_time(room: Room) -> None:
    talk_of_something_private(room, CLOUD)
    for _ in range(2):
        assert notices(room.ask("And?")) == [
            "2 earlier exchanges are private and stay here; Claude answers without them"
        ]
    assert room.session.outgoing(Question("And?")).withheld == 2


def test_the_local_model_gets_all_of_it(room: Room) -> None:
    talk_of_something_private(room, CLOUD)
    texts = [message.content for message in room.session.messages("And?")]
    assert SECRET in texts
    assert "It was 4711." in texts


def test_what_is_private_stays_so_after_the_conversation_is_resumed(room: Room) -> None:
    talk_of_something_private(room, CLOUD)
    before, conversation = room.session.outgoing(Question("And?")), room.session.conversation
    assert [turn.private for turn in room.kept()] == ["", MARKED, "", ""]
    later = room.among(CLOUD, claude=claude(), local=qwen())
    later.resume(conversation)
    assert later.outgoing(Question("And?")) == before
    assert [exchange.private for exchange in later.exchanges] == ["", MARKED, "", ""]


def test_a_private_question_is_answered_here_and_the_reason_says_so(room: Room) -> None:
    session = room.among(CLOUD, claude=claude(), local=qwen())
    room.ask(Question(SECRET, private=MARKED))
    assert session.receipt is not None
    assert session.receipt.route.why == f"local, because qwen is ready, and the question stays here: {MARKED}"


def test_a_conversation_kept_private_stays_so_whatever_is_asked_and_when_it_is_resumed(room: Room) -> None:
    other = claude(Script(["From afar."]))
    session = room.among(CLOUD, claude=other, local=qwen())
    room.ask("Hello")
    session.keep_private("it is about my health")
    room.ask("Who am I?")
    session.resume(room.store.find(session.conversation.id))
    room.ask("And now?")
    question = session.retry("claude")
    assert question is not None
    with pytest.raises(EngineError, match="it is about my health"):
        room.ask(question)
    assert len(other.asked) == 1
    session.new("")
    room.ask("Hello again")
    assert len(other.asked) == 2


def test_a_conversation_is_kept_private_also_where_the_disk_refuses_to_note_it(room: Room) -> None:
    other = claude()
    session = room.among(CLOUD, claude=other, local=qwen())
    room.ask(Question("Hello", asked_for="local"))
    refuse_writes(room, "private_conversations")
    with pytest.raises(HistoryError):
        session.keep_private("it is about my health")
    room.ask("Who am I?")
    assert other.asked == []


def test_a_private_question_that_failed_here_goes_nowhere_else(room: Room) -> None:
    other = claude()
    room.among(replace(CLOUD, mode="auto", allowed=True), claude=other, local=qwen(Script(fault=GONE)))
    with pytest.raises(EngineError, match="is gone"):
        room.ask(Question(SECRET, private=MARKED))
    assert other.asked == []


def test_a_private_question_without_an_answer_taints_nothing(room: Room) -> None:
    other = claude()
    room.among(CLOUD, claude=other, local=qwen(Script(fault=GONE), Script(["Hi."])))
    with pytest.raises(EngineError):
        room.ask(Question(SECRET, private=MARKED))
    room.ask(Question("Hello", asked_for="local"))
    room.ask("And?")
    assert other.asked == [[user("Hello"), assistant("Hi."), user("And?")]]


def test_what_the_local_model_left_out_is_not_left_out_for_claude(room: Room) -> None:
    other, local = claude(), qwen(Script(["One."]), Script(["Two."], trimmed=Trimmed(1, 100)))
    room.among(READY, claude=other, local=local)
    room.ask("First")
    room.ask("Second")
    room.facts = [CLOUD]
    room.ask("Third")
    assert [message.content for message in other.asked[0]] == ["First", "One.", "Second", "Two.", "Third"]


# Asked again


def test_asked_again_the_other_answers_and_both_answers_are_kept(room: Room) -> None:
    other = claude(Script(["From afar."]))
    session = room.among(replace(READY, cloud="ready"), claude=other, local=qwen(Script(["From here."])))
    room.ask("Hello")
    question = session.retry("claude")
    assert question is not None
    assert said(room.ask(question)) == "From afar."
    assert other.asked == [[user("Hello")]]
    assert session.messages() == [user("Hello"), assistant("From afar.")]
    (turn,) = room.kept()
    assert (turn.answer, [former.answer for former in turn.former]) == ("From afar.", ["From here."])


def test_until_it_is_asked_again_nothing_changes(room: Room) -> None:
    session = room.talk(Script(["One."]))
    room.ask("First")
    assert session.retry() == Question("First", retries=session.exchanges[0])
    assert session.messages() == [user("First"), assistant("One.")]
    assert [turn.answer for turn in room.kept()] == ["One."]


def test_asked_again_without_success_the_answer_before_stays_also_after_resuming(room: Room) -> None:
    session = room.among(READY, local=qwen(Script(["Hi."]), Script(fault=GONE)))
    room.ask("Hello")
    question = session.retry("local")
    assert question is not None
    with pytest.raises(EngineError):
        room.ask(question)
    assert session.messages() == [user("Hello"), assistant("Hi.")]
    session.resume(session.conversation)
    assert session.messages() == [user("Hello"), assistant("Hi.")]
    assert session.undo() is not None
    assert room.kept() == []


def test_a_private_question_asked_again_is_private(room: Room) -> None:
    session = room.among(CLOUD, claude=claude(), local=qwen())
    room.ask(Question(SECRET, private=MARKED))
    question = session.retry("claude")
    assert question is not None
    assert question.private == MARKED
    with pytest.raises(EngineError, match=MARKED):
        room.ask(question)


def test_there_is_nothing_to_ask_again_in_a_new_conversation(room: Room) -> None:
    assert room.talk().retry() is None
