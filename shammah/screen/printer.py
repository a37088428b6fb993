"""The only way to the screen: pieces of an answer, error lines and notices, all made safe."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import Protocol, TextIO

from shammah.errors import ShammahError
from shammah.screen.safe_text import SafeText, safe_text

_LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")
_USUAL_WIDTH = 80


class Printer:
    """Prints one answer: `write` each piece, then `end`. A closed pipe is raised as `BrokenPipeError`."""

    def __init__(self, out: TextIO, drawing: Drawing) -> None:
        self._out = out
        self._drawing = drawing

    def write(self, piece: str) -> None:
        """Show the next piece at once."""
        self._show(self._drawing.feed(piece))

    def end(self) -> None:
        """Show what was held back, and end the last line."""
        self._show(self._drawing.close())

    def _show(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()


class Drawing(Protocol):
    """Turns the pieces of an answer into what the terminal gets."""

    def feed(self, piece: str) -> str:
        """Return what to write after this piece."""
        ...

    def close(self) -> str:
        """Return what to write at the end."""
        ...


def plain_printer(out: TextIO) -> Printer:
    """Return a printer that shows the answer as it is, for pipes and files and by choice."""
    return Printer(never_failing(out), _Plain())


def markdown_printer(out: TextIO, color: bool) -> Printer:
    """Return a printer that draws the answer's Markdown for a terminal."""
    return Printer(never_failing(out), _Markdown(out, color))


class _Plain:
    def __init__(self) -> None:
        self._safe = SafeText()
        self._last = "\n"

    def feed(self, piece: str) -> str:
        text = self._safe.feed(piece)
        self._last = text[-1:] or self._last
        return text

    def close(self) -> str:
        text = self._safe.flush()
        return text if (text[-1:] or self._last) == "\n" else text + "\n"


class _Markdown:
    def __init__(self, out: TextIO, color: bool) -> None:
        # Here and not above: one question in a pipe needs no Markdown.
        from shammah.screen.markdown import ASCII, UNICODE, MarkdownWriter

        self._written: list[str] = []
        glyphs = UNICODE if _can_draw(out) else ASCII
        self._writer = MarkdownWriter(self._written.append, lambda: screen_width(out), color, glyphs)

    def feed(self, piece: str) -> str:
        self._writer.feed(piece)
        return self._taken()

    def close(self) -> str:
        self._writer.close()
        return self._taken()

    def _taken(self) -> str:
        text = "".join(self._written)
        self._written.clear()
        return text


def error_lines(error: ShammahError) -> str:
    """Return the two lines that a person gets for an error: what is wrong, and what to do next."""
    return f"error: {_one_line(str(error))}\nhint: {_one_line(error.hint)}"


def notice(text: str, color: bool) -> str:
    """Return a remark of the program, dim beside the answer; each of its lines ends with a reset."""
    lines = safe_text(text).split("\n")
    return "\n".join(f"\x1b[2m{line}\x1b[0m" if color and line else line for line in lines)


@contextlib.contextmanager
def output_told() -> Iterator[None]:
    """Around what is written to standard output: where the system refuses it, a person is told what to do.

    Raises:
        ShammahError: the disk is full, say. A reader that is gone is still raised as `BrokenPipeError`.
    """
    try:
        yield
    except OSError as cause:
        if _reader_gone(cause):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from cause
        raise ShammahError(
            f"Standard output cannot be written to: {cause.strerror}",
            hint="Free some space there, or send the output elsewhere",
        ) from cause


def _reader_gone(cause: OSError) -> bool:
    """Whether nobody reads the pipe any more; Windows tells it as an invalid argument."""
    if cause.errno != errno.EINVAL:
        return isinstance(cause, BrokenPipeError)
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def never_failing(out: TextIO) -> TextIO:
    """Make the stream write `\\u2022` for a character that its encoding lacks, where it would raise an error."""
    if isinstance(out, io.TextIOWrapper) and out.errors == "strict":
        out.reconfigure(errors="backslashreplace")
    return out


def screen_width(out: TextIO) -> int:
    """Return the columns of the terminal behind `out`, 80 where there is none."""
    try:
        return os.get_terminal_size(out.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


def use_color(stream: TextIO, no_color: bool, term: str) -> bool:
    """Decide whether `stream` gets colours: a terminal that has them, and a person who has not refused."""
    return not no_color and term != "dumb" and stream.isatty() and obeys_codes(stream)


def obeys_codes(stream: TextIO) -> bool:
    """Whether the terminal obeys ANSI codes; a Windows console does once it is told to."""
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    virtual_terminal = 0x0004
    console = ctypes.windll.kernel32
    handle = ctypes.c_void_p(msvcrt.get_osfhandle(stream.fileno()))
    mode = ctypes.c_uint32()
    if not console.GetConsoleMode(handle, ctypes.byref(mode)):
        return False
    return bool(console.SetConsoleMode(handle, mode.value | virtual_terminal))


def _one_line(text: str) -> str:
    return safe_text(_LINE_BREAKS.sub(" ", text.strip()))


def _can_draw(out: TextIO) -> bool:
    try:
        "•◦▪☐☑│═─┼".encode(out.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
