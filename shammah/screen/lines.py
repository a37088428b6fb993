"""The chat on a terminal of lines (TERM=dumb, as in Emacs): what is typed comes a line at a time, in its own echo.

Nothing is painted and no control code is written. The terminal keeps what is typed during an answer for the next
prompt, where each Enter sends: it has no other way to end a line.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shammah.errors import UsageError
from shammah.screen.editor import edited
from shammah.screen.input_history import InputHistory
from shammah.screen.keys import LEAVE_WITHIN
from shammah.screen.output import Output
from shammah.screen.person import Signals

SIGN = "> "
_TICK = 0.1
"""Seconds between two looks for a Ctrl-C while nobody types."""


class LineKeyboard:
    """The keyboard while an answer runs: the terminal keeps the keys, and its Ctrl-C comes as a signal."""

    def __init__(self, signals: Signals) -> None:
        self.listening = signals.ending_held
        self.take_interrupt = self.stop_pressed = signals.take_interrupt

    def choice(self, keys: str, ask: Callable[[], None]) -> str:
        """Ask, and wait for a line with one of these letters, or yes or no; any other line is "".

        Raises:
            KeyboardInterrupt: the person presses Ctrl-C.
        """
        drop_typed()
        ask()
        line = typed_line(self.take_interrupt)
        if line is None:
            raise KeyboardInterrupt
        word = line.strip().lower()
        return word[:1] if word in (*keys, "yes", "no") and word[:1] in keys else ""


class LinePrompt:
    """Reads a line at a time; an empty line sends what was offered to edit."""

    def __init__(
        self, out: Output, signals: Signals, history: Path | None, editor: str, after_first_sign: Callable[[], None]
    ) -> None:
        self.history = InputHistory(history)
        self._out = out
        self._take_interrupt = signals.take_interrupt
        self._editor = editor
        self._after_first_sign: Callable[[], None] | None = after_first_sign
        self._reads = False

    def read(self, default: str = "", *, vi: bool = False, in_editor: bool = False) -> str:  # noqa: ARG002 - no keys here
        """The next line; with `in_editor`, the editor opens on `default` first.

        Raises:
            EOFError: the person leaves.
        """
        offered = self._edited(default) if in_editor else default
        self._reads = True
        try:
            self._offer(offered)
            line = self._line()
            if line is None:
                offered, line = "", self._line_after_stop()
        finally:
            self._reads = False
        if line.strip():
            self.history.append_string(line)
        return line or offered

    def redraw(self) -> None:
        """Nothing: there is no bottom line."""

    def repaint(self) -> None:
        """Write the sign again, after something else was written where a line is waited for."""
        if self._reads:
            sys.stdout.write(SIGN)
            sys.stdout.flush()

    def _offer(self, text: str) -> None:
        if text:
            self._out.say(text)
            self._out.note("Enter alone sends this; Ctrl-C drops it.")
        self.repaint()
        if self._after_first_sign is not None:
            start, self._after_first_sign = self._after_first_sign, None
            start()

    def _line_after_stop(self) -> str:
        """A Ctrl-C drops the line; a second one soon leaves."""
        stopped = -LEAVE_WITHIN
        line = None
        while line is None:
            if time.monotonic() - stopped < LEAVE_WITHIN:
                raise EOFError
            stopped = time.monotonic()
            self._out.end_line()
            self._out.note("Ctrl-C again leaves; Ctrl-D too")
            self.repaint()
            line = self._line()
        return line

    def _line(self) -> str | None:
        """A line without its end, or None for a Ctrl-C."""
        try:
            return typed_line(self._take_interrupt)
        except EOFError:
            self._out.end_line()
            raise

    def _edited(self, text: str) -> str:
        """What the person's editor makes of a text."""
        try:
            made = edited(text, [self._editor])
        except UsageError as error:
            self._out.note(f"{error}. {error.hint}.")
            return text
        return text if made is None else made.strip()


def drop_typed() -> None:
    """Forget what was typed and not read yet: a question that matters is not answered by chance."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def typed_line(interrupted: Callable[[], bool]) -> str | None:
    """A line without its end, or None where `interrupted` comes true first; EOFError at the end of the input."""
    typed = b""
    while not typed.endswith(b"\n"):
        if os.name != "nt" and not select.select([sys.stdin], [], [], _TICK)[0]:
            if interrupted():
                return None
            continue
        part = _read()
        if not part:
            raise EOFError
        typed += part
    return typed.decode("utf-8", "replace").rstrip("\r\n")


def _read() -> bytes:
    """What the terminal has, a line in most cases; nothing at its end."""
    if os.name == "nt":  # No select for its console, and the descriptor gives no Unicode.
        return sys.stdin.readline().encode("utf-8", "replace")
    with contextlib.suppress(OSError):  # The terminal is gone.
        return os.read(sys.stdin.fileno(), 65_536)
    return b""
