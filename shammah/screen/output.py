"""The screen as the chat and its commands write on it; all text passes the filter."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TextIO

from shammah.errors import ShammahError
from shammah.screen.answer import WaitingLine, WaitingWords, Waits
from shammah.screen.printer import (
    Printer,
    error_lines,
    markdown_printer,
    never_failing,
    notice,
    plain_printer,
    screen_width,
)
from shammah.screen.rows import columns
from shammah.screen.safe_text import safe_text


class Output:
    """Writes lines to a terminal, in colour or without; `lines_only` for one that knows nothing but lines."""

    def __init__(self, out: TextIO, color: bool, lines_only: bool = False) -> None:
        self._out = never_failing(out)
        self._color = color
        self.lines_only = lines_only

    def width(self) -> int:
        """Columns of the screen now."""
        return screen_width(self._out)

    def answer(self, markdown: bool) -> Printer:
        """A printer for one answer."""
        return markdown_printer(self._out, self._color) if markdown else plain_printer(self._out)

    def waiting(self) -> Waits:
        """What tells of the wait for one answer."""
        return WaitingWords(self._out) if self.lines_only else WaitingLine(self._out, self.width)

    def say(self, text: str) -> None:
        """Write a text and end its line."""
        self._line(safe_text(text.rstrip("\n")))

    def note(self, text: str) -> None:
        """Write a remark of the program, dim."""
        self._line(notice(self._wrapped(text), self._color))

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write a table of two columns."""
        self._line("\n".join(columns([(safe_text(name), safe_text(text)) for name, text in rows], self.width())))

    def error(self, error: ShammahError) -> None:
        """Write what is wrong and what to do next."""
        self._line("\n".join(self._wrapped(line) for line in error_lines(error).split("\n")))

    def end_line(self) -> None:
        """Leave a line that something else began."""
        self._line("")

    def _wrapped(self, text: str) -> str:
        return textwrap.fill(text, max(self.width(), 20), break_long_words=False, break_on_hyphens=False)

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
