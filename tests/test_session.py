"""One conversation: what is asked and answered is remembered, whatever happens on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from shammah.errors import EngineError, WorkerError
from shammah.history.opening import open_store
from shammah.history.store import Store, Turn
from shammah.message import Event, Finish, Message, Notice, Options, Piece, Trimmed
from shammah.paths import Home
from shammah.router import Facts
from shammah.session import Session
from tests.fakes import FakeEngine, Script, finish_of, said, user

GONE = WorkerError("The model worker is gone", hint="Ask again")


@dataclass
class Room:
    """A session on a history of its own, and a second look at that history."""

    store: Store
    home: Home
    session: Session = field(init=False)
    engine: FakeEngine = field(default_factory=FakeEngine)

    def talk(self, *scripts: Script, system: str = "", engine: FakeEngine | None = None) -> Session:
        self.engine = engine or FakeEngine(*scripts)
        self.session = Session({"starter": self.engine}, self.store, system)
        return self.session

    def ask(self, question: str) -> list[Event | Notice]:
        return list(self.session.ask(question, Facts(), Options()))

    def stop_after(self, question: str, pieces: int) -> None:
        answer = self.session.ask(question, Facts(), Options())
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
    answer = room.session.ask("Wait", Facts(), Options())
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
        list(session.ask("Hello", Facts(enabled=False), Options()))
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
    list(session.ask("Hello", Facts(), Options(max_tokens=7, seed=3)))
    assert room.engine.options == [Options(max_tokens=7, seed=3)]
