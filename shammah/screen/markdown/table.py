"""Pipe tables: rows of cells, drawn in columns that fit the screen, or as records where no columns fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from shammah.screen.markdown.inline import Inline
from shammah.screen.markdown.style import BOLD, DIM, PLAIN, Paint
from shammah.screen.markdown.wrap import Margin, Wrapper, columns

Side = Literal["left", "right", "center"]
Cell = list[tuple[str, int]]
"""Styled spans."""

_DELIMITER = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_BETWEEN = re.compile(r"(?<!\\)\|")
_CODES = re.compile(r"\x1b\[[0-9;]*m")
_LEAST_COLUMN = 5
_WORD = 14
"""Columns below which a word of a cell is not cut, if there is a choice."""


@dataclass(frozen=True)
class Lines:
    """The characters that tables are drawn with."""

    across: str
    down: str
    cross: str


@dataclass(frozen=True)
class Look:
    """How a table is drawn: its lines, its paint, and whether marks of emphasis stay."""

    lines: Lines
    paint: Paint
    keep_marks: bool


def is_delimiter(row: str) -> bool:
    """Whether the row is the line of dashes under a table's header."""
    return "|" in row and _DELIMITER.fullmatch(row) is not None


def draw(rows: Sequence[str], width: int, look: Look) -> Iterator[str]:
    """Yield the lines of the table whose source rows are `rows`; the second is the delimiter row."""
    sides = [_side(cell) for cell in _split(rows[1])]
    cells = [
        [_cell(text, look, BOLD if place == 0 else PLAIN) for text in _split(row)] for place, row in enumerate(rows)
    ]
    del cells[1]
    count = max(len(sides), *(len(row) for row in cells))
    for row in cells:
        row.extend([] for _ in range(count - len(row)))
    sides.extend("left" for _ in range(count - len(sides)))
    widths = _fit(cells, width - 3 * (count - 1))
    return _records(cells, width, look) if widths is None else _grid(cells, widths, sides, look)


def _split(row: str) -> list[str]:
    row = row.strip()
    cells = _BETWEEN.split(row.removeprefix("|"))
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _side(cell: str) -> Side:
    if cell.endswith(":"):
        return "center" if cell.startswith(":") else "right"
    return "left"


def _cell(text: str, look: Look, base: int) -> Cell:
    spans: Cell = []
    inline = Inline(lambda part, style: spans.append((part, style)), keep_marks=look.keep_marks)
    inline.base = base
    inline.feed(text)
    inline.finish()
    return spans


def _text(cell: Cell) -> str:
    return "".join([text for text, _ in cell])


def _fit(cells: Sequence[Sequence[Cell]], room: int) -> list[int] | None:
    """Return the width of each column, or None where they would be too narrow to read."""
    texts = [[_text(row[place]) for row in cells] for place in range(len(cells[0]))]
    wanted = [max(1, *map(columns, column)) for column in texts]
    if sum(wanted) <= room:
        return wanted
    words = [max([1, *(columns(word) for text in column for word in text.split())]) for column in texts]
    least = [min(want, max(_LEAST_COLUMN, min(word, _WORD))) for want, word in zip(wanted, words, strict=True)]
    if sum(least) > room:
        return None
    return _share(wanted, least, room)


def _share(wanted: list[int], least: list[int], room: int) -> list[int]:
    """Give every column the same bound, as wide as the room allows; narrow ones leave their rest to the others."""
    bound = max(wanted)
    low = 0
    while low < bound:
        middle = (low + bound + 1) // 2
        if sum(_bounded(wanted, least, middle)) <= room:
            low = middle
        else:
            bound = middle - 1
    widths = _bounded(wanted, least, low)
    for place, want in enumerate(wanted):
        widths[place] += min(want - widths[place], room - sum(widths))
    return widths


def _bounded(wanted: list[int], least: list[int], bound: int) -> list[int]:
    return [min(want, max(small, bound)) for want, small in zip(wanted, least, strict=True)]


def _grid(cells: Sequence[Sequence[Cell]], widths: list[int], sides: Sequence[Side], look: Look) -> Iterator[str]:
    lines, paint = look.lines, look.paint
    between = f"{lines.across}{lines.cross}{lines.across}"
    rule = paint(between.join(lines.across * width for width in widths), DIM)
    folded = [[_fold(cell, width, paint) for cell, width in zip(row, widths, strict=True)] for row in cells]
    tall = any(len(cell) > 1 for row in folded[1:] for cell in row)
    for place, row in enumerate(folded):
        if place == 1 or (place and tall):
            yield rule
        for level in range(max(len(cell) for cell in row)):
            parts = [cell[level] if level < len(cell) else "" for cell in row]
            placed = [_place(part, width, side) for part, width, side in zip(parts, widths, sides, strict=True)]
            yield paint(f" {lines.down} ", DIM).join(placed).rstrip()
    if len(folded) == 1:
        yield rule


def _fold(cell: Cell, width: int, paint: Paint) -> list[str]:
    """Return the rows of one cell."""
    written: list[str] = []
    wrapper = Wrapper(written.append, lambda: width, paint)
    wrapper.open(Margin(), Margin())
    for text, style in cell:
        # An address wider than its column is cut here: nothing may push the columns apart.
        wrapper.put(text, style & 0xFF)
    wrapper.end_line()
    return "".join(written).removesuffix("\n").split("\n")


def _place(part: str, width: int, side: Side) -> str:
    free = width - columns(_CODES.sub("", part))
    before = {"left": 0, "right": free, "center": free // 2}[side]
    return " " * before + part + " " * (free - before)


def _records(cells: Sequence[Sequence[Cell]], width: int, look: Look) -> Iterator[str]:
    """One line for each cell, behind its column's name; for tables with more columns than the screen can hold."""
    header = cells[0]
    rule = look.paint(look.lines.across * min(width, 20), DIM)
    for place, row in enumerate(cells[1:] or [[[] for _ in header]]):
        if place:
            yield rule
        for name, cell in zip(header, row, strict=True):
            if name or cell:
                yield from _record(name, cell, width, look.paint)


def _record(name: Cell, cell: Cell, width: int, paint: Paint) -> Iterator[str]:
    written: list[str] = []
    wrapper = Wrapper(written.append, lambda: width, paint)
    wrapper.open(Margin(), Margin("  ", 2))
    for text, style in [*name, (": " if name else "", PLAIN), *cell]:
        wrapper.put(text, style)
    wrapper.end_line()
    return iter("".join(written).removesuffix("\n").split("\n"))
