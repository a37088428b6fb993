"""Which part of a conversation fits the context: the system prompt, and the newest turns that there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shammah.errors import ModelError
from shammah.message import Message

KEEP_SHARE = 0.75
"""When turns are left out, the rest fills at most this share: the next turns then fit without cutting again."""


@dataclass(frozen=True)
class Fitted:
    """Prompt ids that fit, and how many of the oldest turns were left out for that."""

    ids: list[int]
    turns_left_out: int


def fit(
    messages: Sequence[Message], encode: Callable[[Sequence[Message]], list[int]], context: int, room: int
) -> Fitted:
    """Leave out oldest whole turns until the prompt and `room` tokens of answer fit `context`.

    Raises:
        ModelError: the last question alone does not fit.
    """
    ids = encode(messages)
    if len(ids) + room <= context:
        return Fitted(ids, 0)
    system = [message for message in messages[:1] if message.role == "system"]
    turns = split_turns(messages[len(system) :])
    for left_out in range(1, len(turns)):
        ids = encode([*system, *(message for turn in turns[left_out:] for message in turn)])
        if len(ids) + room <= context * KEEP_SHARE or (left_out == len(turns) - 1 and len(ids) + room <= context):
            return Fitted(ids, left_out)
    ids = encode([*system, *turns[-1]])
    raise ModelError(
        f"The question has {len(ids):,} tokens with its instructions; the model takes {context - room:,}",
        hint="Shorten it or its files; a larger model takes more, up to local.context",
    )


def split_turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Group messages into turns, each beginning with what the user said."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns
