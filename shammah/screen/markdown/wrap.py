"""Words onto lines: breaks between words, inside a margin, by the columns that a terminal gives each character."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wcwidth import wcswidth

from shammah.screen.markdown.style import PLAIN, SOLID, Paint

# Chinese and Japanese have no spaces: a line may end after each of these,
# but not before closing or after opening marks.
WIDE = (
    "\u2e80-\u3029\u3030-\u3098\u309b-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003fffd"
)
WIDE_CHARACTER = re.compile(f"[{WIDE}]")
_ATOMS = re.compile(f"[{WIDE}]|[^{WIDE}]+")
_CLOSING = frozenset(
    "、。，．・：；？！）」』】〉》〕］｝ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ…%,.:;?!)]}\u3099\u309a"
)
_OPENING = frozenset("（「『【〈《〔［｛([{")
_TOKENS = re.compile(r"[ \t]+|[^ \t]+")
# What must not be torn apart: a character with its marks, its variation, and what a joiner ties to it.
_CLUSTERS = re.compile(
    "(?:[\U0001f1e6-\U0001f1ff]{2}|.)"
    "(?:[\u0300-\u036f\u20d0-\u20f0\u200c\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]|\u200d.?)*",
    re.DOTALL,
)
_LEAST_ROOM = 8


@dataclass(frozen=True)
class Margin:
    """What stands before the words of a line: the text with its codes, and its width in columns."""

    text: str = ""
    width: int = 0


def columns(text: str) -> int:
    """Return how many columns a terminal gives to `text`."""
    if text.isascii():
        return len(text)
    width = wcswidth(text)
    return width if width >= 0 else len(text)


class Wrapper:
    """Writes styled text word by word, each word as soon as the space behind it shows that it is complete."""

    def __init__(self, write: Callable[[str], object], limit: Callable[[], int], paint: Paint) -> None:
        self._write = write
        self._limit_now = limit
        self._paint = paint
        self._margin = self._hanging = Margin()
        self._limit = 0
        self._column = 0
        self._begun = False
        self._space: tuple[str, int] = ("", PLAIN)
        self._word: list[tuple[str, int]] = []
        self._width = 0
        self._spilling = False
        self.last_width = 0
        """Columns of the last row that was ended, without its margin."""

    def open(self, first: Margin, hanging: Margin) -> None:
        """Begin a line of text whose first row has one margin and whose further rows have another."""
        self._margin, self._hanging = first, hanging

    def plain(self, text: str) -> None:
        """Put unstyled ASCII text that ends with a space; the same as `put`, sooner done."""
        space = self._space[0]
        end = self._column + len(space) + len(text) - 1
        if self._word or not self._begun or end > self._limit or self._spilling or text[0] == " " or "  " in text:
            self.put(text, PLAIN)
            return
        self._write((space if self._space[1] == PLAIN else self._paint(*self._space)) + text[:-1])
        self._column = end
        self._space = (" ", PLAIN)

    def put(self, text: str, style: int) -> None:
        """Add text to the line."""
        for token in _TOKENS.findall(text):
            if token[0] in " \t":
                self._place()
                self._spilling = False
                self._space = (self._space[0] + " " * len(token), style)
            else:
                self._add(token, style)

    def end_line(self) -> None:
        """Write what is left and the newline."""
        self._place()
        if not self._begun:
            self._write(self._margin.text.rstrip())
        self._spilling = False
        self.last_width = max(self._column - self._hanging.width, 0)
        self._break()

    def _add(self, token: str, style: int) -> None:
        if style & SOLID or not WIDE_CHARACTER.search(token):
            self._append(token, style)
            return
        for atom in _ATOMS.findall(token):
            self._append(atom, style)

    def _append(self, atom: str, style: int) -> None:
        if self._word and not style & SOLID and self._may_break_before(atom[0]):
            self._place()
        self._word.append((atom, style))
        self._width += columns(atom)
        if self._spilling or self._width > self._room():
            self._spill()

    def _may_break_before(self, following: str) -> bool:
        last = self._word[-1][0][-1]
        if not (WIDE_CHARACTER.match(last) or WIDE_CHARACTER.match(following)):
            return False
        return following not in _CLOSING and last not in _OPENING

    def _room(self) -> int:
        limit = self._limit if self._begun else self._limit_now()
        return max(limit - self._hanging.width, min(limit, _LEAST_ROOM))

    def _place(self) -> None:
        """Write the word, on a new row where it does not fit on this one."""
        if not self._word:
            return
        space = columns(self._space[0]) if self._begun else 0
        if self._begun and not self._spilling and self._column + space + self._width > self._limit:
            self._break()
            space = 0
        self._begin()
        self._write(self._painted([self._space, *self._word] if space else self._word))
        self._column += space + self._width
        self._forget_word()

    def _painted(self, spans: Sequence[tuple[str, int]]) -> str:
        """Put one pair of codes around neighbours of the same style."""
        merged: list[tuple[str, int]] = []
        for text, style in spans:
            if merged and merged[-1][1] == style:
                merged[-1] = (merged[-1][0] + text, style)
            else:
                merged.append((text, style))
        return "".join([self._paint(text, style) for text, style in merged])

    def _spill(self) -> None:
        """Write a word that is wider than a whole row, cut where the row ends."""
        if any(style & SOLID for _, style in self._word):
            return
        if not self._spilling and self._begun and self._column > self._hanging.width:
            self._break()
        self._spilling = True
        word = self._word
        self._forget_word()
        for text, style in word:
            for row in self._rows(text):
                self._write(self._paint(row, style))

    def _rows(self, text: str) -> Iterator[str]:
        """Cut `text` at the end of each row, and move on to the next row between two parts."""
        row = ""
        self._begin()
        for cluster in _CLUSTERS.findall(text):
            width = columns(cluster)
            if self._column + width > self._limit:
                yield row
                row = ""
                self._break()
                self._begin()
            row += cluster
            self._column += width
        yield row

    def _begin(self) -> None:
        if self._begun:
            return
        margin = self._margin
        self._limit = max(self._limit_now(), margin.width + _LEAST_ROOM if margin.width else 1)
        self._write(margin.text)
        self._column = margin.width
        self._begun = True
        self._space = ("", PLAIN)

    def _break(self) -> None:
        self._write("\n")
        self._margin = self._hanging
        self._begun = False
        self._column = 0
        self._space = ("", PLAIN)

    def _forget_word(self) -> None:
        self._word = []
        self._width = 0
        self._space = ("", PLAIN)
