"""The terminal as a thing that must be left as it was found: after every signal, every exception, every suspension."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

from shammah.screen.printer import obeys_codes

if os.name != "nt":
    import termios

LEAVE = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1l\x1b>"
"""Colours off, bracketed paste off, cursor shown, cursor and number keys as usual."""
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
"""The signals that ask a process to end; SIGBREAK is what Ctrl-Break sends on Windows."""
_CONSOLE_PATIENCE = 4.0
"""Seconds: Windows ends a program five seconds after it has told it that its window is closed."""


def knows_lines_only(term: str, out: TextIO | None = None) -> bool:
    """Whether the terminal cannot move its cursor, as its name says, or else the system's description of it.

    Args:
        term: The name of its kind, "" where there is none.
        out: What is written to it, standard output where none is given; a Windows console is told to obey codes.
    """
    if term in ("dumb", "unknown"):
        return True
    if os.name == "nt":
        return not obeys_codes(out or sys.stdout)
    if not term:
        return False
    try:
        import curses  # Late: Windows has none, and no more has a Python that was built without it.
    except ImportError:
        return False
    try:
        curses.setupterm(term, (out or sys.stdout).fileno())
        return curses.tigetstr("cuu1") is None
    except curses.error:  # Not described here, as many a new terminal; nearly every one of them moves its cursor.
        return False


class Terminal:
    """Remembers how the terminal was set and puts it back; `lines_only` for one that knows no control codes."""

    def __init__(self, lines_only: bool = False) -> None:
        self._descriptor = sys.stdin.fileno()
        self._leave = b"" if lines_only else LEAVE.encode("ascii")
        self._found = _attributes(self._descriptor)
        self._interrupted = False
        self._held = False
        self._ending: Callable[[], None] | None = None
        self._free = threading.Event()
        self._free.set()

    def restore(self) -> None:
        """Set the terminal as it was found."""
        # A signal may come in the middle of a write: then the stream refuses another, and only the descriptor works.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), self._leave)
        _set_attributes(self._descriptor, self._found)

    @contextlib.contextmanager
    def guarded(self, before_end: Callable[[], None], after_pause: Callable[[], None]) -> Iterator[None]:
        """Restore at the end of the block and before any signal that ends or stops the process.

        `before_end` runs before an ending signal takes effect, `after_pause` when a stopped process goes on.
        """

        def end(number: int) -> None:
            try:
                self.restore()
                before_end()
            finally:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        def told_to_end(number: int, _frame: FrameType | None) -> None:
            # Told twice, it waits for nothing.
            if self._held and self._ending is None:
                self._ending = lambda: end(number)
            else:
                end(number)

        def pause(_number: int, _frame: FrameType | None) -> None:
            self.pause()
            after_pause()

        for name in ENDING:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), told_to_end)
        if os.name != "nt":
            signal.signal(signal.SIGTSTP, pause)

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self._interrupted = True

        # A Ctrl-C between the prompt and the answer finds the terminal as it was, and comes as a signal.
        signal.signal(signal.SIGINT, interrupt)
        with _console_watched(self._console_closes):
            try:
                yield
            finally:
                self.restore()

    @contextlib.contextmanager
    def ending_held(self) -> Iterator[None]:
        """Let a signal that ends the process wait for the end of the block, and be an interrupt until then."""
        self._held = True
        self._free.clear()
        try:
            yield
        finally:
            self._held = False
            self._free.set()
            if self._ending is not None:
                self._ending()

    def take_interrupt(self) -> bool:
        """Whether SIGINT came since the last call, or an ending that is held."""
        interrupted, self._interrupted = self._interrupted, False
        return interrupted or self._ending is not None

    def pause(self) -> None:
        """Stop the process as Ctrl-Z does, with the terminal restored meanwhile; returns when it goes on."""
        if os.name == "nt":
            return  # Windows consoles have no job control.
        now = _attributes(self._descriptor)
        self.restore()
        # SIGSTOP and not SIGTSTP: the latter has our handler.
        os.kill(os.getpid(), signal.SIGSTOP)
        _set_attributes(self._descriptor, now)

    def _console_closes(self) -> None:
        """Runs in a thread of its own, and the process ends when it returns: have the answer saved first."""
        self._ending = lambda: None
        self._free.wait(_CONSOLE_PATIENCE)


@contextlib.contextmanager
def _console_watched(closes: Callable[[], None]) -> Iterator[None]:
    """Have `closes` called when the console's window is closed or the person logs off; signals tell it elsewhere."""
    if sys.platform != "win32":
        yield
        return
    import ctypes
    from ctypes import wintypes

    close, log_off, shut_down = 2, 5, 6

    def told(event: int) -> bool:
        if event in (close, log_off, shut_down):
            closes()
        return False  # Windows does the rest.

    routine = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(told)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(routine, True)
    try:
        yield
    finally:
        ctypes.windll.kernel32.SetConsoleCtrlHandler(routine, False)


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
