"""The chat as a person meets it: the real program in a real terminal, up to the signals that end it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("the terminal of these tests is a pty", allow_module_level=True)

import psutil

from shammah.history.opening import open_store
from shammah.screen.commands import COMMANDS
from shammah.screen.keys import KEYS
from shammah.screen.safe_text import safe_text
from tests.endless import endless_model
from tests.terminal import (
    COLOR,
    CTRL_C,
    CTRL_D,
    CTRL_J,
    CTRL_U,
    CTRL_Z,
    LEAVES,
    PASTE_OFF,
    PASTE_ON,
    SHORT,
    Terminal,
    gone,
    left_as_it_was,
    terminal,
    turns,
)  # fmt: skip

ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers end only where they are stopped."""
    return endless_model(tmp_path_factory.mktemp("models") / "endless")


@pytest.fixture
def chat(home: Path) -> Iterator[Terminal]:
    """A chat with short answers."""
    with terminal(home, *SHORT) as opened:
        opened.wait_ready()
        yield opened


@pytest.fixture
def talker(home: Path, endless: Path) -> Iterator[Terminal]:
    """A chat whose answers do not end by themselves."""
    with terminal(home, "-m", str(endless)) as opened:
        opened.wait_ready("endless")
        yield opened


@pytest.fixture(scope="module")
def shared_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with terminal(tmp_path_factory.mktemp("chat") / "home", *SHORT) as opened:
        opened.wait_ready()
        yield opened


@pytest.fixture(scope="module")
def shared_talker(tmp_path_factory: pytest.TempPathFactory, endless: Path) -> Iterator[Terminal]:
    with terminal(tmp_path_factory.mktemp("talker") / "home", "-m", str(endless)) as opened:
        opened.wait_ready("endless")
        yield opened


@pytest.fixture
def prompt(shared_chat: Terminal) -> Iterator[Terminal]:
    """A chat with short answers, in a new conversation: one for all tests that end where they began."""
    shared_chat.ask("/new")
    yield shared_chat
    shared_chat.clear()


@pytest.fixture
def talk(shared_talker: Terminal) -> Iterator[Terminal]:
    """The same, with answers that do not end by themselves."""
    shared_talker.ask("/new")
    yield shared_talker
    shared_talker.clear()


def executable(path: Path, line: str) -> Path:
    """A program of one line of the shell."""
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


# The first run, and a question


def test_the_first_run_shows_the_prompt_before_the_model_is_loaded(home: Path) -> None:
    with terminal(home) as opened:
        opened.wait_for("starter answers · ready on cpu · auto")
        first = re.search(r"starter answers · (\w+)", opened.raw)
        assert first and first[1] != "ready"

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_question_is_answered_with_a_receipt_and_kept(chat: Terminal, home: Path) -> None:
    shown = chat.ask("how do I change the model?")

    [(question, answer, reason)] = turns(home)
    assert question == "how do I change the model?"
    assert len(answer) > 0
    assert reason in ("stop", "length")
    assert re.search(r"starter · \d+ tokens · first word .* nothing sent", shown)


def test_an_input_of_several_lines_is_one_question(prompt: Terminal) -> None:
    prompt.press("one" + CTRL_J + "two\x1b\rthree")
    prompt.wait_for("three")
    prompt.ask("")

    assert turns(prompt.home)[-1][0] == "one\ntwo\nthree"


def test_past_input_comes_back_in_the_next_run(home: Path) -> None:
    with terminal(home, *SHORT) as first:
        first.wait_ready()
        first.ask("/why")
    with terminal(home, *SHORT) as second:
        second.wait_ready()
        second.press("\x1b[A")
        second.wait_for("› /why")
    assert stat.S_IMODE((home / "input_history").stat().st_mode) == 0o600


def test_ctrl_r_finds_past_input(prompt: Terminal) -> None:
    prompt.ask("/why")
    prompt.ask("/cost")
    prompt.press("\x12wh")
    prompt.wait_for("I-search")
    prompt.press("\r")
    prompt.until(lambda: prompt.line == "› /why" and "I-search" not in prompt.display, "nothing is found")


def test_tab_completes_a_command(prompt: Terminal) -> None:
    prompt.press("/conte\t")
    prompt.until(lambda: prompt.line == "› /context", "it is not completed")


# Ctrl-C and Ctrl-D


def test_ctrl_c_while_the_prompt_is_read_brings_the_prompt_back(talk: Terminal) -> None:
    # As much as the starter can read; no cache holds the beginning. A busy machine may be through with it too soon.
    for number in range(10):
        (talk.home.parent / "long.txt").write_text(f"{number} " + "how do I change the model? " * 90)
        talk.ask("/new")
        talk.ask("/file long.txt")
        talk.send("what is it about?")
        talk.press(CTRL_C)
        talk.until(lambda: talk.at_prompt, "no prompt")
        _, answer, reason = turns(talk.home)[-1]
        assert reason == "interrupted"
        if not answer:
            break

    assert not answer
    assert "stopped" in talk.display
    talk.begin("and now?")


def test_ctrl_c_while_it_answers_keeps_what_was_said(talk: Terminal) -> None:
    talk.begin("tell me more", characters=300)
    talk.press(CTRL_C)
    talk.until(lambda: talk.at_prompt, "no prompt")

    assert "stopped. What was said is kept" in talk.display
    _, answer, reason = turns(talk.home)[-1]
    assert reason == "interrupted"
    assert len(answer) > 100
    talk.begin("and now?")


def test_ctrl_c_while_the_model_loads_brings_the_prompt_back(home: Path) -> None:
    with terminal(home) as opened:
        opened.until(lambda: opened.at_prompt, "no prompt")
        opened.enter("too early?")
        opened.press(CTRL_C)
        opened.until(lambda: opened.at_prompt, "no prompt")
        opened.wait_ready()


def test_ctrl_c_clears_the_line_then_hints_then_leaves(chat: Terminal) -> None:
    chat.press("half a thought")
    chat.wait_for("half a thought")
    chat.press(CTRL_C)
    chat.until(lambda: chat.line == "›", "the line is not cleared")
    chat.press("\x1b[A")
    chat.wait_for("› half a thought")
    chat.press(CTRL_C)
    chat.until(lambda: chat.line == "›", "the line is not cleared")

    assert chat.leave() == 0
    assert chat.attributes() == chat.before


def test_a_second_ctrl_c_counts_only_within_two_seconds(prompt: Terminal) -> None:
    prompt.press(CTRL_C)
    prompt.wait_for(LEAVES)
    prompt.until(lambda: LEAVES not in prompt.display, "the hint stays")
    prompt.press(CTRL_C)
    prompt.wait_for(LEAVES)

    assert not prompt.ended


def test_ctrl_d_leaves_on_an_empty_line_only(chat: Terminal) -> None:
    chat.press("ab\x1b[D")
    chat.press(CTRL_D)
    chat.until(lambda: chat.line == "› a", "Ctrl-D deletes nothing")
    chat.press(CTRL_C)
    chat.until(lambda: chat.line == "›", "the line is not cleared")
    workers = chat.workers()
    chat.press(CTRL_D)

    assert chat.wait_end() == 0
    assert chat.attributes() == chat.before
    assert gone(workers)


# Pastes, and what is typed ahead

PASTES = {
    "several lines": "one\ntwo\r\nthree\rfour\n",
    "the end of a paste inside": "harmless\x1b[201~\rrm -rf /\r",
    "a command": "/exit\r",
    "keys": "a\x03b\x04c\x1b[Ad\x1ae\x1b\r",
    "a NUL": "a\0b\r",
    "100 kB": "0123456789 abcdef\n" * 5_700,
    "100 kB and the end of a paste inside": "0123456789 abcdef\n" * 5_700 + "\x1b[201~\rmore\r",
}


@pytest.mark.parametrize("text", PASTES.values(), ids=list(PASTES))
def test_a_paste_never_sends_itself(prompt: Terminal, text: str) -> None:
    start, before = len(prompt.raw), turns(prompt.home)
    prompt.paste(text)
    prompt.until(lambda: prompt.line != "›", "nothing is pasted")
    prompt.press("ж")  # Nothing else has this letter; it is taken after all of the paste.
    prompt.until(lambda: prompt.line.endswith("ж"), "the line does not go on")

    assert not prompt.ended
    assert PASTE_OFF not in prompt.raw[start:]
    assert turns(prompt.home) == before
    prompt.press(CTRL_C)
    prompt.until(lambda: prompt.line == "›", "the paste cannot be cleared")


def test_a_pasted_text_is_sent_as_it_is_by_enter(prompt: Terminal) -> None:
    prompt.paste("one\r\n  two\tthree\rfour ß 漢 🙂")
    prompt.wait_for("four")
    prompt.ask("")

    assert turns(prompt.home)[-1][0] == "one\n  two\tthree\nfour ß 漢 🙂"


def test_what_is_typed_during_an_answer_waits_in_the_next_prompt(talk: Terminal) -> None:
    talk.begin("tell me more")
    asked = len(turns(talk.home))
    talk.press("next one\r")
    talk.press(CTRL_C)
    talk.until(lambda: talk.at_prompt, "no prompt")
    talk.wait_for("› next one")
    talk.press("ж")
    talk.wait_for("› next oneж")

    assert len(turns(talk.home)) == asked


def test_a_paste_during_an_answer_waits_in_the_next_prompt(talk: Terminal) -> None:
    talk.begin("tell me more")
    asked = len(turns(talk.home))
    talk.paste("first\rsecond\x03\r")
    talk.pump(0.2)  # A key that follows sooner belongs to the paste.
    talk.press(CTRL_C)
    talk.until(lambda: talk.at_prompt, "no prompt")
    talk.wait_for("› first")
    talk.press("ж")
    talk.until(lambda: talk.line.endswith("ж"), "the line does not go on")

    assert "  second" in talk.display
    assert len(turns(talk.home)) == asked


# The window, and colours


def test_a_resize_during_an_answer_and_at_the_prompt_changes_nothing_else(talker: Terminal) -> None:
    talker.begin("tell me more")
    talker.resize(40)
    talker.pump(0.3)
    talker.resize(100, 30)
    talker.press(CTRL_C)
    talker.until(lambda: talker.at_prompt, "no prompt")
    talker.press("still")
    talker.wait_for("› still")
    talker.resize(50)
    talker.press(" here")
    talker.wait_for("› still here")

    assert talker.line == "› still here"
    assert talker.display.count("› still") == 1
    assert talker.display.splitlines()[-1].startswith(" endless answers · ready")


def test_a_window_of_thirty_columns_is_enough(home: Path) -> None:
    with terminal(home, *SHORT, columns=30) as narrow:
        narrow.until(lambda: narrow.at_prompt, "no prompt")
        narrow.ask("how do I change the model?")
        narrow.ask("/help")
        narrow.ask("/status")

        assert "starter answers · auto" in narrow.display
        assert turns(home)


def test_no_color_means_no_colour(home: Path) -> None:
    with terminal(home, *SHORT, environment={"NO_COLOR": "1"}) as plain:
        plain.wait_ready()
        plain.ask("how do I change the model?")
        plain.ask("/nonsense")

        assert not COLOR.search(plain.raw)
        assert "\x1b[2m" not in plain.raw


def test_a_terminal_that_answers_late_gets_its_bottom_line_and_no_warning(home: Path) -> None:
    with terminal(home, *SHORT, late=2.5) as far:
        far.wait_ready()

        assert "WARNING" not in far.raw


# A terminal of lines

DUMB = {"TERM": "dumb"}


def ask_in_lines(chat: Terminal, line: str) -> str:
    """Type a line and wait for the sign that asks for the next; returns what was written meanwhile."""
    start = len(chat.raw)
    chat.press(line + "\r")
    chat.until(lambda: chat.raw[start:].endswith("\n> "), f"no sign after {line!r}")
    return chat.raw[start:]


def test_a_dumb_terminal_gets_lines_and_no_control_codes(home: Path) -> None:
    with terminal(home, *SHORT, environment=DUMB) as dumb:
        dumb.until(lambda: dumb.raw.endswith("> "), "no sign")
        dumb.until(lambda: bool(dumb.workers()), "the worker is not started before the first question")
        answer = ask_in_lines(dumb, "how do I change the model?")
        keys = ask_in_lines(dumb, "/help")
        offered = ask_in_lines(dumb, "/undo")
        ask_in_lines(dumb, "")
        dumb.press(CTRL_D)

        assert dumb.wait_end() == 0
        assert "nothing sent" in answer
        assert "Ctrl-D" in keys and "Ctrl-R" not in keys
        assert "how do I change the model?" in offered
        assert [question for question, *_ in turns(home)] == ["how do I change the model?"] * 2
        assert set(re.findall(r"[\x00-\x1f\x7f-\x9f]", dumb.raw)) == {"\r", "\n"}
        assert dumb.attributes() == dumb.before


def test_ctrl_c_on_a_dumb_terminal_stops_the_answer_drops_the_line_and_leaves(home: Path, endless: Path) -> None:
    with terminal(home, "-m", str(endless), environment=DUMB) as dumb:
        dumb.until(lambda: dumb.raw.endswith("> "), "no sign")
        ready = re.compile(r"answers +endless.*state +ready", re.DOTALL)
        dumb.until(lambda: bool(ready.search(ask_in_lines(dumb, "/status"))), "endless is not ready")
        start = len(dumb.raw)
        dumb.press("tell me more\r")
        dumb.until(lambda: len(dumb.raw) > start + 400, "no answer")
        dumb.press(CTRL_C)
        dumb.until(lambda: dumb.raw.endswith("\n> "), "no sign")
        assert "stopped. What was said is kept" in dumb.raw
        dumb.press("half a thought" + CTRL_C)
        dumb.until(lambda: dumb.raw.endswith("Ctrl-D too\r\n> "), "the line is not dropped")
        dumb.press(CTRL_C)

        assert dumb.wait_end() == 0
        assert [question for question, *_ in turns(home)] == ["tell me more"]


def test_a_dumb_terminal_gives_the_question_to_an_editor(home: Path) -> None:
    editor = executable(home.parent / "editor", 'echo "written elsewhere" > "$1"')
    with terminal(home, *SHORT, environment={**DUMB, "EDITOR": str(editor)}) as dumb:
        dumb.until(lambda: dumb.raw.endswith("> "), "no sign")
        assert "written elsewhere" in ask_in_lines(dumb, "/editor")
        ask_in_lines(dumb, "")

    assert turns(home)[0][0] == "written elsewhere"


@pytest.mark.skipif(shutil.which("tic") is None, reason="tic describes the terminal")
def test_a_terminal_that_cannot_move_its_cursor_is_one_of_lines(home: Path, tmp_path: Path) -> None:
    (tmp_path / "described").write_text("teleprinter|paper,\n\tam, cols#80, bel=^G, cr=\\r, ind=\\n,\n")
    subprocess.run(["tic", "-o", str(tmp_path), str(tmp_path / "described")], check=True)
    with terminal(home, environment={"TERM": "teleprinter", "TERMINFO": str(tmp_path)}) as paper:
        paper.until(lambda: paper.raw.endswith("> "), "no sign")

        assert "\x1b" not in paper.raw


# Processes that die


def test_the_death_of_the_worker_costs_one_answer_half(talker: Terminal, home: Path) -> None:
    worker = talker.answering_worker()
    talker.begin("tell me more", characters=300)
    os.kill(worker, signal.SIGKILL)
    talker.until(lambda: talker.at_prompt, "no prompt")

    assert "error: The model worker was ended by SIGKILL" in talker.display
    [(_, answer, reason)] = turns(home)
    assert len(answer) > 100
    assert reason == "failed"
    talker.begin("and now?")
    talker.press(CTRL_C)


def test_a_killed_chat_is_gone_on_with_from_where_it_was(talker: Terminal, home: Path) -> None:
    talker.begin("tell me more", characters=600)
    workers = talker.kill()

    [(question, answer, reason)] = turns(home)
    assert (question, reason) == ("tell me more", "interrupted")
    assert answer
    assert gone(workers)
    with terminal(home, *SHORT, "-c") as again:
        again.wait_ready()
        assert "› tell me more" in again.raw
        assert "(interrupted)" in again.raw
        assert "1 turns of" in again.raw or "1 turn of" in again.raw
        again.ask("and now?")
    assert [question for question, *_ in turns(home)] == ["tell me more", "and now?"]


def test_a_closed_terminal_leaves_no_process(talker: Terminal) -> None:
    talker.begin("tell me more")
    workers = talker.hang_up()
    talker.until(lambda: not talker.child.isalive(), "it goes on without a terminal")

    assert gone(workers)


# Commands


def test_every_command_leaves_the_chat_running(chat: Terminal) -> None:
    left_out = {"/exit", "/editor", "/setup", "!"}
    for name in (command.names[0] for command in COMMANDS if command.names[0] not in left_out):
        shown = chat.ask(name)
        assert "Something unforeseen" not in shown
        assert not chat.ended
        chat.press(CTRL_U)  # /undo leaves the question in the line.
        chat.until(lambda: chat.at_prompt, name)


def test_help_shows_every_command_and_every_key(prompt: Terminal) -> None:
    shown = prompt.ask("/help")

    assert [command.names[0] for command in COMMANDS if command.names[0] not in shown] == []
    assert [key.shown for key in KEYS if key.shown not in shown] == []


def test_an_unknown_command_names_the_nearest_and_is_no_question(prompt: Terminal) -> None:
    before = turns(prompt.home)
    shown = prompt.ask("/hlep")

    assert "error: There is no command /hlep" in shown
    assert "Did you mean /help?" in shown
    assert turns(prompt.home) == before


def test_a_command_refuses_what_it_would_not_read(prompt: Terminal) -> None:
    shown = prompt.ask("/local what is the capital of France?")

    assert "error: /local takes nothing after it" in shown
    assert "hint: Type /local alone" in shown
    assert "local" not in prompt.display.splitlines()[-1]
    assert "Did you mean /help?" in prompt.ask("/HELP")


def test_a_wrong_setting_is_told_and_a_right_one_is_kept(chat: Terminal, home: Path) -> None:
    assert "Did you mean local.size?" in chat.ask("/set local.sise starter")
    assert "error:" in chat.ask("/set generation.max_tokens many")
    chat.ask("/set generation.max_tokens 3")
    chat.ask("a short answer, please")

    assert "max_tokens = 3" in (home / "config.toml").read_text()
    assert "starter · 3 tokens" in chat.raw


def test_an_edited_configuration_holds_from_the_next_question_on(home: Path) -> None:
    with terminal(home, "--temperature", "1", "--seed", "1") as chat:
        chat.wait_ready()
        (home / "config.toml").write_text("[generation]\nmax_tokens = 4\n")
        assert "starter · 4 tokens" in chat.ask("one")
        (home / "config.toml").write_text("[generation]\nmax_tokens = 5\n")
        assert "starter · 5 tokens" in chat.ask("two")


def test_a_broken_configuration_is_told_with_its_line_and_the_chat_goes_on(chat: Terminal, home: Path) -> None:
    broken = "[generation]\nmax_tokens = 5\nseed = = 3\n"
    (home / "config.toml").write_text(broken)
    shown = chat.ask("does it still answer?")

    assert "line 3" in shown
    assert re.search(r"starter · \d+ tokens", shown)
    assert (home / "config.toml").read_text() == broken


def test_a_chat_does_not_start_with_a_broken_configuration(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[generation]\nmax_tokens = many\n")
    with terminal(home) as chat:
        assert chat.wait_end() == 1
        assert "line 2" in chat.raw


def test_undo_takes_a_question_back_into_the_line(prompt: Terminal) -> None:
    prompt.ask("first question")
    prompt.ask("second question")
    prompt.ask("/undo")

    assert prompt.line == "› second question"
    prompt.press(CTRL_C)
    prompt.until(lambda: prompt.line == "›", "the line is not cleared")
    assert "1 of 1 in context" in prompt.ask("/context")


def test_the_context_is_counted_as_it_is_now(prompt: Terminal) -> None:
    def counted() -> int:
        found = re.search(r"([\d,]+) of [\d,]+ tokens", prompt.ask("/context"))
        assert found is not None
        return int(found[1].replace(",", ""))

    assert counted() == 0
    prompt.ask("first question")
    one = counted()
    prompt.ask("second question")
    assert counted() > one
    prompt.ask("/undo")
    prompt.press(CTRL_C)
    prompt.until(lambda: prompt.line == "›", "the line is not cleared")
    assert counted() == one


def test_retry_asks_the_last_question_again(prompt: Terminal) -> None:
    prompt.ask("first question")
    prompt.ask("/retry")

    assert [question for question, *_ in turns(prompt.home)[-2:]] == ["first question", "first question"]
    assert "1 of 1 in context" in prompt.ask("/context")


def test_a_past_conversation_is_found_and_gone_on_with(prompt: Terminal) -> None:
    prompt.ask("where do badgers sleep?")
    prompt.ask("/new")
    assert "badgers" in prompt.ask("/search badgers")
    found = re.search(r"(\w{6})  \d{4}-.*badgers", prompt.ask("/sessions"))
    assert found
    shown = prompt.ask(f"/resume {found[1]}")

    assert "where do badgers sleep?" in shown
    assert "error:" in prompt.ask("/resume zzzzzz")


def test_an_answer_that_comes_back_is_wrapped_between_words(prompt: Terminal) -> None:
    prompt.ask("what are you?")
    answer = turns(prompt.home)[-1][1].replace("`", "")
    found = re.search(r"(\w{6})  \d{4}-", prompt.ask("/sessions"))
    assert found
    prompt.resize(next(at for at in range(20, 60) if answer[at - 1 : at + 1].isalpha()))
    prompt.ask(f"/resume {found[1]}")
    lines = prompt.display.rpartition("/resume")[2].splitlines()
    prompt.resize(80)

    assert [word for word in answer.split() if not any(word in line.split() for line in lines)] == []


def test_a_conversation_is_shown_and_saved_but_nothing_is_overwritten(prompt: Terminal) -> None:
    prompt.ask("where do badgers sleep?")
    assert "where do badgers sleep?" in prompt.ask("/export")
    prompt.ask("/save notes.md")
    saved = (prompt.home.parent / "notes.md").read_text()

    assert "where do badgers sleep?" in saved
    assert "notes.md is there already" in prompt.ask("/save notes.md")
    assert (prompt.home.parent / "notes.md").read_text() == saved


@pytest.mark.parametrize("command", ["/file", "/save", "/export"])
@pytest.mark.parametrize("name", ["~no-such-user/notes.md", "'~no-such-user/notes.md'", "a\x11\0b.md", "x" * 300])
def test_a_path_that_cannot_be_is_told_and_the_chat_goes_on(prompt: Terminal, command: str, name: str) -> None:
    shown = prompt.ask(f"{command} {name}")

    assert re.search("cannot be (read|written): ", shown)
    assert "hint: " in shown


def test_a_shell_command_gets_the_terminal(prompt: Terminal) -> None:
    assert "seen 42" in prompt.ask("!echo seen $((6*7))")
    assert "It ended with status 3." in prompt.ask("!exit 3")
    assert "It was ended by SIGKILL." in prompt.ask("!kill -KILL $$")
    # One program by itself: a shell that is about to start one may swallow the Ctrl-C.
    start = prompt.enter(f"!{sys.executable} -c \"import time; print('up', 6 * 7, flush=True); time.sleep(90)\"")
    prompt.until(lambda: "up 42" in prompt.raw[start:], "the shell does not begin")
    prompt.press(CTRL_C)
    prompt.until(lambda: prompt.at_prompt, "no prompt")
    assert "It was stopped with Ctrl-C." in prompt.raw[start:]


def test_a_file_goes_with_the_question(prompt: Terminal) -> None:
    (prompt.home.parent / "notes.txt").write_text("badgers sleep in setts")
    shown = prompt.ask("what does @notes.txt say?")

    assert "notes.txt (22 characters) goes with the question." in shown
    assert "badgers sleep in setts" in turns(prompt.home)[-1][0]
    assert "@nites.txt is no file here; it goes as it is written." in prompt.ask("what does @nites.txt say?")
    assert "error: absent.txt cannot be read" in prompt.ask("/file absent.txt")


def test_a_pipe_that_nobody_writes_to_does_not_stop_the_chat(prompt: Terminal) -> None:
    os.mkfifo(prompt.home.parent / "pipe")
    assert "error: pipe is a pipe" in prompt.ask("/file pipe")


def test_a_file_goes_once_and_not_with_another_conversation(prompt: Terminal) -> None:
    (prompt.home.parent / "notes.txt").write_text("badgers sleep in setts")
    (prompt.home.parent / ".env").write_text("PASSWORD=badger")
    prompt.ask("/file notes.txt")
    prompt.ask("/file notes.txt")
    prompt.ask("what does @notes.txt say?")
    assert turns(prompt.home)[-1][0].count("badgers sleep in setts") == 1
    kept = prompt.ask("/file .env")
    assert ".env (15 characters, which keeps the question on this machine" in kept
    assert "Not sent with it: .env." in prompt.ask("/new")
    prompt.ask("/file .env")
    with open_store(prompt.home / "history.db") as store:
        last = store.conversations(1)[0].id
    assert "Not sent with it: .env." in prompt.ask(f"/resume {last}")
    prompt.ask("hello")
    assert turns(prompt.home)[-1][0] == "hello"


def test_the_editor_writes_the_next_question(home: Path) -> None:
    editor = executable(home.parent / "editor", 'echo "written elsewhere" > "$1"')
    with terminal(home, *SHORT, environment={"EDITOR": str(editor)}) as chat:
        chat.wait_ready()
        chat.enter("/editor")
        chat.wait_for("› written elsewhere")


def test_an_editor_that_cannot_be_run_is_told(home: Path) -> None:
    with terminal(home, *SHORT, environment={"EDITOR": "no-such-editor"}) as chat:
        chat.wait_ready()
        chat.enter("/editor")
        chat.wait_for("No editor could be run. Name one in VISUAL or EDITOR")


# Signals


@pytest.mark.parametrize("answering", [False, True], ids=["at the prompt", "in an answer"])
def test_ctrl_z_gives_the_terminal_back_until_the_chat_goes_on(talk: Terminal, answering: bool) -> None:
    if answering:
        talk.begin("tell me more")
    talk.press(CTRL_Z)
    chat = psutil.Process(talk.pid)
    talk.until(lambda: chat.status() == psutil.STATUS_STOPPED, "it does not stop")

    assert talk.attributes() == talk.before
    assert talk.raw.rfind(PASTE_OFF) > talk.raw.rfind(PASTE_ON)
    start = len(talk.raw)
    talk.signal(signal.SIGCONT)
    if answering:
        talk.until(lambda: len(talk.raw) > start + 40, "the answer does not go on")
        talk.press(CTRL_C)
    talk.until(lambda: talk.at_prompt, "no prompt")
    talk.press("back again")
    talk.wait_for("› back again")


@pytest.mark.skipif(shutil.which("bash") is None, reason="job control needs a shell")
def test_a_shell_can_stop_the_chat_and_bring_it_back(home: Path) -> None:
    with terminal(home, command=("bash", "--norc", "--noediting", "-i"), environment={"PS1": "shell$ "}) as shell:
        shell.wait_for("shell$")
        shell.press(f"{sys.executable} -m shammah\r")
        shell.wait_ready()
        shell.press(CTRL_Z)
        shell.wait_for("Stopped")
        shell.press("echo here $((6*7))\r")
        shell.wait_for("here 42")
        shell.press("fg\r")
        shell.wait_ready()
        shell.press("/why\r")
        shell.wait_for("Nothing was answered yet")
        shell.until(lambda: shell.at_prompt, "no prompt")
        shell.press(CTRL_D)
        shell.until(lambda: shell.line == "shell$", "the chat does not end")


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(chat: Terminal, name: str) -> None:
    workers = chat.workers()
    number = getattr(signal, name)
    chat.signal(number)

    assert chat.wait_end() == -number
    assert left_as_it_was(chat)
    assert gone(workers)


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_in_an_answer_leaves_the_terminal_as_it_was_and_all_that_was_shown_is_kept(
    home: Path, endless: Path, name: str
) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[chat]\nmarkdown = false\n")
    with terminal(home, "-m", str(endless)) as talker:
        talker.wait_ready("endless")
        workers = talker.workers()
        number = getattr(signal, name)
        at = talker.begin("tell me more", characters=400)
        talker.signal(number)

        assert talker.wait_end() == -number
        assert left_as_it_was(talker)
        assert gone(workers)
        shown = talker.raw[at : talker.raw.index("\x1b", at)].replace("\r", "")
    [(_, answer, reason)] = turns(home)
    assert reason == "interrupted"
    assert safe_text(answer).startswith(shown.rstrip("\n"))


def test_a_second_signal_in_an_answer_does_not_wait_for_the_first(talker: Terminal) -> None:
    talker.begin("tell me more")
    talker.signal(signal.SIGSTOP)  # So that it finds both.
    talker.signal(signal.SIGTERM)
    talker.signal(signal.SIGHUP)
    talker.signal(signal.SIGCONT)

    assert talker.wait_end() in (-signal.SIGTERM, -signal.SIGHUP)
    assert left_as_it_was(talker)


def test_an_interrupt_from_outside_acts_as_ctrl_c_does(talker: Terminal, home: Path) -> None:
    talker.begin("tell me more", characters=400)
    talker.signal(signal.SIGINT)
    talker.until(lambda: talker.at_prompt, "no prompt")
    assert turns(home)[0][2] == "interrupted"

    assert talker.leave(lambda: talker.signal(signal.SIGINT)) == 0
    assert left_as_it_was(talker)
