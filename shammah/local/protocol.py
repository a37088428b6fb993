"""What goes over the pipes between the chat process and the model worker: one JSON object a line.

Requests  Load, Generate, Warm, Count, Stop
Replies   Ready, Progress, Cut, Delta, Counted, Done, Failed

Every request carries a number, and every reply names the request it belongs to, so that what is left of a
stopped answer is never taken for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shammah.message import Message, Options, Reason
from shammah.pipes import Lines


@dataclass(frozen=True)
class Load:
    """Load the model in `folder`; `context` tokens at most are kept, on `threads` processors (0: all physical ones).

    `backend` is a provider's name, or "auto" for the fastest.
    """

    request: int
    folder: str
    context: int
    threads: int
    backend: str = "cpu"


@dataclass(frozen=True)
class Generate:
    """Answer the conversation."""

    request: int
    messages: list[Message]
    options: Options


@dataclass(frozen=True)
class Warm:
    """Read the conversation into the cache, so that the next answer to it starts sooner."""

    request: int
    messages: list[Message]


@dataclass(frozen=True)
class Count:
    """Count the tokens of the conversation, as a prompt; answered between two answers."""

    request: int
    messages: list[Message]


@dataclass(frozen=True)
class Stop:
    """End this request, and every one before it, soon."""

    request: int


Request = Load | Generate | Warm | Count | Stop


@dataclass(frozen=True)
class Ready:
    """The model is loaded; `why` tells why on this device."""

    request: int
    context: int
    device: str
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Progress:
    """`done` of `total` tokens of the prompt are read."""

    request: int
    done: int
    total: int


@dataclass(frozen=True)
class Cut:
    """The conversation does not fit: its `turns` oldest turns are left out."""

    request: int
    turns: int
    context: int


@dataclass(frozen=True)
class Delta:
    """New text of the answer, and how many tokens it stands for."""

    request: int
    text: str
    tokens: int


@dataclass(frozen=True)
class Counted:
    """The conversation is a prompt of `tokens` tokens, of which the cache holds the first `cached` already."""

    request: int
    tokens: int
    cached: int


@dataclass(frozen=True)
class Done:
    """The request is carried out, stopped, or at its length."""

    request: int
    reason: Reason
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Failed:
    """The request cannot be carried out; the worker goes on where `fatal` is false."""

    request: int
    message: str
    hint: str
    fatal: bool = False


Reply = Ready | Progress | Cut | Delta | Counted | Done | Failed

_LINES = Lines(
    "worker",
    (Load, Generate, Warm, Count, Stop, Ready, Progress, Cut, Delta, Counted, Done, Failed),
    {
        "messages": lambda messages: [Message(**message) for message in messages],
        "options": lambda options: Options(**options),
    },
)


def encode(message: Request | Reply) -> bytes:
    """The message as one line."""
    return _LINES.encode(message)


def decode(line: bytes) -> Any:
    """The message in a line.

    Raises:
        ValueError: the line is no message of this protocol.
    """
    return _LINES.decode(line)
