"""What the beginning of a line says: which quotes and lists it stands in, and what kind of block it is.

CommonMark's rules (spec 0.31, chapters 4 and 5), kinder about the indentation of lists: models nest by two columns
under `1.` and by four under `-`, and both are meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LONGEST_HELD = 4000
"""Characters of a line that are held back at most while its kind is open."""
DEEPEST = 16
"""Quotes and lists inside one another; deeper ones are text."""

Kind = Literal["blank", "heading", "fence", "rule", "underline", "row", "indented", "text"]


@dataclass(frozen=True)
class Quote:
    """A block quote around the line."""


@dataclass
class Item:
    """A list item around the line; `marker` and `content` are columns inside what surrounds the item."""

    label: str
    marker: int
    content: int
    shown: bool = False


Container = Quote | Item


@dataclass(frozen=True)
class Line:
    """A line understood: how many open containers it continues, the new ones, its kind, and what it holds."""

    depth: int
    new: tuple[Container, ...]
    kind: Kind
    body: str
    indent: int = 0


_QUOTE = re.compile(r" {0,3}> ?")
_ITEM = re.compile(
    r"(?P<indent> *)(?P<marker>[-+*]|(?P<number>[0-9]{1,9})[.)])(?P<space>[ \t]+|\Z)(?P<task>\[[ xX]\](?:[ \t]+|\Z))?"
)
_RULE = re.compile(r"([-*_])(?:[ \t]*\1){2,}[ \t]*")
_UNDERLINE = re.compile(r"=+[ \t]*")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|\Z)")
_FENCE = re.compile(r"(`{3,})[^`]*|(~{3,}).*")
_OPEN_FENCE = re.compile(r"`{3,}[^`]*|~{3,}.*")
_UNDECIDED = re.compile(
    r"#{1,6}[ \t]*|`{1,2}|~{1,2}|([-*_])(?:[ \t]*\1)*[ \t]*|=+[ \t]*|[-+*][ \t]+(?:\[(?:[ xX](?:\][ \t]*)?)?)?|\+"
    r"|[0-9]{1,9}|[0-9]{1,9}[.)][ \t]*(?:(?<=[ \t])\[(?:[ xX](?:\][ \t]*)?)?)?"
)


def read_line(containers: Sequence[Container], text: str, *, complete: bool, in_paragraph: bool) -> Line | None:
    """Understand the line, or return None while the rest of it could change the answer."""
    too_long = len(text) >= LONGEST_HELD
    patient = not complete and not too_long
    depth, rest = enter(containers, untab(text))
    new: list[Container] = []
    while True:
        body = rest.lstrip(" ")
        if patient and (not body or _UNDECIDED.fullmatch(body)):
            return None
        opened = _open(containers, new, rest, in_paragraph)
        if opened is None or depth + len(new) >= DEEPEST:
            break
        container, rest = opened
        new.append(container)
    if patient and _OPEN_FENCE.fullmatch(body):
        return None
    indent = len(rest) - len(body)
    continues = in_paragraph and not new
    kind = _kind(body, indent, continues)
    if patient and kind in ("row", "indented"):
        return None
    if too_long and kind != "heading":
        kind = "text"
    if kind == "text" and continues and body:
        # CommonMark's lazy continuation: the text goes on in the item or quote, though it is not marked as inside.
        depth = len(containers)
    return Line(depth, tuple(new), kind, rest[4:] if kind == "indented" else body, indent)


def enter(containers: Sequence[Container], rest: str) -> tuple[int, str]:
    """Return how many of the containers the line continues, and what it holds inside them."""
    for depth, container in enumerate(containers):
        indent = len(rest) - len(rest.lstrip(" "))
        if isinstance(container, Quote):
            marker = _QUOTE.match(rest)
            if not marker:
                return depth, rest
            rest = untab(rest[marker.end() :])
        elif indent < len(rest):
            if indent < min(container.content, container.marker + 2):
                return depth, rest
            rest = rest[min(indent, container.content) :]
    return len(containers), rest


def untab(line: str) -> str:
    """Return the line with the tabs of its indentation as spaces."""
    body = line.lstrip(" \t")
    return line[: len(line) - len(body)].expandtabs(4) + body


def _open(
    containers: Sequence[Container], new: Sequence[Container], rest: str, in_paragraph: bool
) -> tuple[Container, str] | None:
    quote = _QUOTE.match(rest)
    if quote:
        return Quote(), untab(rest[quote.end() :])
    item = _ITEM.match(rest)
    if not item or _RULE.fullmatch(rest.strip(" ")):
        return None
    in_list = any(isinstance(container, Item) for container in containers)
    if len(item["indent"]) > 3 and not in_list:
        return None
    # A number at the start of a paragraph's later line is a list only where it counts from one.
    if (
        in_paragraph
        and not new
        and not in_list
        and (item["number"] not in (None, "1") or not rest[item.end() :].strip(" \t"))
    ):
        return None
    return _item(item), untab(rest[_content(item) :])


def _content(item: re.Match[str]) -> int:
    if _box(item):
        return item.end("task")
    # Five spaces and more behind the marker begin indented code, which keeps all but one of them.
    return item.end("space") if len(item["space"]) < 5 else item.end("marker") + 1


def _item(item: re.Match[str]) -> Item:
    marker, indent = item["marker"], len(item["indent"])
    space = min(len(item["space"]), 4) or 1
    return Item(_box(item) or (marker if item["number"] else "-"), indent, indent + len(marker) + space)


def _box(item: re.Match[str]) -> str:
    if item["number"] or not item["task"]:
        return ""
    return "[x]" if item["task"][1] in "xX" else "[ ]"


def _kind(body: str, indent: int, continues: bool) -> Kind:
    if not body.strip(" \t"):
        return "blank"
    if indent > 3:
        return "text" if continues else "indented"
    if _HEADING.match(body):
        return "heading"
    if _FENCE.fullmatch(body):
        return "fence"
    if _RULE.fullmatch(body):
        return "rule"
    if continues and _UNDERLINE.fullmatch(body):
        return "underline"
    return "row" if body[0] == "|" else "text"
