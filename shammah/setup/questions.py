"""The questions as data: what is asked, what Enter means, and how an answer that was typed is understood."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shammah.errors import ModelError
from shammah.models import names
from shammah.models.catalog import SIZES
from shammah.models.wanted import settings_for

T = TypeVar("T")

STARTER_WORDS = ("none", "no")
"""What a person may answer here in place of starter."""


@dataclass(frozen=True)
class Question(Generic[T]):
    """One question: what it is about, the words before the answer, what Enter alone means, what an answer means.

    `shown` is the default in the words that a person would type; `understand` raises `NotUnderstoodError`.
    """

    about: str
    prompt: str
    default: T
    shown: str
    understand: Callable[[str], T]


class NotUnderstoodError(Exception):
    """An answer that means nothing here; its text is one sentence that says what may be typed."""


@dataclass(frozen=True)
class Choice:
    """A model that a person chose: a size of the family, or `repo`, any other repository or folder.

    `size` is "auto", "starter" or one of the family's.
    """

    size: str = "auto"
    variant: str = "instruct"
    repo: str = ""

    @property
    def name(self) -> str:
        """As a person would type it."""
        return self.repo or (f"{self.size} coder" if self.variant == "coder" else self.size)


def model(text: str, default: Choice) -> Choice:
    """The model that a person means: "1.5b", "1.5b coder", "coder", "starter", "auto", OWNER/NAME or a folder.

    Raises:
        NotUnderstoodError: it is none of these.
    """
    if "/" in text or os.sep in text:
        return _named(text)
    if text.lower() in STARTER_WORDS:
        return Choice("starter")
    said = names.read(text)
    if said is None:
        raise NotUnderstoodError(_sizes_said(text))
    size = said.size or _size_of(default)
    return Choice(size, "coder" if said.variant == "coder" and size != "starter" else "instruct")


def when(text: str) -> bool:
    """Whether a model is to be fetched now."""
    match text.lower():
        case "now" | "y" | "yes":
            return True
        case "later" | "l" | "no":
            return False
    raise NotUnderstoodError(f"{_quoted(text)} is neither: type now or later.")


def yes(text: str) -> bool:
    """Whether it is a yes."""
    match text.lower():
        case "y" | "yes":
            return True
        case "n" | "no":
            return False
    raise NotUnderstoodError(f"{_quoted(text)} is neither: type yes or no.")


def yes_or_no(about: str, default: bool) -> Question[bool]:
    """A question for a yes or a no."""
    return Question(about, "Yes or no", default, "yes" if default else "no", yes)


def _size_of(default: Choice) -> str:
    return "auto" if default.repo or default.size == "starter" else default.size


def _named(text: str) -> Choice:
    try:
        return Choice(repo=settings_for(text)["local.repo"])
    except ModelError as error:
        raise NotUnderstoodError(f"{error}. Type a size, OWNER/NAME or a folder.") from error


def _sizes_said(text: str) -> str:
    if near := names.suggestions(text):
        return f"There is no size {_quoted(text)}: did you mean {' or '.join(near)}?"
    return f"There is no size {_quoted(text)}: type one of {', '.join(SIZES)}, starter or auto."


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= 40 else text[:40] + "…"}"'
