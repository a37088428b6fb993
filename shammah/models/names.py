"""How people name a model of the family: a size, a variant or both, in any order, with the family's name or without."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shammah.config.nearest import nearest
from shammah.models.catalog import SIZES, Model

SETTINGS = ("starter", "auto", *SIZES)
"""The names that `local.size` may hold."""
ALL = (*SETTINGS, *(f"{size} coder" for size in ("auto", *SIZES)))
"""Every name as it is told to a person."""
CODER_WORDS = ("coder", "code", "c")
INSTRUCT_WORDS = ("instruct",)
ALIKE = 0.8
"""How much a slip of the fingers still resembles the word that was meant."""
_FAMILY = re.compile(r"\bqwen(?:[\s_-]?2\.5)?(?![\w.])")
_BETWEEN = re.compile(r"[\s_:-]+")
_COUNT = re.compile(r"(\d{1,4}(?:\.\d{1,4})?)b?")


@dataclass(frozen=True)
class Name:
    """A size as `local.size` has it, "" where none was said; a variant as `local.variant` has it."""

    size: str
    variant: str = "instruct"


def read(text: str) -> Name | None:
    """The model of the family that a text names; None where it is something else, such as a repository or a folder."""
    words = _words(text)
    sizes = [word for word in words if word not in (*CODER_WORDS, *INSTRUCT_WORDS)]
    if len(sizes) > 1 or (sizes and sizes[0] not in SETTINGS) or not words:
        return None
    # The whole name of a coder ends with "instruct", too.
    variant = "coder" if any(word in CODER_WORDS for word in words) and sizes != ["starter"] else "instruct"
    return Name(sizes[0] if sizes else "", variant)


def name_of(model: Model) -> str:
    """The shortest name that means this model."""
    return model.size if model.variant == "instruct" else f"{model.size} {model.variant}"


def suggestions(text: str) -> list[str]:
    """The right names nearest to a wrong one, at most two: by its number, else by its letters; none where none is."""
    words = _words(text)
    counts = [float(found[1]) for word in words if (found := _COUNT.fullmatch(word))]
    if not counts:
        return [alike] if (alike := nearest(" ".join(words), ALL, ALIKE)) else []
    coder = " coder" if any(nearest(word, CODER_WORDS, ALIKE) for word in words) else ""
    return [f"{size}{coder}" for size in _around(counts[0])]


def _words(text: str) -> list[str]:
    """The words of a name, small, without the family's; no decimal comma is left."""
    if "/" in text or "\\" in text:
        return []
    plain = re.sub(r"(?<=\d),(?=\d)", ".", text.lower())
    return [word for word in _BETWEEN.split(_FAMILY.sub(" ", plain)) if word]


def _around(count: float) -> list[str]:
    """The size of that many billions, else the next smaller and the next larger."""
    below = [size for size in SIZES if float(size[:-1]) <= count][-1:]
    above = [size for size in SIZES if float(size[:-1]) >= count][:1]
    return list(dict.fromkeys(below + above))
