"""Keys at the prompt and during an answer, typed into a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import DummyOutput

from shammah.errors import UsageError
from shammah.screen.completion import ChatCompleter
from shammah.screen.editor import edited
from shammah.screen.paste import merge_pastes, unmarked_pastes
from shammah.screen.prompt import Prompt
from shammah.screen.typeahead import Keyboard

CTRL_C, CTRL_D, CTRL_E, CTRL_X = "\x03", "\x04", "\x05", "\x18"
Typed = Callable[..., str]


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


@pytest.fixture
def modes() -> list[str]:
    """The modes that Shift-Tab went through."""
    return []


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """A Python program that takes the place of an editor; what it shall do is written into it."""
    path = tmp_path / "my editor.py"
    path.write_text("")
    return path


@pytest.fixture
def prompt(keys: PipeInput, tmp_path: Path, modes: list[str], editor: Path) -> Prompt:
    def next_mode() -> str:
        modes.append("next")
        return "the next mode"

    return Prompt(
        keyboard=keys,
        completer=ChatCompleter(conversations=list),
        history=tmp_path / "input_history",
        bottom_line=lambda _width: "",
        next_mode=next_mode,
        color=False,
        editor=f'"{sys.executable}" "{editor}"',
        after_first_paint=lambda: None,
    )


@pytest.fixture
def typed(keys: PipeInput, prompt: Prompt) -> Typed:
    """What the prompt returns when these keys are typed."""

    def read(text: str, *, default: str = "", vi: bool = False) -> str:
        keys.send_text(text)
        return prompt.read(default, vi=vi)

    return read


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


def test_enter_sends(typed: Typed) -> None:
    assert typed("a question\r") == "a question"


@pytest.mark.parametrize("key", ["\n", "\x1b\r"], ids=["Ctrl-J", "Alt-Enter"])
def test_a_new_line_is_begun_without_sending(typed: Typed, key: str) -> None:
    assert typed(f"one{key}  two\r") == "one\n  two"


def test_enter_sends_in_vi_mode_too(typed: Typed) -> None:
    assert typed("one\ntwo\r", vi=True) == "one\ntwo"


def test_after_ctrl_c_a_line_begins_in_the_insert_mode_of_vi(typed: Typed, keys: PipeInput) -> None:
    threading.Timer(1.0, keys.send_text, [f"{CTRL_C}how do I quit?\r"]).start()  # Esc by itself takes half a second.
    assert typed("abc\x1b", vi=True) == "how do I quit?"


def test_ctrl_c_clears_the_line(typed: Typed) -> None:
    assert typed(f"half a thought{CTRL_C}another\r") == "another"


def test_ctrl_c_twice_on_an_empty_line_leaves(typed: Typed) -> None:
    with pytest.raises(EOFError):
        typed(CTRL_C + CTRL_C)


def test_ctrl_c_once_on_an_empty_line_does_not_leave(typed: Typed) -> None:
    assert typed(CTRL_C + "still here\r") == "still here"


def test_ctrl_d_deletes_in_a_line_and_leaves_on_an_empty_one(typed: Typed) -> None:
    assert typed(f"ab\x1b[D{CTRL_D}\r") == "a"
    with pytest.raises(EOFError):
        typed(CTRL_D)


def test_the_editor_edits_the_line_and_sends_it(typed: Typed, editor: Path) -> None:
    editor.write_text("import sys; open(sys.argv[1], 'a', newline='').write(' more\\r\\nof it\\r\\n')")
    assert typed(f"some{CTRL_X}{CTRL_E}") == "some more\nof it"


def test_an_editor_that_is_left_with_an_error_was_given_up(editor: Path) -> None:
    editor.write_text("import sys; open(sys.argv[1], 'w').write('thought better of it'); sys.exit(1)")
    assert edited("some", [f'"{sys.executable}" "{editor}"']) is None


def test_what_a_terminal_gave_that_is_no_text_does_not_keep_the_editor_from_opening(editor: Path) -> None:
    editor.write_text("import sys; open(sys.argv[1], 'a').write(' more')")
    assert edited("some\udcff", [f'"{sys.executable}" "{editor}"']) == "some? more"


def test_an_editor_without_room_for_its_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="The editor gets no file: "):
        edited("some", ["true"])


@pytest.mark.parametrize("editors", [[], [""], ["no-such-editor --wait"], ['"half quoted']])
def test_an_editor_that_cannot_be_run_is_told(editors: list[str]) -> None:
    with pytest.raises(UsageError, match="No editor could be run"):
        edited("some", editors)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")
def test_a_path_with_blanks_needs_no_quotes(editor: Path) -> None:
    editor.write_text("#!/bin/sh\necho edited > $1\n")
    editor.chmod(0o700)
    assert edited("some", [str(editor)]) == "edited"


def test_shift_tab_changes_the_mode(typed: Typed, modes: list[str]) -> None:
    assert typed("a\x1b[Zb\r") == "ab"
    assert modes == ["next"]


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb"])
def test_line_ends_of_a_paste_are_new_lines(typed: Typed, text: str) -> None:
    assert typed(pasted(text) + "\r") == "a\nb"


def test_control_bytes_of_a_paste_are_text(typed: Typed) -> None:
    assert typed(pasted("a\x03b\x04c\x00d\te") + "\r") == "a\x03b\x04c\x00d\te"


def test_an_edit_begins_with_the_text_it_is_given(typed: Typed) -> None:
    assert typed("!\r", default="once more") == "once more!"


def test_ctrl_r_finds_what_was_typed_before(typed: Typed) -> None:
    typed("where do badgers sleep?\r")
    typed("something else\r")

    assert typed("\x12badg\r\r") == "where do badgers sleep?"


def test_ctrl_c_ends_a_search_and_not_the_line(typed: Typed) -> None:
    assert typed(f"kept\x12badg{CTRL_C}\r") == "kept"


@pytest.mark.parametrize(
    ("begun", "whole"),
    [
        ("/conte\t", "/context"),
        ("/set local.s\t", "/set local.size"),
        ("/set local.size st\t", "/set local.size starter"),
    ],
)
def test_tab_completes_commands_settings_and_values(typed: Typed, begun: str, whole: str) -> None:
    assert typed(begun + "\r").rstrip() == whole


def test_tab_completes_a_path(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "badgers.txt").touch()
    assert typed(f"what says @{tmp_path}/bad\t?\r") == f"what says @{tmp_path}/badgers.txt?"


def test_the_prompt_may_be_repainted_from_another_thread_at_any_time(typed: Typed, prompt: Prompt) -> None:
    over = threading.Event()

    def worker_tells() -> None:
        while not over.is_set():
            prompt.redraw()

    teller = threading.Thread(target=worker_tells)
    teller.start()
    try:
        assert {typed("a line\r") for _ in range(60)} == {"a line"}
        assert teller.is_alive()
    finally:
        over.set()
        teller.join()


# During an answer


class Signals:
    """A system in which nothing comes from outside; counts how often the process was stopped."""

    def __init__(self) -> None:
        self.pauses = 0
        self.ending_held = contextlib.nullcontext[None]

    def take_interrupt(self) -> bool:
        return False

    def pause(self) -> None:
        self.pauses += 1


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.fixture
def keyboard(keys: PipeInput, signals: Signals) -> Keyboard:
    return Keyboard(keys, signals)


def test_what_is_typed_ahead_waits_unsent_in_the_next_prompt(keys: PipeInput, keyboard: Keyboard, typed: Typed) -> None:
    with keyboard.listening():
        keys.send_text("one\rtwo\r")
        assert not keyboard.stop_pressed()

    assert typed("!\r") == "one\ntwo!"


def test_ctrl_c_stops_and_is_no_key_for_the_next_prompt(keys: PipeInput, keyboard: Keyboard, typed: Typed) -> None:
    with keyboard.listening():
        keys.send_text("ahead" + CTRL_C)
        assert keyboard.stop_pressed()
        assert not keyboard.stop_pressed()

    assert typed("\r") == "ahead"


def test_ctrl_d_during_an_answer_leaves_nothing(keys: PipeInput, keyboard: Keyboard, typed: Typed) -> None:
    with keyboard.listening():
        keys.send_text(CTRL_D)
        assert not keyboard.stop_pressed()

    assert typed("still here\r") == "still here"


def test_ctrl_z_pauses_during_an_answer(keys: PipeInput, keyboard: Keyboard, signals: Signals) -> None:
    with keyboard.listening():
        keys.send_text("\x1a")
        keyboard.stop_pressed()

    assert signals.pauses == 1


def test_a_paste_during_an_answer_stays_a_paste(keys: PipeInput, keyboard: Keyboard, typed: Typed) -> None:
    with keyboard.listening():
        keys.send_text(pasted("a\rb\x03c"))
        assert not keyboard.stop_pressed()

    assert typed("\r") == "a\nb\x03c"


# Keys after a paste

PRESSES = st.lists(
    st.sampled_from(
        [KeyPress("a"), KeyPress(Keys.ControlM, "\r"), KeyPress(Keys.ControlC), KeyPress(Keys.Up, "\x1b[A")]
    )
)


@given(PRESSES, PRESSES)
def test_what_follows_a_paste_at_once_belongs_to_it(before: list[KeyPress], after: list[KeyPress]) -> None:
    paste = KeyPress(Keys.BracketedPaste, "text")
    merged = merge_pastes([*before, paste, *after], in_paste=False)

    assert merged[: len(before)] == before
    assert {press.key for press in merged[len(before) :]} == {Keys.BracketedPaste}
    assert "".join(press.data for press in merged) == "".join(press.data for press in [*before, paste, *after])


@given(PRESSES)
def test_what_comes_within_a_burst_belongs_to_the_paste_before(presses: list[KeyPress]) -> None:
    assert all(press.key == Keys.BracketedPaste for press in merge_pastes(presses, in_paste=True))
    assert merge_pastes(presses, in_paste=False) == presses


# Pastes without marks


def presses(text: str) -> list[KeyPress]:
    """What a console gives for a text that is typed or pasted."""
    keys = {"\r": Keys.ControlM, "\t": Keys.ControlI, CTRL_C: Keys.ControlC}
    return [KeyPress(keys.get(letter, letter), letter) for letter in text]


def test_lines_that_are_read_at_once_are_a_paste() -> None:
    text = "def f():\r\treturn 1\r"
    assert unmarked_pastes(presses(text)) == [KeyPress(Keys.BracketedPaste, text)]


@pytest.mark.parametrize("text", ["a", "\r", "several words", "\r\r", ""])
def test_keys_without_both_text_and_enter_are_keys(text: str) -> None:
    assert unmarked_pastes(presses(text)) == presses(text)


def test_ctrl_c_in_a_paste_without_marks_still_stops() -> None:
    assert unmarked_pastes(presses(f"a\r{CTRL_C}b")) == [
        KeyPress(Keys.BracketedPaste, "a\r"),
        KeyPress(Keys.ControlC, CTRL_C),
        KeyPress(Keys.BracketedPaste, "b"),
    ]
