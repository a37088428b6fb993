"""Emphasis, code, links and escapes inside a line, decided as early as the text allows.

The rules are CommonMark's delimiter runs (spec 0.31, section 6.2) and GitHub's `~~` and bare addresses. A mark that
could open something holds the text behind it back until it is closed, the line ends, or `FARTHEST` characters have
passed; then it comes out as typed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from shammah.screen.markdown.style import BOLD, CODE, DIM, ITALIC, PLAIN, SOLID, UNDERLINE
from shammah.screen.markdown.wrap import WIDE_CHARACTER

FARTHEST = 400
"""Characters between an opening mark and its closing one."""

_SPECIAL = re.compile(r"[\\`*_~\[\]<]|!\[|https?://")
_RUN = re.compile(r"([`*_~])\1*")
_ESCAPABLE = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_TARGET = re.compile(
    r"\(\s*(?P<address><[^<>]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)"
    r"(?:\s+(?P<title>\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s*\)"
)
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>")
_BARE = re.compile(r"https?://[!#-;=?-Z_a-z~]+")
# `__init__.py` and `__init__()` are names; CommonMark would print them bold and without their underscores.
_NAME_GOES_ON = re.compile(r"__(?:\.\w|\()")
_TRAILING = "?!.,:;*_~'"


@dataclass
class _Span:
    text: str
    style: int


@dataclass
class _Opener:
    """A mark that may still be closed; `place` is where its span stands, `offset` where in the line it was typed."""

    mark: str
    count: int
    place: int
    offset: int
    closes: bool = False


class Inline:
    """Turns the text of one line into styled spans; `emit` gets each as soon as nothing can change it."""

    def __init__(self, emit: Callable[[str, int], None], *, keep_marks: bool) -> None:
        self._emit = emit
        self._keep_marks = keep_marks
        self._source = ""
        self.before = " "
        """The character before the next chunk."""
        self._passed = 0
        self._spans: list[_Span] = []
        self._openers: list[_Opener] = []
        self.base = PLAIN

    @property
    def idle(self) -> bool:
        """Whether nothing is held back."""
        return not self._source and not self._openers

    def feed(self, chunk: str) -> None:
        """Take the next chunk; each ends where a word ends, so a mark always has its neighbour beside it."""
        self._source += chunk
        self._scan(final=False)

    def finish(self) -> None:
        """End the line: what is still open comes out as typed."""
        self._scan(final=True)
        self._openers.clear()
        self._release()
        self._source, self.before, self._passed = "", " ", 0

    def _scan(self, *, final: bool) -> None:
        at = 0
        while found := _SPECIAL.search(self._source, at):
            self._say(self._source[at : found.start()])
            at = found.start()
            next_at = self._special(at, found[0], final)
            if next_at < 0:
                break
            at = next_at
        else:
            self._say(self._source[at:])
            at = len(self._source)
        if at:
            self.before = self._source[at - 1]
        self._source = self._source[at:]
        self._passed += at
        self._expire(self._passed)
        self._release()

    def _special(self, at: int, found: str, final: bool) -> int:
        """Read what begins at `at`; return where it ends, or -1 while that cannot be known."""
        match found[0]:
            case "\\":
                return self._escape(at)
            case "`":
                return self._code(at, final)
            case "*" | "_" | "~":
                return self._run(at)
            case "[" | "!":
                self._open(found, len(found), at)
                return at + len(found)
            case "]":
                return self._bracket(at, final)
            case "<":
                return self._autolink(at)
        return self._bare_address(at)

    def _say(self, text: str, style: int = PLAIN) -> None:
        if text:
            self._spans.append(_Span(text, style | self.base))

    def _open(self, mark: str, count: int, at: int, *, closes: bool = False) -> None:
        self._openers.append(_Opener(mark[0], count, len(self._spans), self._passed + at, closes))
        self._say(mark)

    def _escape(self, at: int) -> int:
        following = self._source[at + 1 : at + 2]
        if following and following in _ESCAPABLE:
            self._say(following)
            return at + 2
        self._say("\\")
        return at + 1

    def _code(self, at: int, final: bool) -> int:
        ticks = _length(self._source, at)
        inside = at + ticks
        closing = re.compile(rf"(?<!`)`{{{ticks}}}(?!`)").search(self._source, inside, at + FARTHEST)
        if closing:
            self._say_code(self._source[inside : closing.start()], "`" * ticks)
            return closing.end()
        if not final and len(self._source) - at < FARTHEST:
            return -1
        self._say("`" * ticks)
        return inside

    def _say_code(self, code: str, ticks: str) -> None:
        if self._keep_marks:
            self._say(ticks + code + ticks)
            return
        if code.startswith(" ") and code.endswith(" ") and code.strip():
            code = code[1:-1]
        self._say(code, CODE)

    def _run(self, at: int) -> int:
        mark, count = self._source[at], _length(self._source, at)
        end = at + count
        if self._keep_marks or (mark == "~" and count != 2):
            self._say(mark * count)
            return end
        before = self._source[at - 1] if at else self.before
        after = self._source[end : end + 1] or " "
        opens, closes = _flanking(mark, before, after)
        closes = closes and not _NAME_GOES_ON.match(self._source, at)
        left = self._close(mark, count, opens, at) if closes else count
        if left and opens:
            self._open(mark * left, left, at, closes=closes)
        else:
            self._say(mark * left)
        return end

    def _close(self, mark: str, count: int, opens: bool, at: int) -> int:
        """Close what the run can close, innermost first; return how many of its marks are left."""
        self._expire(self._passed + at)
        while count and (found := self._find(mark, count, opens)) is not None:
            opener = self._openers[found]
            used = 2 if min(count, opener.count) >= 2 else 1
            del self._openers[found + 1 :]
            self._style(opener, used)
            count -= used
            if not opener.count:
                self._openers.pop()
        return count

    def _find(self, mark: str, count: int, opens: bool) -> int | None:
        for place in reversed(range(len(self._openers))):
            opener = self._openers[place]
            # The rule of three: keeps `*foo**bar*` from closing in the middle.
            odd = (opener.closes or opens) and (opener.count + count) % 3 == 0 and count % 3 != 0
            if opener.mark == mark and not odd:
                return place
        return None

    def _style(self, opener: _Opener, used: int) -> None:
        opener.count -= used
        span = self._spans[opener.place]
        if opener.mark == "~":
            # Crossed-out text keeps its marks: not every terminal can cross out.
            style = DIM
            self._say("~~")
        else:
            span.text = opener.mark * opener.count
            style = BOLD if used == 2 else ITALIC
        for inner in self._spans[opener.place + (opener.mark != "~") :]:
            inner.style |= style

    def _bracket(self, at: int, final: bool) -> int:
        self._expire(self._passed + at)
        places = [place for place, opener in enumerate(self._openers) if opener.mark in "[!"]
        if not places:
            self._say("]")
            return at + 1
        target = _TARGET.match(self._source, at + 1)
        if not target and self._may_grow(at, final):
            return -1
        opener = self._openers[places[-1]]
        if not target:
            del self._openers[places[-1]]
            self._say("]")
            return at + 1
        del self._openers[places[-1] :]
        self._link(opener, target)
        return target.end()

    def _may_grow(self, at: int, final: bool) -> bool:
        """Whether the target of a link has begun and may still come."""
        begun = self._source.startswith("(", at + 1)
        return begun and not final and len(self._source) - at < FARTHEST and ")" not in self._source[at:]

    def _link(self, opener: _Opener, target: re.Match[str]) -> None:
        address = target["address"].strip("<>")
        self._spans[opener.place].text = "image: " if opener.mark == "!" else ""
        label = self._spans[opener.place + 1 :]
        for span in label:
            span.style |= UNDERLINE
        extra = [address] if address != "".join(span.text for span in label) else []
        if target["title"]:
            extra.append(target["title"])
        if any(extra):
            self._say(" ")
            self._say("(" + " ".join(extra) + ")", DIM | SOLID)

    def _autolink(self, at: int) -> int:
        found = _AUTOLINK.match(self._source, at)
        if not found:
            self._say("<")
            return at + 1
        self._say(found[1], UNDERLINE | SOLID)
        return found.end()

    def _bare_address(self, at: int) -> int:
        found = _BARE.match(self._source, at)
        before = self._source[at - 1] if at else self.before
        if not found or before.isalnum():
            self._say("http")
            return at + 4
        address = found[0].rstrip(_TRAILING)
        while address.endswith(")") and address.count(")") > address.count("("):
            address = address[:-1].rstrip(_TRAILING)
        self._say(address, UNDERLINE | SOLID)
        return at + len(address)

    def _expire(self, now: int) -> None:
        while self._openers and now - self._openers[0].offset > FARTHEST:
            del self._openers[0]

    def _release(self) -> None:
        """Emit everything before the first mark that is still open."""
        ready = self._openers[0].place if self._openers else len(self._spans)
        if not ready:
            return
        for span in self._spans[:ready]:
            if span.text:
                self._emit(span.text, span.style)
        del self._spans[:ready]
        for opener in self._openers:
            opener.place -= ready


def _length(source: str, at: int) -> int:
    run = _RUN.match(source, at)
    return len(run[0]) if run else 0


def _flanking(mark: str, before: str, after: str) -> tuple[bool, bool]:
    """Return whether a run between these two characters can open and can close emphasis."""
    left = not after.isspace() and (not _punctuation(after) or _sets_off(before))
    right = not before.isspace() and (not _punctuation(before) or _sets_off(after))
    if mark != "_":
        return left, right
    return left and (not right or _punctuation(before)), right and (not left or _punctuation(after))


def _sets_off(char: str) -> bool:
    # Chinese and Japanese write no space around emphasis; CommonMark alone would leave `**注意。**これ` as typed.
    return char.isspace() or _punctuation(char) or WIDE_CHARACTER.match(char) is not None


def _punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"
