"""The history: what was asked and answered is found again, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shammah.database import PATIENCE_S
from shammah.errors import HistoryError
from shammah.history.export import to_json, to_markdown
from shammah.history.opening import open_store
from shammah.history.search import search
from shammah.history.store import Cost, Origin, Store, Turn
from shammah.history.writer import AnswerWriter
from shammah.message import Finish, Spent, Timing, Usage

STARTER = Origin("starter", "starter-1", "No larger model is here yet")
CLAUDE = Origin("claude", "claude-sonnet-5-5", "claude, because qwen is still loading", ("local: the worker died",))
FORMAT_1 = Path(__file__).parent / "data" / "history_format_1.db"
TRIAL = Path(__file__).parent.parent / "scripts" / "trial_history.py"
posix = pytest.mark.skipif(os.name == "nt", reason="file modes mean little on Windows")
not_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")
NOW = "2026-11-21T07:45:00.000+00:00"
LETTERS = "abé ßB-_'\"*\0日.½\u0301\ue000İς"
in_place = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path) as opened:
        yield opened


@dataclass
class HandClock:
    """A clock that stands until it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def say(store: Store, question: str, answer: str = "An answer", conversation: str = "") -> Turn:
    """One whole turn, in a new conversation where none is named."""
    turn = store.begin_turn(conversation or store.new_conversation().id, question)
    store.finish(turn.id, Finish("stop"), STARTER, tail=answer)
    return store.turns(turn.conversation)[-1]


def ask_claude(store: Store, question: str, spent: Spent, conversation: str = "") -> Turn:
    """One whole turn that was sent to Claude."""
    turn = store.begin_turn(conversation or store.new_conversation().id, question)
    store.finish(turn.id, Finish("stop", Usage(1200, 1000, 20), spent=spent), CLAUDE, tail="An answer")
    return store.turns(turn.conversation)[-1]


def fill_disk(store: Store) -> None:
    """SQLite then reports a full disk as soon as the file has to grow."""
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")


def empty_disk(store: Store) -> None:
    store.connection.execute("PRAGMA max_page_count = 1000000")


# The file


@posix
def test_the_file_and_those_beside_it_are_the_owners_alone(store: Store, path: Path) -> None:
    say(store, "a secret")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {"history.db", "history.db-wal", "history.db-shm"}


@posix
def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    open_store(path).close()
    path.chmod(0o644)
    with open_store(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_needs_the_disk_more_than_the_promise_says(store: Store) -> None:
    settings = {
        name: store.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize("logged", [False, True])
def test_a_file_of_a_newer_version_is_left_as_it_is(path: Path, logged: bool) -> None:
    open_store(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 4")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if logged or file.suffix == ".db"}
    newer.close()
    if logged:  # as a crash leaves it: the newer number stands only in the log
        for name, content in before.items():
            (path.parent / name).write_bytes(content)
    kept = {
        name: (path.parent / name).read_bytes()
        for name in ("history.db", "history.db-wal")
        if (path.parent / name).exists()
    }
    with pytest.raises(HistoryError, match=r"written by a newer shammah \(format 4; this one knows 3\)") as caught:
        open_store(path)
    assert caught.value.hint
    assert {name: (path.parent / name).read_bytes() for name in kept} == kept


def test_a_file_of_the_first_format_is_read_searched_and_gone_on_with(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(FORMAT_1.read_bytes())
    with open_store(path) as store:
        prime, undone, count, cut_off = store.turns("w2fma3", undone=True)
        again = store.begin_turn("w2fma3", "Go on", private="told so", retries=cut_off.id)
        store.finish(again.id, Finish("stop", spent=Spent(70, 0.5)), CLAUDE, tail="7 8")
    assert (prime.answer, prime.usage, prime.cost_usd) == ("A number with two divisors.", Usage(21, 4, 9), None)
    assert (prime.private, prime.estimated, prime.retries, prime.former, prime.origin.before) == (
        "",
        False,
        None,
        (),
        (),
    )
    assert (undone.undone, undone.question, len(count.answer), cut_off.answer) == (
        True,
        "And grüße 日本?",
        12_000,
        "4 5 6",
    )
    with open_store(path) as store:
        assert [turn.id for turn in store.turns("w2fma3")] == [prime.id, count.id, again.id]
        assert store.turns("w2fma3")[-1].former[0].answer == "4 5 6"
        assert store.cost("w2fma3") == Cost(0.5, 0, 0, 1, 70)
        assert [hit.conversation for hit in search(store, "divisors")] == ["w2fma3"]


def test_a_chat_of_the_first_format_that_still_runs_goes_on_in_the_newer_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(FORMAT_1.read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as older, open_store(path) as store:
        older.execute(
            "INSERT INTO turns (conversation, position, started, question) VALUES ('w2fma3', 9, ?, 'old')", (NOW,)
        )
        older.execute("INSERT INTO conversations VALUES ('older2', ?, ?, '', '')", (NOW, NOW))
        older.commit()
        assert store.turns("w2fma3")[-1].question == "old"
        assert store.find("older2").private == ""


def test_what_an_older_chat_said_of_a_private_conversation_still_holds(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(FORMAT_1.read_bytes())
    with open_store(path) as store:
        store.begin_turn("w2fma3", "Hello", private="you keep this conversation private")
        store.connection.execute("DROP TABLE private_conversations")
        store.connection.execute("PRAGMA user_version = 2")
    with open_store(path) as store:
        assert store.find("w2fma3").private == "you keep this conversation private"


@pytest.mark.parametrize("content", [b"x", b"not a database\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_named_and_kept(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"history\.db") as caught:
        open_store(path)
    assert "ove the file away" in caught.value.hint or "move it away" in caught.value.hint
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def test_damaged_pages_are_an_error_and_not_a_loss(path: Path) -> None:
    with open_store(path) as store:
        conversation = say(store, "x" * 100_000).conversation
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))
    with open_store(path) as store, pytest.raises(HistoryError) as caught:
        store.turns(conversation)
    assert caught.value.hint


def test_a_flipped_bit_in_a_text_leaves_the_rest_readable(path: Path) -> None:
    with open_store(path) as store:
        conversation = say(store, "before UNIQUE after").conversation
    path.write_bytes(path.read_bytes().replace(b"UNIQUE after", b"UNI\xffUE after"))
    with open_store(path) as store:
        assert store.turns(conversation)[0].question == "before UNI�UE after"


def test_another_programs_database_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE notes (text)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="database of another program"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="is a folder"):
        open_store(tmp_path)


def test_a_file_in_place_of_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("I am a file")
    with pytest.raises(HistoryError, match="cannot be opened") as caught:
        open_store(tmp_path / "home" / "history.db")
    assert "SHAMMAH_HOME" in caught.value.hint


@not_root
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, mode: int) -> None:
    (tmp_path / "home").mkdir(mode=mode)
    with pytest.raises(HistoryError, match="Permission denied"):
        open_store(tmp_path / "home" / "history.db")
    (tmp_path / "home").chmod(0o700)


@not_root
def test_a_file_that_may_not_be_written_is_named(path: Path) -> None:
    open_store(path).close()
    path.chmod(0o400)
    with pytest.raises(HistoryError, match="Permission denied"):
        open_store(path)


def test_several_programs_create_the_file_at_once(path: Path) -> None:
    faults: list[HistoryError] = []
    start = threading.Barrier(8)

    def open_and_say() -> None:
        start.wait()
        try:
            with open_store(path) as store:
                say(store, "hello")
        except HistoryError as error:
            faults.append(error)

    threads = [threading.Thread(target=open_and_say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_store(path) as store:
        assert (faults, len(store.conversations())) == ([], 8)


def test_a_path_with_odd_signs_is_a_path(tmp_path: Path) -> None:
    odd = tmp_path / "a b#c%20ü" / "history.db"
    for expected in (0, 1):
        with open_store(odd) as store:
            assert len(store.conversations()) == expected
            say(store, "hello")


# Conversations


def remove(store: Store, name: str) -> None:
    """Delete a conversation, as a person may with another program."""
    store.connection.execute("DELETE FROM conversations WHERE id = ?", (name,))


def test_an_empty_chat_leaves_nothing_behind(path: Path) -> None:
    with open_store(path) as store:
        name = store.new_conversation("Be short").id
        store.set_system(name, "Be kind")
    with open_store(path) as store:
        assert (store.conversations(), store.last()) == ([], None)


def test_a_conversation_keeps_its_system_prompt_and_is_named_after_its_first_question(store: Store) -> None:
    name = store.new_conversation("Be short").id
    store.set_system(name, "Be kind")
    say(store, "\n  What  is\tWAL?\nSecond line", conversation=name)
    say(store, "And then?", conversation=name)
    found = store.find(name)
    assert (found.title, found.system) == ("What is WAL?", "Be kind")
    store.set_system(name, "Be brave")
    assert store.find(name).system == "Be brave"


@pytest.mark.parametrize("asked", ["before", "after"])
def test_a_conversation_that_is_private_stays_so_and_the_export_says_it(path: Path, asked: str) -> None:
    with open_store(path) as store:
        name = store.new_conversation().id
        if asked == "before":
            say(store, "hello", conversation=name)
        store.keep_conversation_private(name, "told so")
        if asked == "after":
            say(store, "hello", conversation=name)
    with open_store(path) as store:
        last = store.last()
        assert last == store.find(name)
        assert last.private == "told so"
        assert ", private: told so\n" in to_markdown(last, [])
        remove(store, name)
        assert store.connection.execute("SELECT count(*) FROM private_conversations").fetchone()[0] == 0


def test_a_title_has_60_characters_at_most(store: Store) -> None:
    title = store.find(say(store, "long " * 50).conversation).title
    assert (len(title), title[-1]) == (60, "…")


def test_an_id_is_short_and_its_start_is_enough(store: Store) -> None:
    name = say(store, "hello").conversation
    assert len(name) == 6
    assert name.isalnum()
    assert {store.find(start).id for start in (name, name[:1], name[:3].upper(), f" {name} ")} == {name}


def test_an_id_that_could_be_several_names_them(store: Store) -> None:
    names = sorted(say(store, f"hello {i}").conversation for i in range(30))
    first, second = next((a, b) for a, b in pairwise(names) if a[0] == b[0])
    with pytest.raises(HistoryError, match="conversations start with") as caught:
        store.find(first[0])
    assert first in str(caught.value) or second in str(caught.value) or "and more" in str(caught.value)


@pytest.mark.parametrize("unknown", ["", "  ", "%", "_", "zzzzzzzz", "\0", "\ud800", "x" * 100_000])
def test_an_unknown_id_says_where_to_look(store: Store, unknown: str) -> None:
    say(store, "hello")
    with pytest.raises(HistoryError, match="There is no conversation") as caught:
        store.find(unknown)
    assert "history list" in caught.value.hint


def test_the_last_changed_conversation_is_first(store: Store) -> None:
    first, second, third = (say(store, f"number {i}").conversation for i in range(3))
    time.sleep(0.002)
    say(store, "again", conversation=first)
    assert [s.id for s in store.conversations()] == [first, third, second]
    assert [s.id for s in store.conversations(limit=2)][1] == third
    assert (store.conversations()[0].turns, store.last()) == (2, store.find(first))


def test_asking_in_a_conversation_that_was_removed_says_so(store: Store) -> None:
    name = say(store, "hello").conversation
    remove(store, name)
    for attempt in (
        lambda: store.begin_turn(name, "?"),
        lambda: store.set_system(name, "?"),
        lambda: store.keep_conversation_private(name, "?"),
    ):
        with pytest.raises(HistoryError, match=f"no conversation {name}"):
            attempt()


# Turns


def test_a_question_is_on_the_disk_before_it_is_answered(store: Store, path: Path) -> None:
    begun = store.begin_turn(store.new_conversation().id, "Are you there?")
    with open_store(path) as other:
        (found,) = other.turns(begun.conversation)
    assert (found.question, found.answer, found.reason) == ("Are you there?", "", "interrupted")
    assert (begun.reason, begun.position) == ("", 1)


def test_a_whole_turn_is_read_as_it_was_written(path: Path) -> None:
    finish = Finish("length", Usage(10, 4, 7), Timing(0.1, 0.5, 70.0), spent=Spent(12, 0.25, True))
    with open_store(path) as store:
        turn = store.begin_turn(store.new_conversation().id, "Why?")
        writer = AnswerWriter(store, turn.id)
        writer.add("Because ")
        writer.add("of that")
        writer.finish(finish, STARTER)
    with open_store(path) as store:
        (found,) = store.turns(turn.conversation)
    assert (found.answer, found.reason, found.origin) == ("Because of that", "length", STARTER)
    assert (found.usage, found.timing) == (finish.usage, finish.timing)
    assert (found.sent_bytes, found.cost_usd, found.estimated) == (12, 0.25, True)
    assert found.finished is not None
    assert found.finished >= found.started


def test_an_unknown_cost_is_not_nothing(store: Store) -> None:
    assert say(store, "hello").cost_usd == 0.0
    assert ask_claude(store, "hello", Spent(900, None)).cost_usd is None


def test_a_failed_answer_keeps_its_text_and_its_error(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Why?")
    store.finish(turn.id, Finish("failed", error="The worker died"), STARTER, tail="Bec")
    (found,) = store.turns(turn.conversation)
    assert (found.answer, found.reason, found.error) == ("Bec", "failed", "The worker died")


def test_an_answer_without_an_end_reads_as_interrupted_and_says_whose_it_was(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Why?")
    store.choose(turn.id, STARTER)
    AnswerWriter(store, turn.id).add("Becau")
    (found,) = store.turns(turn.conversation)
    assert (found.answer, found.reason, found.origin, found.finished) == ("Becau", "interrupted", STARTER, None)


def test_only_the_first_finish_counts(store: Store) -> None:
    turn = say(store, "Why?", "Because")
    store.finish(turn.id, Finish("failed"), Origin(), tail=" not")
    assert store.turns(turn.conversation) == [turn]


def test_an_undone_turn_is_kept_and_is_no_part_of_the_conversation(store: Store) -> None:
    first = say(store, "one")
    second = say(store, "two", conversation=first.conversation)
    undone = store.undo(second.id)
    again = say(store, "three", conversation=first.conversation)
    assert undone
    assert (undone.id, undone.undone, again.position) == (second.id, True, 3)
    assert store.turns(first.conversation) == [first, again]
    assert store.turns(first.conversation, undone=True) == [first, undone, again]


def test_undo_goes_back_to_the_start_and_a_turn_is_taken_back_once(store: Store) -> None:
    turn = say(store, "first try")
    name = turn.conversation
    assert store.undo(turn.id)
    assert (store.undo(turn.id), store.last(), store.conversations()[0].turns) == (None, None, 0)
    say(store, "second try", conversation=name)
    assert store.find(name).title == "second try"


def test_a_private_turn_says_why_and_stays_private(path: Path) -> None:
    with open_store(path) as store:
        turn = store.begin_turn(store.new_conversation().id, "My key?", private=".env holds secrets by its name")
        store.finish(turn.id, Finish("stop"), STARTER)
    with open_store(path) as store:
        assert [found.private for found in store.turns(turn.conversation)] == [".env holds secrets by its name"]


def test_who_was_asked_first_and_failed_is_kept_also_of_an_answer_without_an_end(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Why?")
    store.choose(turn.id, CLAUDE)
    assert store.turns(turn.conversation)[0].origin.before == ("local: the worker died",)


def test_what_has_left_the_machine_is_known_of_an_answer_without_an_end(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Why?")
    AnswerWriter(store, turn.id).spend(Spent(812, 0.01, estimated=True))
    (found,) = store.turns(turn.conversation)
    assert (found.sent_bytes, found.cost_usd, found.estimated) == (812, 0.01, True)


# Asked again


def test_a_question_asked_again_keeps_both_answers_and_the_later_one_is_the_conversation(store: Store) -> None:
    first = say(store, "Why?", "Because")
    again = store.begin_turn(first.conversation, "Why?", retries=first.id)
    store.finish(again.id, Finish("stop"), CLAUDE, tail="On account of that")
    (found,) = store.turns(first.conversation)
    assert (found.answer, found.retries, [turn.answer for turn in found.former]) == (
        "On account of that", first.id, ["Because"],
    )  # fmt: skip
    assert store.conversations()[0].turns == 1


def test_each_former_answer_is_kept_the_oldest_first(store: Store) -> None:
    turn = say(store, "Why?", "1")
    for answer in ("2", "3"):
        turn = store.begin_turn(turn.conversation, "Why?", retries=turn.id)
        store.finish(turn.id, Finish("stop"), STARTER, tail=answer)
    (found,) = store.turns(turn.conversation)
    assert [former.answer for former in found.former] == ["1", "2"]
    assert found.answered is found
    assert replace(found, answer="").answered.answer == "2"
    assert replace(found, answer="", former=()).answered.answer == ""


def test_undo_of_a_question_asked_again_takes_back_nothing_else(store: Store) -> None:
    before = say(store, "Hello")
    first = say(store, "Why?", conversation=before.conversation)
    again = store.begin_turn(first.conversation, "Why?", retries=first.id)
    undone = store.undo(again.id)
    assert undone
    assert (undone.id, [turn.id for turn in undone.former]) == (again.id, [first.id])
    assert store.turns(first.conversation)[-1] == before


def test_a_turn_of_another_conversation_cannot_be_asked_again(store: Store) -> None:
    other = say(store, "Elsewhere")
    turn = store.begin_turn(store.new_conversation().id, "Here", retries=other.id)
    assert store.turns(other.conversation) == [other]
    assert store.turns(turn.conversation)[0].former == ()


# What was spent


def test_the_cost_of_a_conversation_counts_every_answer_that_was_sent(store: Store) -> None:
    name = ask_claude(store, "one", Spent(100, 0.25)).conversation
    ask_claude(store, "two", Spent(200, None), name)
    store.undo(ask_claude(store, "three", Spent(300, 0.5, estimated=True), name).id)
    say(store, "four", conversation=name)
    ask_claude(store, "elsewhere", Spent(1000, 3.0))
    assert store.cost(name) == Cost(usd=0.75, unknown=1, estimated=1, requests=3, sent_bytes=600)


def test_a_conversation_that_sent_nothing_costs_nothing(store: Store) -> None:
    assert store.cost(say(store, "hello").conversation) == store.cost("none") == Cost()


@in_place
@given(
    pieces=st.lists(st.text(st.characters(), max_size=30), max_size=8), question=st.text(st.characters(), max_size=50)
)
def test_any_text_comes_back_with_lone_surrogates_as_replacement_characters(
    store: Store, pieces: list[str], question: str
) -> None:
    def as_stored(text: str) -> str:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    turn = store.begin_turn(store.new_conversation(question).id, question)
    writer = AnswerWriter(store, turn.id, clock=iter(range(100)).__next__)
    for piece in pieces:
        writer.add(piece)
    assert store.turns(turn.conversation)[0].answer == "".join(map(as_stored, pieces))
    writer.finish(Finish("stop"), STARTER)
    (found,) = store.turns(turn.conversation)
    assert (found.question, found.answer) == (as_stored(question), "".join(map(as_stored, pieces)))
    (to_markdown(store.find(found.conversation), [found]) + to_json(store.find(found.conversation), [found])).encode()


def test_messages_of_a_megabyte_with_nul_are_whole(store: Store) -> None:
    text = "ab\0é" * 250_000
    turn = store.begin_turn(store.new_conversation().id, text)
    writer = AnswerWriter(store, turn.id)
    for start in range(0, len(text), 5000):
        writer.add(text[start : start + 5000])
    writer.finish(Finish("stop"), STARTER)
    (found,) = store.turns(turn.conversation)
    assert (found.question, found.answer) == (text, text)


# The answer as it grows


def test_an_answer_is_saved_five_times_a_second_and_not_more(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    clock = HandClock()
    writer = AnswerWriter(store, turn.id, clock)
    before = store.connection.total_changes
    for _ in range(1000):
        writer.add("x")
        clock.now += 0.01
    assert 45 <= store.connection.total_changes - before <= 51


def test_the_last_piece_is_saved_while_the_engine_only_waits(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    clock = HandClock()
    writer = AnswerWriter(store, turn.id, clock)
    writer.add("one ")
    writer.add("two")
    assert store.turns(turn.conversation)[0].answer == "one "
    clock.now += 0.2
    writer.add()
    assert store.turns(turn.conversation)[0].answer == "one two"


def test_saving_the_same_part_twice_does_not_double_it(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    store.append(turn.id, "one ", 0)
    store.append(turn.id, "one two", 0)
    assert store.turns(turn.conversation)[0].answer == "one two"


def test_a_full_disk_is_said_once_and_the_text_is_saved_when_there_is_room_again(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    clock = HandClock()
    writer = AnswerWriter(store, turn.id, clock)
    fill_disk(store)
    with pytest.raises(HistoryError, match="disk is full") as caught:
        writer.add("x" * 50_000)
    assert "Free some space" in caught.value.hint
    for _ in range(20):
        clock.now += 1
        writer.add("y")
    empty_disk(store)
    writer.finish(Finish("stop"), STARTER)
    assert store.turns(turn.conversation)[0].answer == "x" * 50_000 + "y" * 20


def test_a_disk_full_at_the_end_of_an_answer_is_said_there(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    writer = AnswerWriter(store, turn.id, HandClock())
    writer.add("one ")
    fill_disk(store)
    writer.add("x" * 50_000)
    with pytest.raises(HistoryError, match="disk is full"):
        writer.finish(Finish("stop"), STARTER)
    writer.finish(Finish("stop"), STARTER)
    (found,) = store.turns(turn.conversation)
    assert (found.answer, found.reason) == ("one ", "interrupted")


def test_a_question_that_does_not_fit_is_refused_and_can_be_asked_again(store: Store) -> None:
    name = store.new_conversation().id
    fill_disk(store)
    with pytest.raises(HistoryError, match="disk is full"):
        store.begin_turn(name, "x" * 100_000)
    assert store.conversations() == []
    empty_disk(store)
    assert store.begin_turn(name, "x" * 100_000).position == 1


def test_an_answer_goes_on_while_another_program_holds_the_history(store: Store, path: Path) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    clock = HandClock()
    writer = AnswerWriter(store, turn.id, clock)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    writer.add("one ")
    assert time.monotonic() - began < PATIENCE_S / 2  # As long as other writes wait.
    holder.execute("ROLLBACK")
    holder.close()
    clock.now += 0.2
    writer.add("two")
    assert store.turns(turn.conversation)[0].answer == "one two"


def test_an_answer_whose_conversation_was_removed_says_so_once(store: Store, path: Path) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    writer = AnswerWriter(store, turn.id)
    with open_store(path) as other:
        remove(other, turn.conversation)
    with pytest.raises(HistoryError, match="removed"):
        writer.add("one")
    writer.finish(Finish("stop"), STARTER)


def test_a_store_belongs_to_its_thread(store: Store) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        try:
            store.conversations()
        except sqlite3.ProgrammingError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(caught) == 1


# Search

either_way = pytest.mark.parametrize("full_text", [True, False])


@either_way
def test_words_are_found_in_questions_and_answers_newest_first(store: Store, full_text: bool) -> None:
    asked = say(store, "How much MEMORY is there?")
    told = say(store, "Hello", "Your memories are here. There you go")
    say(store, "Nothing of the kind")
    hits = search(store, "memor there", full_text=full_text)
    assert [hit.conversation for hit in hits] == [told.conversation, asked.conversation]
    hits = search(store, "memor", full_text=full_text)
    assert [hit.conversation for hit in hits] == [told.conversation, asked.conversation]
    assert hits[1].snippet == "How much «MEMOR»Y is there? An answer"
    assert hits[1].when == asked.started


@either_way
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("foo-bar", "a foo-bar here"),
        ("C++", "write C++ now"),
        ("AND", "this and that"),
        ("NEAR(a b)", "what NEAR(a b) does"),
        ("mem*", "memory"),
        ('"out of memory"', "it is out  of\nmemory now"),
        ('"unfinished quote', "an unfinished quote"),
        ("cafe", "a Café"),
        ("naïve", "nai\u0308ve"),
        ("内存", "多少内存不足"),
        ("🙂", "well 🙂"),
        ("done", "🙂✅done"),
        ("question:", "the question: who"),
        ("*", "2 * 2"),
        ("STRASSE", "strasse"),
    ],
)
def test_words_are_taken_as_typed(store: Store, words: str, text: str, full_text: bool) -> None:
    found = say(store, text)
    say(store, "quite another matter")
    assert [hit.conversation for hit in search(store, words, full_text=full_text)] == [found.conversation]


@either_way
@pytest.mark.parametrize("words", ["", "  ", '"', '""', "\0", "\ud800", "x" * 100_000, "b " * 5000, "^", "(", "{a b}:"])
def test_odd_words_find_nothing_and_harm_nothing(store: Store, words: str, full_text: bool) -> None:
    say(store, "hello")
    assert search(store, words, full_text=full_text) == []


def test_an_answer_that_still_grows_is_found(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Count")
    store.append(turn.id, "one pomegra", 0)
    assert search(store, "pomegranate") == []
    store.append(turn.id, "nate", 11)
    assert len(search(store, "pomegranate")) == 1
    store.finish(turn.id, Finish("stop"), STARTER)
    assert len(search(store, "pomegranate")) == 1


def test_an_undone_turn_is_found_too(store: Store) -> None:
    store.undo(say(store, "a pomegranate").id)
    assert len(search(store, "pomegranate")) == 1


def test_a_search_on_a_full_disk_finds_all_the_same(store: Store) -> None:
    say(store, "a pomegranate")
    fill_disk(store)
    assert len(search(store, "pomegranate")) == 1


def test_a_snippet_is_one_line_around_the_word_without_control_characters(store: Store) -> None:
    say(store, "long " * 100 + "\x1b[31m pear\u202e\ttree\x9b\n" + "long " * 100)
    (hit,) = search(store, "pear")
    assert "«pear»" in hit.snippet
    assert len(hit.snippet) < 130
    assert hit.snippet.isprintable()


@in_place
@given(text=st.text(LETTERS, max_size=12), words=st.text(LETTERS, max_size=5))
def test_the_index_and_the_plain_reading_find_the_same(store: Store, text: str, words: str) -> None:
    say(store, text, "")
    assert search(store, words, 1000) == search(store, words, 1000, full_text=False)


# Export


def test_markdown_says_who_answered_and_what_is_not_whole(store: Store) -> None:
    name = store.new_conversation("Be short").id
    say(store, "Hello", "Hi", name)
    store.append(store.begin_turn(name, "Count").id, "one, tw", 0)
    text = to_markdown(store.find(name), store.turns(name))
    assert text.startswith("# Hello\n")
    assert "Be short" in text
    assert "## starter (starter-1)\n\nHi\n" in text
    assert text.endswith("one, tw\n\n*Interrupted: the answer breaks off here.*\n")


def test_markdown_tells_what_an_answer_took_and_what_was_private(store: Store) -> None:
    turn = ask_claude(store, "Hello", Spent(5120, 0.0123, estimated=True))
    store.begin_turn(turn.conversation, "My key?", private=".env holds secrets by its name")
    text = to_markdown(store.find(turn.conversation), store.turns(turn.conversation))
    assert (
        "> local: the worker died\n>\n> claude, because qwen is still loading · "
        "1,200 tokens in (1,000 from the cache), 20 out · 5,120 bytes sent for about $0.0123\n"
    ) in text
    assert ", private: .env holds secrets by its name\n\nMy key?" in text


def test_a_cost_that_is_not_known_is_told_so_and_nothing_sent_too(store: Store) -> None:
    turn = ask_claude(store, "Hello", Spent(5120, None))
    say(store, "Hello", conversation=turn.conversation)
    text = to_markdown(store.find(turn.conversation), store.turns(turn.conversation))
    assert "5,120 bytes sent at a cost that is not known" in text
    assert text.endswith("> No larger model is here yet · nothing was sent\n")


@pytest.mark.parametrize("undone", [False, True])
def test_an_export_shows_former_answers_once_below_their_question(store: Store, undone: bool) -> None:
    first = say(store, "Why?", "Because")
    again = store.begin_turn(first.conversation, "Why?", retries=first.id)
    store.finish(again.id, Finish("stop"), CLAUDE, tail="On account of that")
    turns = store.turns(first.conversation, undone=undone)
    text = to_markdown(store.find(first.conversation), turns)
    assert (text.count("## You"), text.count("Because\n")) == (1, 1)
    assert text.index("## Answered before by starter (starter-1)\n\nBecause") < text.index("## claude (claude-sonnet")
    (found,) = json.loads(to_json(store.find(first.conversation), turns))["turns"]
    assert (found["answer"], found["former"][0]["answer"]) == ("On account of that", "Because")


@pytest.mark.parametrize(
    ("cut_off", "closed"),
    [
        ("```python\nprint(1)", "```python\nprint(1)\n```"),
        ("````\n```\ncode", "````\n```\ncode\n````"),
        ("~~~\n```", "~~~\n```\n~~~"),
        ("1. list\n\n   ```sh\n   ls", "1. list\n\n   ```sh\n   ls\n   ```"),
        ("```\na\n```", "```\na\n```"),
        ("inline ```code``` here", "inline ```code``` here"),
        ("``` not a `fence`", "``` not a `fence`"),
    ],
)
def test_a_code_block_that_was_cut_off_does_not_swallow_what_follows(store: Store, cut_off: str, closed: str) -> None:
    turn = say(store, "Code", cut_off)
    text = to_markdown(store.find(turn.conversation), [turn])
    assert f"## starter (starter-1)\n\n{closed}\n\n> " in text


def test_an_answer_without_a_word_is_not_said_to_break_off(store: Store) -> None:
    turn = store.begin_turn(store.new_conversation().id, "Hello")
    store.finish(turn.id, Finish("failed", error="Claude is overloaded"), Origin())
    text = to_markdown(store.find(turn.conversation), store.turns(turn.conversation))
    assert "*Failed before the first word.* Claude is overloaded" in text
    assert "breaks off" not in text


def test_json_holds_everything(store: Store) -> None:
    turn = say(store, "Hé\0llo", "```\nfence")
    store.undo(turn.id)
    content = json.loads(to_json(store.find(turn.conversation), store.turns(turn.conversation, undone=True)))
    assert content["conversation"]["id"] == turn.conversation
    (found,) = content["turns"]
    assert set(found) == set(Turn.__dataclass_fields__)
    assert (found["question"], found["answer"], found["undone"]) == ("Hé\0llo", "```\nfence", True)
    assert found["started"] == turn.started.isoformat()


# Trials, in their short form


@pytest.mark.parametrize(
    "trial",
    [
        "--kills 6 --places 0 --processes 0",
        "--kills 0 --places 12 --processes 0",
        "--kills 0 --places 0 --processes 4 --messages 100",
    ],
)
def test_the_trial_keeps_its_promises(trial: str) -> None:
    done = subprocess.run([sys.executable, str(TRIAL), *trial.split()], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
