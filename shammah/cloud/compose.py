"""From the conversation to the request that Claude understands."""

from __future__ import annotations

from collections.abc import Sequence

from shammah.characters import whole_characters
from shammah.cloud.exchange import Request
from shammah.message import Message, Options

IGNORED = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
"""Options that no longer exist there."""


def compose(messages: Sequence[Message], options: Options, model: str, max_tokens: int) -> Request:
    """The request for a conversation: neighbours of one role joined, what is empty left out."""
    system = "\n\n".join(
        whole_characters(each.content) for each in messages if each.role == "system" and each.content.strip()
    )
    said: list[tuple[str, str]] = []
    for each in messages:
        if each.role == "system" or not each.content.strip():
            continue
        if said and said[-1][0] == each.role:
            said[-1] = (each.role, f"{said[-1][1]}\n\n{whole_characters(each.content)}")
        else:
            said.append((each.role, whole_characters(each.content)))
    limit = max_tokens if options.max_tokens is None else min(options.max_tokens, max_tokens)
    return Request(model, limit, system, tuple(said))


def ignored(options: Options) -> list[str]:
    """The options that are set and have no effect there."""
    return [name for name in IGNORED if getattr(options, name) is not None]
