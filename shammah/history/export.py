"""A conversation as one text: Markdown to read, JSON to keep everything."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from shammah.history.store import Conversation, Turn

JSON_FORMAT = 1

_ENDINGS = {
    "interrupted": "Interrupted: the answer breaks off here.",
    "length": "Cut: the answer reached its longest allowed length.",
    "failed": "Failed: the answer breaks off here.",
}
_WITHOUT_A_WORD = {
    "interrupted": "Interrupted before the first word.",
    "failed": "Failed before the first word.",
}


def to_markdown(conversation: Conversation, turns: Sequence[Turn]) -> str:
    """The conversation to read: who said what, and which answers are not whole. Code blocks stay code blocks."""
    about = f"Conversation `{conversation.id}`, {_date(conversation.created)}{_private(conversation.private)}"
    parts = [f"# {conversation.title or 'Conversation'}\n\n{about}"]
    if conversation.system:
        parts.append(f"## System prompt\n\n{_closed(conversation.system)}")
    for turn in _questions(turns):
        parts.append(f"## You, {_date(turn.started)}{_marks(turn)}\n\n{_closed(turn.question)}")
        parts += [_answer(former, "Answered before by ") for former in turn.former]
        parts.append(_answer(turn))
    return "\n\n".join(parts) + "\n"


def to_json(conversation: Conversation, turns: Sequence[Turn]) -> str:
    """Everything that the history holds of the conversation; times are UTC in ISO 8601."""
    told = [asdict(turn) for turn in _questions(turns)]
    content = {"format": JSON_FORMAT, "conversation": asdict(conversation), "turns": told}
    return json.dumps(content, ensure_ascii=False, indent=2, default=_iso) + "\n"


def _iso(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _questions(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without those that another of them asks again, and holds as its former ones."""
    asked_again = {former.id for turn in turns for former in turn.former}
    return [turn for turn in turns if turn.id not in asked_again]


def _marks(turn: Turn) -> str:
    return (", undone" if turn.undone else "") + _private(turn.private)


def _private(why: str) -> str:
    return f", private: {why}" if why else ""


def _answer(turn: Turn, before: str = "") -> str:
    who = turn.origin.engine or "shammah"
    lines = [f"## {before}{who} ({turn.origin.model})" if turn.origin.model else f"## {before}{who}"]
    if turn.answer:
        lines.append(_closed(turn.answer))
    if ending := (_ENDINGS if turn.answer else _WITHOUT_A_WORD).get(turn.reason):
        lines.append(f"*{ending}*" + (f" {turn.error}" if turn.error else ""))
    return "\n\n".join([*lines, _receipt(turn)]).rstrip()


def _receipt(turn: Turn) -> str:
    """Who failed first, why this one answered, and what that took; a quotation, so that it is not the answer's text."""
    usage = turn.usage
    cached = f" ({usage.cached_tokens:,} from the cache)" if usage.cached_tokens else ""
    tokens = f"{usage.prompt_tokens:,} tokens in{cached}, {usage.completion_tokens:,} out"
    parts = [turn.origin.why, tokens if usage.prompt_tokens or usage.completion_tokens else "", _sent(turn)]
    told = [*turn.origin.before, " · ".join(part for part in parts if part)]
    return "\n>\n".join(f"> {' '.join(line.split())}" for line in told if line)


def _sent(turn: Turn) -> str:
    if not turn.sent_bytes:
        return "nothing was sent" if turn.origin.engine else ""
    about = "about " if turn.estimated else ""
    cost = "at a cost that is not known" if turn.cost_usd is None else f"for {about}${turn.cost_usd:.4f}"
    return f"{turn.sent_bytes:,} bytes sent {cost}"


def _closed(text: str) -> str:
    """The text with a code block that was cut off closed, so that it does not swallow what follows."""
    text = text.strip("\n")
    fence = _open_fence(text)
    return f"{text}\n{fence}" if fence else text


def _open_fence(text: str) -> str:
    """The fence that is open at the end of the text, with its indentation; empty where none is (CommonMark 4.5)."""
    opened = ""
    for line in text.splitlines():
        found = re.match(r"(\s*)(`{3,}|~{3,})(.*)", line)
        if not found:
            continue
        indent, fence, rest = found.groups()
        if not opened:
            opened = "" if fence[0] == "`" and "`" in rest else indent + fence
        elif fence.startswith(opened.strip()) and not rest.strip():
            opened = ""
    return opened


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
