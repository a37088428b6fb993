"""How a stretch of text looks: a sum of flags, and the terminal codes for it.

Only bold, dim, italic, underline and the sixteen named colours, so that it fits every theme.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

PLAIN = 0
BOLD = 1
DIM = 2
ITALIC = 4
UNDERLINE = 8
RED = 16
GREEN = 32
MAGENTA = 64
CYAN = 128
SOLID = 256
"""Never broken over two lines: an address stays one thing to click and to copy."""

CODE = CYAN
HEADINGS = (BOLD | UNDERLINE | CYAN, BOLD | CYAN, BOLD, BOLD, BOLD | DIM, BOLD | DIM)

_CODES = {BOLD: "1", DIM: "2", ITALIC: "3", UNDERLINE: "4", RED: "31", GREEN: "32", MAGENTA: "35", CYAN: "36"}

Paint = Callable[[str, int], str]
"""Puts a style on a text."""


def colored(text: str, style: int) -> str:
    """Return `text` with the codes of `style` before it and a reset behind it."""
    codes = _sequence(style)
    return f"{codes}{text}\x1b[0m" if codes else text


def colorless(text: str, style: int) -> str:  # noqa: ARG001
    """Return `text` as it is, for a terminal or a person that wants no codes."""
    return text


@cache
def _sequence(style: int) -> str:
    codes = ";".join(code for flag, code in _CODES.items() if style & flag)
    return f"\x1b[{codes}m" if codes else ""
