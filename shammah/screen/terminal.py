"""The terminal as a thing that must be left as it was found: after every signal, every exception, every suspension."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

if os.name != "nt":
    import termios

LEAVE = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1l\x1b>"
"""Colours off, bracketed paste off, cursor shown, cursor and number keys as usual."""
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT")


class Terminal:
    """Remembers how the terminal was set and puts it back."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._found = _attributes(self._descriptor)
        self._interrupted = False

    def restore(self) -> None:
        """Set the terminal as it was found."""
        # A signal may come in the middle of a write: then the stream refuses another, and only the descriptor works.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), LEAVE.encode("ascii"))
        _set_attributes(self._descriptor, self._found)

    @contextlib.contextmanager
    def guarded(self, before_end: Callable[[], None], after_pause: Callable[[], None]) -> Iterator[None]:
        """Restore at the end of the block and before any signal that ends or stops the process.

        `before_end` runs before an ending signal takes effect, `after_pause` when a stopped process goes on.
        """

        def end(number: int, _frame: FrameType | None) -> None:
            try:
                self.restore()
                before_end()
            finally:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        def pause(_number: int, _frame: FrameType | None) -> None:
            self.pause()
            after_pause()

        for name in _ENDING:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), end)
        if os.name != "nt":
            signal.signal(signal.SIGTSTP, pause)

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self._interrupted = True

        # A Ctrl-C between the prompt and the answer finds the terminal as it was, and comes as a signal.
        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            self.restore()

    def take_interrupt(self) -> bool:
        """Whether SIGINT came since the last call."""
        interrupted, self._interrupted = self._interrupted, False
        return interrupted

    def pause(self) -> None:
        """Stop the process as Ctrl-Z does, with the terminal restored meanwhile; returns when it goes on."""
        if os.name == "nt":
            return  # Windows consoles have no job control.
        now = _attributes(self._descriptor)
        self.restore()
        # SIGSTOP and not SIGTSTP: the latter has our handler.
        os.kill(os.getpid(), signal.SIGSTOP)
        _set_attributes(self._descriptor, now)


def _attributes(descriptor: int) -> list[object] | None:
    if os.name == "nt":
        return None  # prompt_toolkit sets and restores the console's modes around each read.
    with contextlib.suppress(termios.error):
        return termios.tcgetattr(descriptor)
    return None


def _set_attributes(descriptor: int, attributes: list[object] | None) -> None:
    if os.name == "nt" or attributes is None:
        return
    with contextlib.suppress(termios.error):
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)  # type: ignore[arg-type]
