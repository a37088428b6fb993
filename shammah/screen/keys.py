"""Which key does what at the prompt, beyond the editing keys of prompt_toolkit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import emacs_insert_mode, has_focus, vi_insert_mode, vi_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

LEAVE_WITHIN = 2.0
"""Seconds between two Ctrl-C on an empty line that leave the chat."""


class Key(NamedTuple):
    """A key as a person knows it, what it does, its names in prompt_toolkit, and whether it needs no painted prompt."""

    shown: str
    does: str
    bound: tuple[tuple[str, ...], ...]
    everywhere: bool = False


KEYS = (
    Key("Enter", "send", (("enter",),), everywhere=True),
    Key("Ctrl-J, Alt-Enter", "start a new line", (("c-j",), ("escape", "enter"))),
    Key(
        "Ctrl-C",
        "stop the answer; at the prompt clear the line; on an empty line, twice within two seconds, leave",
        (("c-c",),),
        everywhere=True,
    ),
    Key("Ctrl-D", "leave, on an empty line", (("c-d",),), everywhere=True),
    Key("Ctrl-L", "clear the screen", (("c-l",),)),
    Key("Ctrl-Z", "suspend; `fg` brings the chat back", (("c-z",),), everywhere=True),
    Key("Up, Down", "go through past input", (("up",), ("down",))),
    Key("Ctrl-R", "search past input", (("c-r",),)),
    Key("Tab", "complete commands, settings and paths", (("c-i",),)),
    Key("Ctrl-X Ctrl-E", "write in your editor, `$VISUAL` or `$EDITOR`", (("c-x", "c-e"),)),
    Key("Shift-Tab", "go round the modes: auto, local, cloud", (("s-tab",),)),
)
"""Every key that a person is told of: by /help and in the README."""


def key_table(*, lines_only: bool = False) -> list[tuple[str, str]]:
    """Each key with what it does, in Markdown; `lines_only` leaves out what a terminal of lines has not."""
    return [(key.shown, key.does) for key in KEYS if key.everywhere or not lines_only]


def key_bindings(next_mode: Callable[[], str], hint: Callable[[str], None]) -> KeyBindings:
    """Bindings for the prompt; `hint` shows a word in the bottom line until the next key."""
    keys = KeyBindings()
    # While Ctrl-R searches, the keys that end a search keep their own meaning.
    line = has_focus(DEFAULT_BUFFER)
    insert = (emacs_insert_mode | vi_insert_mode) & line

    last_stop = [-LEAVE_WITHIN]

    @keys.add("enter", filter=insert)
    def _send(event: KeyPressEvent) -> None:
        last_stop[0] = -LEAVE_WITHIN  # The two that leave come one after the other.
        event.current_buffer.validate_and_handle()

    @keys.add("c-j", filter=insert)
    @keys.add("escape", "enter", filter=~vi_mode & line)
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c", filter=line)
    @keys.add("<sigint>", filter=line)
    def _stop(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        event.app.vi_state.reset()  # A line begins in insert mode, as in a shell.
        if buffer.text:
            buffer.append_to_history()  # Cleared, not lost: Up brings it back.
            buffer.reset()
            return
        if time.monotonic() - last_stop[0] < LEAVE_WITHIN:
            event.app.exit(exception=EOFError)
            return
        last_stop[0] = time.monotonic()
        hint("Ctrl-C again leaves; Ctrl-D too")

    @keys.add("c-d", filter=line)
    def _leave(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        else:
            event.app.exit(exception=EOFError)

    @keys.add("s-tab")
    def _mode(_event: KeyPressEvent) -> None:
        hint(next_mode())

    @keys.add(Keys.BracketedPaste)
    def _paste(event: KeyPressEvent) -> None:
        # Any line end becomes a newline of the text; nothing in a paste is a key.
        event.current_buffer.insert_text(event.data.replace("\r\n", "\n").replace("\r", "\n"))

    return keys
