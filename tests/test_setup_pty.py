"""The set-up questions in a real terminal: at the first run, by `shammah setup`, and by /setup in a chat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("these tests drive a POSIX terminal", allow_module_level=True)

from shammah.config import load
from tests.servers.claude import KEY, Claude, Silence
from tests.servers.hub import Hub
from tests.terminal import CTRL_C, CTRL_D, ROOT, Terminal, left_as_it_was, terminal, variables

TYPED_KEY = "sk-ant-canary-of-the-set-up"
MODEL, FETCH, CLAUDE, SECRET = "Model [", "Now or later [", "Yes or no [no]", "Key: "
ASKED = ((MODEL, "0.5b"), (FETCH, "now"), (CLAUDE, "yes"), (SECRET, TYPED_KEY))
"""The start of each prompt, and an answer that leads to the next."""
NOTHING = "Nothing was changed."


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with nothing in it, which knows whether it was asked."""
    (tmp_path / "hub").mkdir()
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without settings, on a machine whose memory is known to be fast."""
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "machine.json").write_text(json.dumps({"bytes_per_s": 1e12}))
    return tmp_path / "home"


def first_run(home: Path, hub: Hub, *arguments: str, **how: object) -> AbstractContextManager[Terminal]:
    """shammah at its first start, with this hub."""
    more = how.pop("environment", {})
    assert isinstance(more, dict)
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "", **more}
    return terminal(home, *arguments, first_run=True, environment=environment, **{"rows": 50, **how})


def answer(chat: Terminal, prompt: str, text: str) -> None:
    """Wait until the last line asks this, and answer."""
    until_asked(chat, prompt)
    chat.press(text + "\r")


def until_asked(chat: Terminal, prompt: str) -> None:
    """Wait until the line with the cursor begins so."""
    chat.until(lambda: chat.line.startswith(prompt.strip()), f"{prompt!r} is not asked")


def up_to(chat: Terminal, number: int) -> None:
    """Answer the questions before this one, and wait for it."""
    for prompt, text in ASKED[:number]:
        answer(chat, prompt, text)
    until_asked(chat, ASKED[number][0])


def until_chat(chat: Terminal) -> None:
    """Wait for the prompt of the chat."""
    chat.until(lambda: chat.at_prompt, "no prompt")


# The first run


def test_all_answers_are_kept_and_the_chat_follows(home: Path, hub: Hub) -> None:
    with Claude() as claude, first_run(home, hub, environment={"ANTHROPIC_BASE_URL": claude.url}) as chat:
        up_to(chat, 0)
        assert "shammah · what you type stays on this machine" in chat.display
        answer(chat, MODEL, "1.5b coder")
        answer(chat, FETCH, "later")
        answer(chat, CLAUDE, "yes")
        answer(chat, SECRET, TYPED_KEY)
        answer(chat, "Yes or no [yes]", "no")
        chat.wait_for("claude-sonnet-5-5 answers")
        chat.wait_for("The key is kept in")
        found = load(home / "config.toml")
        assert (found.local.size, found.local.variant, found.local.fetch) == ("1.5b", "coder", False)
        assert found.cloud.allowed
        assert TYPED_KEY not in chat.raw
        assert not claude.heard
    assert not hub.asked
    holders = [path.name for path in home.rglob("*") if path.is_file() and TYPED_KEY.encode() in path.read_bytes()]
    assert holders == ["credentials.toml"]


def test_enter_alone_leads_to_a_chat_that_sends_nothing(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        answer(chat, MODEL, "starter")
        answer(chat, CLAUDE, "")
        answer(chat, SECRET, "")
        until_chat(chat)
    assert not load(home / "config.toml").cloud.allowed
    assert not hub.asked


def test_now_fetches_as_soon_as_the_chat_is_there(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        answer(chat, MODEL, "0.5b")
        answer(chat, FETCH, "now")
        until_asked(chat, CLAUDE)
        assert not hub.asked
        chat.press("\r")
        answer(chat, SECRET, "")
        until_chat(chat)
        chat.until(lambda: bool(hub.asked), "the hub is not asked")


def test_a_second_start_asks_nothing(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        answer(chat, MODEL, "starter")
        answer(chat, CLAUDE, "no")
        answer(chat, SECRET, "")
        until_chat(chat)
    with first_run(home, hub) as chat:
        until_chat(chat)
        assert MODEL not in chat.raw


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_who_stops_gets_a_chat_that_fetches_nothing(home: Path, hub: Hub, number: int, key: str) -> None:
    with first_run(home, hub) as chat:
        up_to(chat, number)
        chat.press(key)
        until_chat(chat)
        assert NOTHING in chat.display
        if number == 3:
            chat.wait_ready()
            assert "starter" in chat.ask("how do I leave the chat?")
    assert not (home / "config.toml").exists()
    assert not (home / "credentials.toml").exists()
    assert not hub.asked


def test_settings_are_no_answer_to_the_set_up(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        until_asked(chat, MODEL)
        chat.press(CTRL_C)
        until_chat(chat)
        chat.ask("/set chat.markdown false")
    with first_run(home, hub, "-q") as chat:
        chat.wait_ready()
        chat.until(lambda: "No larger model is on" in chat.ask("/status"), "what is missing is not told")
    with first_run(home, hub) as chat:
        until_asked(chat, MODEL)
    assert not hub.asked


def test_a_file_of_settings_that_goes_away_is_no_consent(home: Path, hub: Hub) -> None:
    (home / "config.toml").write_text('[local]\nsize = "starter"\n')
    with first_run(home, hub) as chat:
        chat.wait_ready()
        (home / "config.toml").unlink()
        chat.ask("how do I leave the chat?")
        assert "starter" in chat.ask("/status")
    assert not hub.asked


def test_a_window_that_changes_its_size_at_every_question_changes_no_answer(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        for prompt, text in (*ASKED, ("Yes or no [yes]", "no")):
            until_asked(chat, prompt)
            chat.press(text[:1])
            for columns in (40, 100, 64):
                chat.resize(columns, 50)
                chat.pump(0.1)
            chat.press(text[1:] + "\r")
        until_chat(chat)
    found = load(home / "config.toml")
    assert (found.local.size, found.local.fetch, found.cloud.allowed) == ("0.5b", True, True)


def test_a_slip_of_the_fingers_gets_a_sentence_and_the_question_again(home: Path, hub: Hub) -> None:
    with first_run(home, hub) as chat:
        for typed, said in (("7", "did you mean 7b?"), ("big", "type one of"), ("1,5", "did you mean 1.5b?")):
            answer(chat, MODEL, typed)
            chat.wait_for(said)
        answer(chat, MODEL, "starter")
        answer(chat, CLAUDE, "yes please")
        chat.wait_for("type yes or no")
        answer(chat, CLAUDE, "")
        answer(chat, SECRET, "")
        until_chat(chat)


def test_a_narrow_window_without_colour_shows_every_size(home: Path, hub: Hub) -> None:
    with first_run(home, hub, columns=40, environment={"NO_COLOR": "1"}) as chat:
        until_asked(chat, MODEL)
        shown = chat.display
        assert all(f"{size}:" in shown for size in ("0.5b", "1.5b", "3b", "7b", "14b", "starter"))
        assert max(map(len, shown.splitlines())) <= 40
        chat.press(CTRL_C)
        until_chat(chat)


def test_nothing_is_asked_where_a_model_is_named_or_quiet_is_wanted(home: Path, hub: Hub) -> None:
    for arguments in (("--quiet",), ("--model", "starter")):
        with first_run(home, hub, *arguments) as chat:
            until_chat(chat)
            assert MODEL not in chat.raw


def test_without_a_terminal_nothing_is_asked(home: Path, hub: Hub) -> None:
    environment = variables(home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="")
    command = [sys.executable, "-m", "shammah", "--max-tokens", "4"]
    done = subprocess.run(
        command, env=environment, input="how do I leave?", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (home / "config.toml").exists()
    assert not hub.asked


# A terminal of lines


def test_a_terminal_of_lines_asks_the_same_and_does_not_echo_the_key(home: Path, hub: Hub) -> None:
    with first_run(home, hub, environment={"TERM": "dumb"}) as chat:
        for prompt, text in (*ASKED[:1], (FETCH, "later"), *ASKED[2:], ("Yes or no [yes]", "no")):
            answer(chat, prompt, text)
        chat.until(lambda: chat.line == ">", "no prompt")
        assert load(home / "config.toml").cloud.allowed
        assert TYPED_KEY not in chat.raw
        assert "\x1b" not in chat.raw


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_a_terminal_of_lines_can_be_stopped_at_the_key(home: Path, hub: Hub, key: str) -> None:
    with first_run(home, hub, environment={"TERM": "dumb"}) as chat:
        up_to(chat, 3)
        chat.press(key)
        chat.until(lambda: chat.line == ">", "no prompt")
        assert NOTHING in chat.display
        chat.press("/exit\r")
        assert chat.wait_end() == 0
        assert chat.attributes() == chat.before


# shammah setup


def test_set_up_alone_keeps_every_other_setting_and_comment(home: Path, hub: Hub) -> None:
    own = '# mine\n[local]\nsize = "3b" # slow\nthreads = 2\n\n[cloud]\nallowed = false\n'
    (home / "config.toml").write_text(own)
    with first_run(home, hub, "setup") as asked:
        until_asked(asked, "Model [3b]")
        answer(asked, MODEL, "starter")
        answer(asked, CLAUDE, "")
        answer(asked, SECRET, "")
        assert asked.wait_end() == 0
        assert left_as_it_was(asked)
    assert (home / "config.toml").read_text() == own.replace('"3b"', '"starter"')


def test_set_up_alone_fetches_what_was_agreed_to_and_says_what_went_wrong(home: Path, hub: Hub) -> None:
    with first_run(home, hub, "setup") as asked:
        answer(asked, MODEL, "0.5b")
        answer(asked, FETCH, "now")
        answer(asked, CLAUDE, "no")
        answer(asked, SECRET, "")
        assert asked.wait_end() == 1
        assert "error: " in asked.display
    assert hub.asked
    assert load(home / "config.toml").local.size == "0.5b"


def test_set_up_alone_that_is_stopped_ends_as_interrupted(home: Path, hub: Hub) -> None:
    with first_run(home, hub, "setup") as asked:
        until_asked(asked, MODEL)
        asked.press(CTRL_C)
        assert asked.wait_end() == 130
        assert NOTHING in asked.display
        assert left_as_it_was(asked)


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(home: Path, hub: Hub, term: str) -> None:
    with first_run(home, hub, "setup", environment={"TERM": term}) as asked:
        up_to(asked, 3)
        asked.signal(signal.SIGTERM)
        assert asked.wait_end() == -signal.SIGTERM
        assert asked.attributes() == asked.before
    assert not (home / "config.toml").exists()


def test_a_broken_file_is_told_before_anything_is_asked(home: Path, hub: Hub) -> None:
    (home / "config.toml").write_text("[local]\nsize = 3b\n")
    with first_run(home, hub, "setup") as asked:
        assert asked.wait_end() == 1
        assert "config.toml line 2" in asked.display
        assert MODEL not in asked.raw


def test_set_up_alone_needs_a_terminal(home: Path) -> None:
    command = [sys.executable, "-m", "shammah", "setup"]
    done = subprocess.run(
        command, cwd=ROOT, env=variables(home), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "need a terminal" in done.stderr


def test_ctrl_c_stops_the_check_of_a_key(home: Path, hub: Hub) -> None:
    with (
        Claude(Silence()) as claude,
        first_run(home, hub, "setup", environment={"ANTHROPIC_BASE_URL": claude.url}) as asked,
    ):
        answer(asked, MODEL, "starter")
        answer(asked, CLAUDE, "yes")
        answer(asked, SECRET, KEY)
        answer(asked, "Yes or no [yes]", "")
        asked.until(lambda: bool(claude.asked), "Claude is not asked")
        asked.press(CTRL_C)
        assert asked.wait_end() == 130
    assert not (home / "credentials.toml").exists()


# /setup


def test_answers_in_the_chat_count_at_once(home: Path, hub: Hub) -> None:
    (home / "config.toml").write_text('[local]\nsize = "starter"\n')
    with first_run(home, hub, columns=120) as chat:
        chat.wait_ready()
        chat.press("/setup\r")
        answer(chat, "Model [starter]", "0.5b")
        answer(chat, FETCH, "now")
        answer(chat, CLAUDE, "no")
        answer(chat, SECRET, "")
        until_chat(chat)
        chat.until(lambda: bool(hub.asked), "the hub is not asked")
        chat.until(lambda: "0.5B failed:" in chat.ask("/status"), "nothing is said of it")


def test_questions_that_are_stopped_in_the_chat_change_nothing(home: Path, hub: Hub) -> None:
    (home / "config.toml").write_text('[local]\nsize = "starter"\n')
    with first_run(home, hub) as chat:
        chat.wait_ready()
        for number in range(4):
            chat.press("/setup\r")
            up_to(chat, number)
            chat.press(CTRL_C)
            until_chat(chat)
            chat.ask("/new")
        assert chat.raw.count(NOTHING) == 4
        chat.press("\x1b[A")
        chat.pump(0.3)
        assert TYPED_KEY not in chat.raw
    assert (home / "config.toml").read_text() == '[local]\nsize = "starter"\n'
    assert not hub.asked
