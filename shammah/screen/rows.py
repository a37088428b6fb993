"""Rows of a name and a text, as the reports have them, and their lines on the screen."""

from __future__ import annotations

from collections.abc import Sequence

Rows = list[tuple[str, str]]


def columns(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Rows as lines of two columns; on a narrow screen the text goes below its name, and without names it is alone."""
    wide = max((len(name) for name, _ in rows), default=0)
    if not wide:
        return [line for _, text in rows for line in _wrapped(text, width)]
    if wide + 24 > width:
        return [line for name, text in rows for line in ([name] if name else []) + _wrapped(text, width, "    ")]
    lines: list[str] = []
    for name, text in rows:
        wrapped = _wrapped(text, width - wide - 2)
        lines.append(f"{name:<{wide}}  {wrapped[0]}".rstrip())
        lines += [" " * (wide + 2) + line for line in wrapped[1:]]
    return lines


def _wrapped(text: str, room: int, indent: str = "") -> list[str]:
    import textwrap

    found = textwrap.wrap(text, max(room, 16), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return found or [""]
