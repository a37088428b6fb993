"""Markdown for the terminal, drawn as it streams in: what is written stays, the cursor never moves up.

Line breaks of the source are kept, as chats do, since a model's line breaks are meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shammah.screen.markdown.blocks import LONGEST_HELD, Container, Item, Line, Quote, enter, read_line, untab
from shammah.screen.markdown.code import LONGEST_LINE, Highlighter, Plain, highlighter
from shammah.screen.markdown.inline import FARTHEST, Inline
from shammah.screen.markdown.style import CODE, DIM, HEADINGS, PLAIN, colored, colorless
from shammah.screen.markdown.table import Lines, Look, draw, is_delimiter
from shammah.screen.markdown.wrap import WIDE, Margin, Wrapper
from shammah.screen.safe_text import SafeText

WIDEST_PROSE = 100
"""Columns; longer lines of prose are hard to read."""

# Where the source may be cut without parting a mark from its neighbour: behind a space or an ideograph.
_CHUNK = re.compile(f"[^ \t{WIDE}]{{0,{FARTHEST - 1}}}[ \t{WIDE}]|[^ \t{WIDE}]{{{FARTHEST}}}")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_PLAIN = re.compile(r"[A-Za-z0-9 ,.;:'\"?!()=+%$&#@{}^>-]*")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*(.*?)[ \t]*")
_HASHES = re.compile(r"#*[ \t]*")


@dataclass(frozen=True)
class Glyphs:
    """The characters that stand for structure."""

    bullets: Sequence[str]
    open_box: str
    ticked_box: str
    quote: str
    underline: str
    lines: Lines


UNICODE = Glyphs(("•", "◦", "▪"), "☐", "☑", "│", "═", Lines("─", "│", "┼"))
ASCII = Glyphs(("*", "-", "+"), "[ ]", "[x]", "|", "=", Lines("-", "|", "+"))


@dataclass(frozen=True)
class _Fence:
    mark: str
    indent: int
    code: Plain | Highlighter


class MarkdownWriter:
    """Draws Markdown piece by piece; holds back only what the next characters could still change.

    `write` gets text for the terminal, each styled stretch with its own reset; `width` is asked anew for every row.
    Without colour the marks of emphasis and code stay as typed.
    """

    def __init__(
        self, write: Callable[[str], object], width: Callable[[], int], color: bool, glyphs: Glyphs = UNICODE
    ) -> None:
        self._write = write
        self._width = width
        self._color = color
        self._glyphs = glyphs
        self._paint = colored if color else colorless
        self._safe = SafeText()
        self._wrapper = Wrapper(write, lambda: min(width(), WIDEST_PROSE), self._paint)
        self._inline = Inline(self._wrapper.put, keep_marks=not color)
        self._pending = ""
        self._in_text = self._simple = False
        self._heading = False
        self._containers: list[Container] = []
        self._common = 0
        self._in_paragraph = self._begun = self._gap = False
        self._rows: list[str] = []
        self._fence: _Fence | None = None
        self._in_code_line = False

    def feed(self, piece: str) -> None:
        """Draw what this piece decides."""
        text = self._safe.feed(piece)
        if self._simple and _PLAIN.fullmatch(text):
            self._words(text)
            return
        self._take(text)

    def close(self) -> None:
        """Draw what is left, wherever the text broke off; ends with a newline unless nothing was written."""
        self._take(self._safe.flush())
        if self._pending or self._in_text or self._in_code_line:
            self._take("\n")
        self._end_table()
        if self._fence:
            self._end_fence()

    def _words(self, text: str) -> None:
        """The short way for plain words in the middle of a line."""
        cut = text.rfind(" ") + 1
        if not cut:
            self._pending += text
            if len(self._pending) >= FARTHEST:
                self._take("")
            return
        self._wrapper.plain(self._pending + text[:cut])
        self._pending = text[cut:]
        self._inline.before = " "

    def _take(self, text: str) -> None:
        for line in _LINES.findall(text) or [""]:
            self._pending += line
            while self._pending and self._step():
                pass
        self._simple = (
            self._in_text
            and not self._heading
            and self._inline.idle
            and len(self._pending) < FARTHEST
            and _PLAIN.fullmatch(self._pending) is not None
        )

    def _step(self) -> bool:
        """Use up some of what is pending; False where it has to wait."""
        if self._in_text:
            return self._text_step()
        text = self._pending.removesuffix("\n")
        complete = len(text) < len(self._pending)
        if self._fence:
            return self._fence_step(self._fence, text, complete)
        line = read_line(
            self._containers, text, complete=complete, in_paragraph=self._in_paragraph or self._holds_header
        )
        if line is None:
            return False
        self._pending = ""
        self._start(line, "\n" if complete else "")
        return True

    # Text

    def _text_step(self) -> bool:
        body = self._pending.removesuffix("\n")
        at = 0
        while chunk := _CHUNK.match(body, at):
            self._inline.feed(chunk[0])
            at = chunk.end()
        if len(body) == len(self._pending):
            self._pending = body[at:]
            return False
        if not (self._heading and _HASHES.fullmatch(body, at)):
            self._inline.feed(body[at:])
        self._pending = ""
        self._end_text()
        return True

    def _end_text(self) -> None:
        self._inline.finish()
        self._inline.base = PLAIN
        self._wrapper.end_line()
        self._in_text = self._heading = False

    def _start_text(self, style: int = PLAIN, mark: str = "") -> None:
        self._separate()
        first, hanging = self._margins()
        self._wrapper.open(_joined([first, Margin(mark, len(mark))]), hanging)
        self._inline.base = style
        self._in_text = True

    # Blocks

    @property
    def _holds_header(self) -> bool:
        return len(self._rows) == 1

    def _start(self, line: Line, newline: str) -> None:
        """Begin the block that the line opens, or go on with the one that it continues."""
        if line.kind == "row" and self._row(line):
            return
        self._end_table()
        if line.kind == "blank" and not line.new:
            del self._containers[line.depth :]
            self._common = len(self._containers)
            self._gap, self._in_paragraph = True, False
            return
        self._enter(line)
        self._in_paragraph = line.kind in ("text", "row")
        match line.kind:
            case "row":
                self._rows.append(line.body)
            case "heading":
                self._start_heading(line, newline)
            case "fence":
                self._start_fence(line)
            case "rule":
                self._row_of(self._glyphs.lines.across, WIDEST_PROSE)
            case "underline":
                self._row_of(self._glyphs.underline, self._wrapper.last_width)
            case "indented":
                self._line("    " + self._paint(line.body, CODE))
            case "text":
                self._start_text()
                self._pending = line.body + newline
            case "blank":
                self._line("")

    def _enter(self, line: Line) -> None:
        del self._containers[line.depth :]
        self._common = line.depth
        self._containers.extend(line.new)

    def _start_heading(self, line: Line, newline: str) -> None:
        hashes = len(line.body) - len(line.body.lstrip("#"))
        self._gap = self._gap or not line.new
        self._start_text(HEADINGS[hashes - 1], mark="" if self._color else "#" * hashes + " ")
        self._heading = True
        self._pending = line.body[hashes:].lstrip(" \t") + newline

    def _row_of(self, char: str, width: int) -> None:
        first, _ = self._margins(mark=False)
        room = min(self._width(), WIDEST_PROSE) - first.width
        self._line(self._paint(char * max(min(width, room), 3), DIM))

    def _line(self, text: str) -> None:
        """Write one line that is not wrapped."""
        self._separate()
        first, _ = self._margins()
        self._write((first.text + text if text else first.text.rstrip()) + "\n")

    def _separate(self) -> None:
        """Write the blank line that is due, inside the quotes that go on."""
        if self._gap and self._begun:
            bars = "".join([self._hanging(container).text for container in self._containers[: self._common]])
            self._write(bars.rstrip() + "\n")
        self._gap = False
        self._begun = True

    # Margins

    def _margins(self, *, mark: bool = True) -> tuple[Margin, Margin]:
        """Return the margin of the next row, with the labels of new list items, and that of the rows below it."""
        first: list[Margin] = []
        hanging = [self._hanging(container) for container in self._containers]
        for container, plain in zip(self._containers, hanging, strict=True):
            fresh = isinstance(container, Item) and not container.shown
            first.append(self._label(container) if fresh else plain)
            if mark and isinstance(container, Item):
                container.shown = True
        return _joined(first), _joined(hanging)

    def _hanging(self, container: Container) -> Margin:
        if isinstance(container, Quote):
            return Margin(self._paint(self._glyphs.quote, DIM) + " ", 2)
        width = self._label(container).width
        return Margin(" " * width, width)

    def _label(self, container: Container) -> Margin:
        if not isinstance(container, Item):
            return self._hanging(container)
        boxes = {"[ ]": self._glyphs.open_box, "[x]": self._glyphs.ticked_box, "-": self._bullet(container)}
        text = boxes.get(container.label, container.label) + " "
        return Margin(text, len(text))

    def _bullet(self, item: Item) -> str:
        lists = [container for container in self._containers if isinstance(container, Item)]
        level = next(place for place, container in enumerate(lists) if container is item)
        return self._glyphs.bullets[min(level, len(self._glyphs.bullets) - 1)]

    # Tables

    def _row(self, line: Line) -> bool:
        """Whether the line goes on with the table, or makes one of the row held before it."""
        if not self._rows or line.new or line.depth != len(self._containers):
            return False
        if self._holds_header and not is_delimiter(line.body):
            return False
        self._rows.append(line.body)
        self._in_paragraph = False
        return True

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        if len(rows) == 1:
            self._start_text()
            self._pending, pending = rows[0] + "\n", self._pending
            self._text_step()
            self._pending = pending
        elif rows:
            look = Look(self._glyphs.lines, self._paint, keep_marks=not self._color)
            margin, _ = self._margins(mark=False)
            for text in draw(rows, max(self._width() - margin.width, 1), look):
                self._line(text)

    # Code

    def _start_fence(self, line: Line) -> None:
        opening = _FENCE.fullmatch(line.body)
        mark, info = (opening[1], opening[2]) if opening else ("```", "")
        language = info.split()[0].strip("{}.") if info else ""
        self._line(self._paint(f"{self._glyphs.lines.across * 3} {info}".rstrip(), DIM))
        self._fence = _Fence(mark, line.indent, highlighter(language, self._paint, color=self._color))

    def _fence_step(self, fence: _Fence, text: str, complete: bool) -> bool:
        if not complete and len(text) < LONGEST_HELD:
            return False
        code = self._inside(fence, text)
        if code is None:
            self._end_fence()
            return True
        self._pending = ""
        if complete and len(text) < LONGEST_HELD and not self._in_code_line and _closes(fence, code):
            self._end_fence()
        else:
            self._code(fence, code, complete)
        return True

    def _inside(self, fence: _Fence, text: str) -> str | None:
        """Return the code of a line; None where the quote around the block has ended."""
        if self._in_code_line:
            return text
        depth, rest = enter(self._containers, untab(text) if self._containers else text)
        left = self._containers[depth:]
        if any(isinstance(container, Quote) for container in left):
            return None
        # A line that is indented less than its list item still belongs to the code: only the fence ends it.
        indent = len(rest) - len(rest.lstrip(" "))
        return rest.lstrip(" ") if left else rest[min(indent, fence.indent) :]

    def _code(self, fence: _Fence, code: str, complete: bool) -> None:
        """Write a line of code, or a part of one that is too long to be held."""
        margin = "" if self._in_code_line else self._margins()[0].text
        if self._in_code_line or len(code) > LONGEST_LINE:
            shown = code.replace("\t", "    ")
        else:
            shown = fence.code.line(code.expandtabs(4))
        self._write((margin + shown if shown else margin.rstrip()) + ("\n" if complete else ""))
        self._in_code_line = not complete

    def _end_fence(self) -> None:
        self._fence = None
        self._line(self._paint(self._glyphs.lines.across * 3, DIM))


def _joined(margins: Sequence[Margin]) -> Margin:
    return Margin("".join([margin.text for margin in margins]), sum(margin.width for margin in margins))


def _closes(fence: _Fence, code: str) -> bool:
    body = code.strip(" \t")
    short = len(code) - len(code.lstrip(" ")) <= 3
    return short and len(body) >= len(fence.mark) and not body.strip(fence.mark[0])
