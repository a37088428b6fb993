"""Reads the events of one stream, strictly: only what came to its announced end counts as an answer.

Source: platform.claude.com/docs/en/build-with-claude/streaming. Unknown events may come and are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shammah.characters import whole_characters
from shammah.cloud.exchange import Counted, Over, RefusalError, Text, Thought, Told, TornError
from shammah.cloud.prices import Billed


class Reading:
    """Follows one stream, event by event."""

    def __init__(self) -> None:
        self._billed = Billed()
        self._begun = False
        self._known: set[int] = set()
        """The parts that have begun, by their number."""
        self._open: set[int] = set()
        """Those of them that have not ended."""
        self._stop_reason: str | None = None
        self._half = ""

    def take(self, data: str) -> list[Told]:
        """What the next event tells; `data` is its JSON.

        Raises:
            TornError: it breaks the rules of the stream.
            RefusalError: it tells of an error.
        """
        event = _object(_parsed(data))
        kind = event.get("type")
        if kind == "error":
            error = _object(event.get("error"))
            raise RefusalError(str(error.get("type", "")), str(error.get("message", "")))
        if kind == "ping":
            return []
        if kind == "message_start":
            return self._start(_object(event.get("message")))
        if not self._begun:
            raise TornError("it begins in the middle")
        match kind:
            case "content_block_start":
                return self._begin(_index(event), _object(event.get("content_block")))
            case "content_block_delta":
                return self._add(_index(event), _object(event.get("delta")))
            case "content_block_stop":
                self._close(_index(event))
            case "message_delta":
                return self._count(event)
            case "message_stop":
                return [self._over()]
        return []

    def _start(self, message: Mapping[str, Any]) -> list[Told]:
        if self._begun:
            raise TornError("it begins twice")
        self._begun = True
        self._billed = _billed(self._billed, message.get("usage"))
        return [Counted(self._billed)]

    def _begin(self, index: int, block: Mapping[str, Any]) -> list[Told]:
        if index in self._known:
            raise TornError(f"its part {index} begins twice")
        self._known.add(index)
        self._open.add(index)
        return self._text(block.get("text")) if block.get("type") == "text" else []

    def _add(self, index: int, delta: Mapping[str, Any]) -> list[Told]:
        if index not in self._open:
            raise TornError(f"there is no part {index} in it")
        if delta.get("type") == "thinking_delta":
            return [Thought(str(delta.get("thinking", "")))]
        if delta.get("type") != "text_delta":
            return []
        if not isinstance(delta.get("text"), str):
            raise TornError("a part of it has no text")
        return self._text(delta["text"])

    def _close(self, index: int) -> None:
        if index not in self._open:
            raise TornError(f"there is no part {index} in it")
        self._open.remove(index)

    def _count(self, event: Mapping[str, Any]) -> list[Told]:
        reason = _object(event.get("delta")).get("stop_reason")
        self._stop_reason = reason if isinstance(reason, str) else self._stop_reason
        self._billed = _billed(self._billed, event.get("usage"))
        return [Counted(self._billed, final=self._stop_reason is not None)]

    def _over(self) -> Over:
        if self._stop_reason is None or self._open:
            raise TornError("it ends without its end")
        return Over(self._stop_reason)

    def _text(self, text: object) -> list[Told]:
        """Text without half a character: the first half of a pair of surrogates waits for the second."""
        whole = self._half + (text if isinstance(text, str) else "")
        self._half = whole[-1:] if "\ud800" <= whole[-1:] <= "\udbff" else ""
        whole = whole[: len(whole) - len(self._half)]
        return [Text(whole_characters(whole))] if whole else []


def _parsed(data: str) -> object:
    try:
        return json.loads(data)
    except ValueError:
        raise TornError("a part of it cannot be read") from None


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TornError("a part of it is missing")
    return value


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    if not isinstance(index, int):
        raise TornError("a part of it has no number")
    return index


def _billed(before: Billed, usage: object) -> Billed:
    """What is counted now: totals that overwrite, where they are told."""
    if not isinstance(usage, dict):
        return before
    split = usage.get("cache_creation")
    hour = _tokens(split, "ephemeral_1h_input_tokens") if isinstance(split, dict) else None
    written = _tokens(usage, "cache_creation_input_tokens")
    told = {
        "input": _tokens(usage, "input_tokens"),
        "cache_write": written - (hour or 0) if written is not None else None,
        "cache_write_hour": hour,
        "cache_read": _tokens(usage, "cache_read_input_tokens"),
        "output": _tokens(usage, "output_tokens"),
    }
    return replace(before, **{name: count for name, count in told.items() if count is not None})


def _tokens(usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) and count >= 0 else None
