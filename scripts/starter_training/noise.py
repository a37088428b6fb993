"""Questions as people really type them: openers, synonyms, lost words, lower case, slips of the finger."""

from __future__ import annotations

import random
import re
from pathlib import Path

_NEIGHBOURS = {
    "a": "qsz", "b": "vgn", "c": "xdv", "d": "sfe", "e": "wrd", "f": "dgr", "g": "fht", "h": "gjy", "i": "uok",
    "j": "hku", "k": "jli", "l": "kop", "m": "nk", "n": "bmh", "o": "ipl", "p": "ol", "q": "wa", "r": "etf",
    "s": "adw", "t": "ryg", "u": "yij", "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xas",
}  # fmt: skip
_OPENERS = [
    "hey", "hi", "hello", "hey there", "ok", "okay", "so", "well", "um", "please", "pls", "quick question", "one question",
    "sorry", "excuse me", "a question", "question", "listen", "by the way", "btw", "also", "and", "now", "alright", "right",
    "can you tell me", "could you tell me", "tell me", "please tell me", "do you know", "i wonder", "i was wondering",
    "i would like to know", "i want to know", "just wondering", "sorry if this is a silly question", "i am new here",
    "i'm new to this", "just installed this", "i need help", "help", "stupid question", "not sure if you know but",
    "maybe you know", "my question is", "what i want to know is", "another question", "one more thing", "next question",
    "thanks", "thank you", "great", "cool", "good", "dear shammah", "shammah",
]  # fmt: skip
_CLOSERS = [
    "please", "pls", "thanks", "thank you", "in shammah", "here", "in this program", "in this chat", "exactly", "then", "now",
    "for me", "again", "quickly", "really", "by the way", "if possible", "i forgot", "i can't find it", "thx", "mate", "anyway",
    "right now", "on my machine", "on my laptop", "today", "actually", "any idea", "do you know", "can you help",
]  # fmt: skip
_KEEP_WHOLE = re.compile(r"[/`\-_.@:=!]|\d")
"""Words with these are commands, flags, settings or sizes: people copy them, so slips there are rare."""


def read_synonyms(path: Path) -> dict[str, list[str]]:
    """Read groups of exchangeable words, one group a line, as word -> the others."""
    others: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        words = [word.strip() for word in line.split("|") if word.strip()]
        if line.startswith("#") or len(words) < 2:
            continue
        for word in words:
            others.setdefault(word, []).extend(other for other in words if other != word)
    return others


class Noise:
    """Draws a natural variant of a question; the same seed draws the same variants."""

    def __init__(self, synonyms: dict[str, list[str]], rng: random.Random) -> None:
        self._synonyms = synonyms
        self._rng = rng

    def __call__(self, question: str) -> str:
        words = question.split()
        words = self._exchange(words)
        words = self._lose(words)
        text = " ".join(words)
        text = self._frame(text)
        text = self._slip(text)
        return self._dress(text)

    def _exchange(self, words: list[str]) -> list[str]:
        if self._rng.random() < 0.45:
            return words
        chosen = []
        for word in words:
            others = self._synonyms.get(word.lower())
            chosen.append(self._rng.choice(others) if others and self._rng.random() < 0.3 else word)
        return chosen

    def _lose(self, words: list[str]) -> list[str]:
        if len(words) < 5 or self._rng.random() < 0.8:
            return words
        gone = self._rng.randrange(len(words))
        return [word for place, word in enumerate(words) if place != gone or len(word) > 4]

    def _frame(self, text: str) -> str:
        rng = self._rng
        if rng.random() < 0.16:
            opener = rng.choice(_OPENERS)
            text = opener + rng.choice([" ", ", ", ", ", ": ", "... ", " - "]) + text
        if rng.random() < 0.12:
            text = text.rstrip("?") + rng.choice([" ", ", "]) + rng.choice(_CLOSERS)
        return text

    def _slip(self, text: str) -> str:
        rng = self._rng
        if rng.random() < 0.65:
            return text
        words = text.split(" ")
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            place = rng.randrange(len(words))
            word = words[place]
            if len(word) > 2 and not _KEEP_WHOLE.search(word):
                words[place] = self._misspell(word)
        return " ".join(words)

    def _misspell(self, word: str) -> str:
        rng = self._rng
        at = rng.randrange(len(word))
        letter = word[at]
        near = rng.choice(_NEIGHBOURS.get(letter.lower(), letter))
        match rng.randrange(6):
            case 0:
                return word[:at] + word[at + 1 :]
            case 1:
                return word[:at] + letter + word[at:]
            case 2 | 3 if at + 1 < len(word):
                return word[:at] + word[at + 1] + letter + word[at + 2 :]
            case 4:
                return word[:at] + near + word[at + 1 :]
            case _:
                return word[:at] + letter + near + word[at + 1 :] if rng.random() < 0.5 else word[:at] + word[at + 1 :]

    def _dress(self, text: str) -> str:
        rng = self._rng
        kind = rng.random()
        if kind < 0.4:
            text = text.lower()
        elif kind < 0.8:
            text = text[:1].upper() + text[1:]
        elif kind < 0.83:
            text = text.upper()
        if rng.random() < 0.15:
            text = text.replace("'", "")
        end = rng.random()
        if end < 0.45:
            return text.rstrip("?.! ") + "?"
        if end < 0.8:
            return text.rstrip("?.! ")
        return text.rstrip("?.! ") + rng.choice([".", "??", " ?", "!", "...", "?!"])
