"""The nouns of one request to Claude: what is asked, and what is told while the answer comes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from shammah.cloud.prices import Billed
from shammah.errors import CloudError


@dataclass(frozen=True)
class Patience:
    """How long each kind of waiting may take, in seconds."""

    connect_s: float = 5.0
    """Until a connection must stand."""
    silence_s: float = 30.0
    """Without a sign of life."""
    retrying_s: float = 30.0
    """From the question on; no further try begins after them."""
    unreachable_s: float = 30.0
    """For which Claude counts as unreachable after it could not be reached."""
    pauses_s: tuple[float, float] = (1.0, 4.0)
    """Before the second and the third try, where the other side does not say how long."""
    offline_pauses_s: tuple[float, float] = (0.5, 1.0)
    """The same where it could not be reached: shorter, since another engine may be asked instead."""


@dataclass(frozen=True)
class Request:
    """What Claude is asked: roles alternate, nothing in it is empty."""

    model: str
    max_tokens: int
    system: str = ""
    messages: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def body(self) -> dict[str, object]:
        """The JSON of the request; the conversation is to be cached, since the next question begins with it."""
        said = [{"role": role, "content": content} for role, content in self.messages]
        whole = {"model": self.model, "max_tokens": self.max_tokens, "messages": said, "stream": True}
        return {**whole, "cache_control": {"type": "ephemeral"}} | ({"system": self.system} if self.system else {})

    @property
    def most_tokens(self) -> int:
        """More tokens than it can be: no token is shorter than a byte."""
        return len(json.dumps(self.body(), ensure_ascii=False).encode())


@dataclass(frozen=True)
class Fault:
    """Why a request came to nothing. `again`: the same one may succeed, `after_s` from now where that was told.

    `answered`: the other side refused it, so that it costs nothing.
    """

    error: CloudError
    again: bool = False
    after_s: float | None = None
    answered: bool = False


@dataclass(frozen=True)
class Sent:
    """So many bytes have left this machine."""

    count: int


@dataclass(frozen=True)
class Counted:
    """What the other side has counted until now; `final` when no more tokens come."""

    billed: Billed
    final: bool = False


@dataclass(frozen=True)
class Text:
    """The next part of the answer."""

    text: str


@dataclass(frozen=True)
class Thought:
    """What comes before the answer and is not shown, but counts."""

    text: str


@dataclass(frozen=True)
class Over:
    """The answer came to its end, for this `stop_reason`."""

    stop_reason: str


@dataclass(frozen=True)
class Broke:
    """The request came to nothing, or the answer broke off."""

    fault: Fault


Told = Sent | Counted | Text | Thought | Over | Broke
"""What is told of a running request; the last is `Over` or `Broke`."""


class TornError(Exception):
    """What came is no answer by the rules of the stream; says what is wrong with it."""


class RefusalError(Exception):
    """The stream tells of an error in place of the answer's next part."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
