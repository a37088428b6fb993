"""The chat with Claude on a real terminal: who is asked, what leaves this machine, and what is said of it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("these tests drive a POSIX terminal", allow_module_level=True)

from tests.servers.claude import KEY, Claude, Cut, Hangup, Status
from tests.terminal import CTRL_C, Terminal, terminal, turns

SHORT = ("--max-tokens", "8", "--temperature", "0")
LOCAL = "nothing sent"
ASKED = "Send it? y sends, n has it answered here, v shows all of it"


@pytest.fixture
def claude() -> Iterator[Claude]:
    """A Claude on loopback, which keeps every byte that it hears."""
    with Claude() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the chat keeps its files; what it is started in is the folder around it."""
    return tmp_path / "home"


def opened(home: Path, claude: Claude, *arguments: str) -> Terminal:
    """A chat with a key, and nothing allowed."""
    more = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url}
    return Terminal(home, *SHORT, *arguments, rows=60, environment=more)


@pytest.fixture
def chat(home: Path, claude: Claude) -> Iterator[Terminal]:
    """Such a chat, ready."""
    with opened(home, claude) as talk:
        talk.wait_ready()
        yield talk


def words(text: str) -> str:
    """What was written, without what depends on the width of the screen."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).split())


def said(chat: Terminal, line: str) -> str:
    """The words that a line is answered with, once the prompt is back."""
    return words(chat.ask(line, 60))


def at_claude(chat: Terminal) -> None:
    """Have Claude answer."""
    chat.ask("/cloud")
    chat.wait_for("claude-sonnet-5-5 answers ·")


def nag(chat: Terminal) -> bool:
    """Type what begins as a yes does, and give it time to be read; what comes too early is forgotten."""
    chat.press("you there?\r")
    chat.pump(1.0)
    return False


# Who is asked


def test_cloud_and_local_take_effect_at_once_and_say_what_leaves(chat: Terminal, claude: Claude) -> None:
    assert "each question leaves this machine. /auto" in said(chat, "/cloud")
    assert "sent" in said(chat, "one")
    assert "with what was said before it" in said(chat, "/cloud")
    chat.ask("/local")
    claude.forget()
    assert LOCAL in said(chat, "two")
    assert "the mode is local" in said(chat, "/retry cloud")
    assert claude.heard == b""


def test_cloud_names_the_way_back_to_the_mode_before(chat: Terminal) -> None:
    chat.ask("/set routing.mode ask")
    assert "/set routing.mode ask goes back" in said(chat, "/cloud")
    chat.ask("/local")
    assert "/local goes back" in said(chat, "/cloud")


def test_a_file_edited_elsewhere_does_not_lift_the_local_that_was_typed_here(
    home: Path, chat: Terminal, claude: Claude
) -> None:
    chat.ask("/local")
    (home / "config.toml").write_text('[routing]\nmode = "cloud"\n')
    told = said(chat, "hello")
    assert "config.toml says cloud now; this chat stays local" in told
    assert LOCAL in told
    assert claude.heard == b""


def test_a_key_without_consent_sends_nothing_and_retry_cloud_keeps_both_answers(
    home: Path, chat: Terminal, claude: Claude
) -> None:
    assert LOCAL in said(chat, "hello")
    assert claude.heard == b""
    assert "Well, and" in said(chat, "/retry cloud")
    answers = [answer for question, answer, _ in turns(home) if question == "hello"]
    assert len(answers) == 2
    assert all(answers)
    assert "Answered before by starter" in said(chat, "/export")
    assert len(claude.questions) == 1


def test_mode_ask_sends_only_what_it_got_a_yes_for(home: Path, chat: Terminal, claude: Claude) -> None:
    chat.ask("/set routing.mode ask")
    for key, told in (("n", LOCAL), (CTRL_C, "… stopped. /retry asks again.")):
        chat.ask("/new")
        chat.enter("hello there")
        chat.until(lambda: words(chat.display).endswith(ASKED), "it does not ask")
        assert "would go: this question, 11 characters." in words(chat.display)
        chat.press(key)
        chat.wait_for(told)
        chat.until(lambda: chat.at_prompt, "no prompt")
        assert claude.heard == b""
    assert turns(home)[-1] == ("hello there", "", "interrupted")
    chat.ask("/new")
    chat.enter("hello again")
    chat.until(lambda: words(chat.display).endswith(ASKED), "it does not ask")
    chat.press("v")
    chat.until(lambda: words(chat.display).endswith(f"user: hello again {ASKED}"), "it does not ask again")
    assert claude.heard == b""
    chat.press("y")
    chat.wait_for("Well, and", 60)
    assert [asked.body["messages"][0]["content"] for asked in claude.questions] == ["hello again"]


def test_ctrl_c_at_that_question_on_the_command_line_ends_it_with_nothing_sent(home: Path, claude: Claude) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text('[routing]\nmode = "ask"\n')
    with opened(home, claude, "hello") as once:
        once.wait_for("Send it? [y/N]")
        once.press(CTRL_C)
        assert once.wait_end() == 130
    assert turns(home) == [("hello", "", "interrupted")]
    assert claude.heard == b""


def test_what_the_command_line_tells_is_broken_between_words_on_a_terminal(home: Path, claude: Claude) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text('[routing]\nmode = "ask"\n')
    more = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url}
    with terminal(home, *SHORT, "hello", columns=30, environment=more) as once:
        once.wait_for("Send it? [y/N]")
        shown = once.display.splitlines()
        once.press("n\r")
        assert once.wait_end() == 0
    assert shown[:3] == ["To Claude (claude-sonnet-5-5)", "would go: this question, 5", "characters."]


# What is private


def test_what_is_private_is_withheld_and_that_is_said(chat: Terminal, claude: Claude) -> None:
    at_claude(chat)
    assert "you marked it private" in said(chat, "/private my name is Canary")
    assert "1 earlier exchange is private and stays here" in said(chat, "who am I?")
    assert "1 of 2 go to Claude; the private ones stay here" in said(chat, "/context")
    assert "Claude cannot be asked" in said(chat, "/private") + said(chat, "/retry cloud")
    assert b"who am I?" in claude.heard
    assert b"Canary" not in claude.heard


def test_a_private_conversation_stays_here_whatever_asks_again(chat: Terminal, claude: Claude) -> None:
    at_claude(chat)
    chat.ask("one", 60)
    chat.ask("/private")
    claude.forget()
    assert "The starter cannot go on with an answer" in said(chat, "/continue")
    assert LOCAL in said(chat, "/retry")
    assert "Claude cannot be asked" in said(chat, "/continue cloud")
    assert "never asked in this conversation" in said(chat, "/status")
    assert "Claude is never asked in this conversation" in said(chat, "/cloud")
    assert claude.heard == b""


def test_a_private_conversation_stays_so_when_it_is_gone_on_with(home: Path, claude: Claude) -> None:
    with opened(home, claude) as chat:
        chat.wait_ready()
        chat.ask("hello")
        chat.ask("/private")
        chat.press("/exit\r")
        chat.wait_end()
    with opened(home, claude, "-c", "--cloud") as chat:
        chat.wait_for("is back")
        chat.wait_ready()
        assert LOCAL in said(chat, "my name is Canary")
    with opened(home, claude, "-c", "--cloud", "who was I?") as once:
        once.wait_end(60)
    assert len(turns(home)) == 3
    assert claude.heard == b""


def test_what_looks_like_a_secret_stays_here(home: Path, chat: Terminal, claude: Claude) -> None:
    (home.parent / ".env").write_text("PASSWORD=Canary\n")
    at_claude(chat)
    assert ".env holds secrets by its name" in said(chat, "what is in @.env")
    assert "looks like a private key" in said(chat, "is -----BEGIN RSA PRIVATE KEY----- right?")
    chat.ask("/new")
    chat.ask("/system -----BEGIN RSA PRIVATE KEY----- Canary")
    assert "the system prompt holds what looks like a private key" in said(chat, "hello")
    assert claude.heard == b""


def test_a_key_that_is_kept_here_reaches_neither_a_command_nor_the_editor(home: Path, claude: Claude) -> None:
    home.mkdir(mode=0o700)
    (home / "credentials.toml").write_text(f'anthropic_api_key = "{KEY}"\n')
    (home / "credentials.toml").chmod(0o600)
    (home.parent / "edit").write_text("#!/bin/sh\nenv > edited.txt\n")
    (home.parent / "edit").chmod(0o700)
    more = {"ANTHROPIC_BASE_URL": claude.url, "EDITOR": str(home.parent / "edit"), "OWN_KEY": "mine"}
    with terminal(home, *SHORT, environment=more) as chat:
        chat.wait_ready()
        at_claude(chat)
        chat.ask("hello", 60)
        chat.ask("!env > ran.txt")
        chat.press("/editor\r")
        chat.until(lambda: (home.parent / "edited.txt").exists(), "the editor is not run")
    assert claude.questions
    for name in ("ran.txt", "edited.txt"):
        variables = (home.parent / name).read_text()
        assert KEY not in variables
        assert "OWN_KEY=mine" in variables


def test_an_address_that_others_can_listen_to_is_warned_of_before_anything_goes_there(home: Path) -> None:
    more = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://gateway.invalid"}
    with terminal(home, columns=200, environment=more) as chat:
        chat.wait_ready()
        for line in ("/cloud", "/status", "/doctor"):
            assert "go unencrypted to gateway.invalid" in said(chat, line)


# What goes wrong


def test_where_claude_fails_before_its_first_word_the_next_one_answers(chat: Terminal, claude: Claude) -> None:
    chat.ask("/set cloud.allowed true")
    claude.faults = [Hangup()] * 3
    told = said(chat, "hello")
    assert "starter answers instead" in told
    assert "sent" in told
    assert "Claude failed" in said(chat, "/why")


def test_ctrl_c_ends_a_countdown_and_after_a_cut_the_part_is_gone_on_with(chat: Terminal, claude: Claude) -> None:
    at_claude(chat)
    claude.faults = [Status(529, headers={"retry-after": "20"}), Cut(900, "rst")]
    chat.enter("hello")
    chat.wait_for("; again in", 60)
    chat.press(CTRL_C)
    chat.until(lambda: chat.at_prompt, "no prompt")
    assert "… stopped. /retry asks again." in chat.display
    assert len(claude.questions) == 1
    told = said(chat, "hello")
    assert "broke off" in told
    assert "/continue goes on from there" in told
    assert "claude-sonnet-5-5 · sent" in told
    chat.ask("/continue", 60)
    roles = [message["role"] for message in claude.questions[-1].body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_continue_asks_nobody_that_a_question_would_not_be_sent_to(chat: Terminal, claude: Claude) -> None:
    worker = chat.answering_worker()
    chat.begin("tell me all about the settings", 4)
    os.kill(worker, signal.SIGKILL)
    chat.until(lambda: chat.at_prompt, "no prompt")
    chat.ask("/continue", 60)
    assert claude.heard == b""


def test_continue_goes_on_with_an_answer_that_was_cut_and_not_with_a_complete_one(
    home: Path, chat: Terminal, claude: Claude
) -> None:
    at_claude(chat)
    assert "The answer reached its limit" in said(chat, "hello")
    chat.ask("/set generation.max_tokens 100")
    assert "and so." in said(chat, "/continue")
    asked = len(claude.questions)
    for line in ("/continue", "/continue cloud"):
        assert "The last answer is complete hint: Type what you want to hear more of" in said(chat, line)
    with opened(home, claude, "-c") as later:
        later.wait_for("are back")
        later.wait_ready()
        assert "The last answer is complete" in said(later, "/continue")
    assert len(claude.questions) == asked


def test_where_nobody_can_answer_the_reports_say_so(home: Path) -> None:
    with terminal(home, columns=120) as keyless:
        keyless.wait_ready()
        keyless.ask("/set routing.mode cloud")
        assert "nobody: There is no key for Claude" in said(keyless, "/status")
        assert "turns" in said(keyless, "/context")
        assert "starter" in said(keyless, "/model")


def test_on_a_terminal_of_lines_a_line_typed_too_early_is_no_yes(home: Path, claude: Claude) -> None:
    more = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url, "TERM": "dumb"}
    with terminal(home, *SHORT, environment=more) as dumb:
        dumb.wait_for("\n>")
        dumb.press("/set routing.mode ask\r")
        dumb.wait_for("routing.mode is now")
        dumb.press("hello\ryes\r")
        dumb.wait_for(ASKED)
        dumb.until(lambda: LOCAL in words(dumb.display) or nag(dumb), "it does not answer")
        start = len(dumb.raw)
        dumb.press("hello again\r")
        dumb.until(lambda: ASKED in words(dumb.raw[start:]), "it does not ask")
        dumb.press(CTRL_C)
        dumb.until(lambda: "stopped." in dumb.raw[start:], "it is not stopped")
        assert LOCAL not in dumb.raw[start:]
    assert claude.heard == b""
