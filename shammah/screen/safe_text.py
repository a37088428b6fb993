"""Text from outside, made safe to show: a list of what may pass, everything else shown visibly, nothing run or lost."""

from __future__ import annotations

import re
import unicodedata

MOST_MARKS = 8
"""Combining marks that one character may carry; more would paint over the lines above and below."""

# Ranges whose every character is assigned, visible and no combining mark, so that they need no look at their
# neighbours. They cover nearly all text; the rest is decided character by character.
_ORDINARY = (
    "\n\t -~\u00a0-\u00ac\u00ae-\u02ff\u03a3-\u03ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u202f-\u205f"
    "\u20a0-\u20bf\u2190-\u2426\u2500-\u2b73\u3000-\u3029\u3041-\u3096\u309b-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uff01-\uff9f\U0001f300-\U0001f64f"
)
_UNUSUAL = re.compile(f"[^{_ORDINARY}]")
_RUNS = re.compile(f"[{_ORDINARY}]+|.", re.DOTALL)

# Unicode calls these letters or marks, yet nothing is seen of them (Default_Ignorable_Code_Point).
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
# Unicode calls these format characters, yet they are signs with a shape (Prepended_Concatenation_Mark).
_SIGNS = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")
# Emoji of a Unicode newer than this Python's are unassigned to it; the block holds nothing but pictures.
_PICTURES = re.compile("[\U0001f000-\U0001faff]")
_VARIED = re.compile(
    "[#*0-9\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
# Scripts whose spelling needs the joiners: from Hebrew and Arabic through the Indic ones to Vedic.
_JOINED = re.compile("[\u0590-\u1cff\ua800-\uabff\U00010a00-\U00011fff]")
# The vowels and final consonants of Hangul stack onto the letter before them, though they are no marks.
_STACKED = re.compile("[\u1161-\u11ff\ud7b0-\ud7fb]")


def safe_text(text: str) -> str:
    """Return `text` as a terminal may be given it: printable characters, newline and tab, the rest shown visibly."""
    filter = SafeText()
    return filter.feed(text) + filter.flush()


class SafeText:
    """`safe_text` for text that comes in pieces; what comes out does not depend on where the pieces were cut."""

    def __init__(self) -> None:
        self._last = ""
        self._marks = 0
        self._surplus = 0
        self._return = False

    def feed(self, piece: str) -> str:
        """Return what is decided after this piece."""
        if _UNUSUAL.search(piece) is None and not self._return and not self._surplus:
            if piece:
                self._rest_on(piece[-1])
            return piece
        return "".join([self._run(run) for run in _RUNS.findall(piece)])

    def flush(self) -> str:
        """Return what was held back, at the end of the text, and begin anew."""
        held = self._settle("")
        self._rest_on("")
        return held

    def _run(self, run: str) -> str:
        held = self._settle(run[0])
        if not _UNUSUAL.match(run):
            self._rest_on(run[-1])
            return held + run
        return held + self._unusual(run)

    def _settle(self, following: str) -> str:
        held = ""
        if self._return:
            self._return = False
            if following != "\n":
                self._rest_on("␍")
                held = "␍"
        if self._surplus and not (following and _is_mark(following)):
            held += f"<+{self._surplus} marks>"
            self._surplus = 0
            self._rest_on(">")
        return held

    def _unusual(self, char: str) -> str:
        if char == "\r":
            self._return = True
            return ""
        if self._belongs(char):
            self._last = char
            return char
        if _is_mark(char):
            return self._mark(char)
        shown = char if _passes(char) else _visible(char)
        self._rest_on(shown[-1])
        return shown

    def _belongs(self, char: str) -> bool:
        """Whether an invisible character is part of how the character before it is written."""
        if char in "\ufe0e\ufe0f":
            return _VARIED.match(self._last) is not None
        if char == "\u200d":
            return (
                _VARIED.match(self._last) is not None or self._last == "\ufe0f" or _JOINED.match(self._last) is not None
            )
        return char == "\u200c" and _JOINED.match(self._last) is not None

    def _mark(self, char: str) -> str:
        bare = self._last in ("", "\n", "\t")
        if bare:
            self._rest_on("◌")
        self._marks += 1
        if self._marks > MOST_MARKS:
            self._surplus += 1
            return ""
        self._last = char
        return "◌" + char if bare else char

    def _rest_on(self, base: str) -> None:
        self._last = base
        self._marks = 0


def _is_mark(char: str) -> bool:
    if _STACKED.match(char):
        return True
    return unicodedata.category(char)[0] == "M" and not _UNSEEN.match(char)


def _passes(char: str) -> bool:
    if char.isprintable():
        return not _UNSEEN.match(char)
    return unicodedata.category(char) == "Zs" or bool(_SIGNS.match(char) or _PICTURES.match(char))


def _visible(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"
