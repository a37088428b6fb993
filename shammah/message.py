"""The nouns of a conversation: what is asked, what comes back piece by piece, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
Reason = Literal["stop", "length", "interrupted", "failed"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


MAX_TOKENS = 1024
"""Most tokens of an answer of this machine where nobody chose."""


@dataclass(frozen=True)
class Options:
    """How to generate; None leaves the choice to who answers, here to the model's own generation_config.json.

    `temperature` 0 is greedy. The same `seed` gives the same answer on the same machine.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    @property
    def limit(self) -> int:
        """Most tokens of an answer of this machine."""
        return MAX_TOKENS if self.max_tokens is None else self.max_tokens


def room(context: int, max_tokens: int) -> int:
    """Tokens of a context that are kept for an answer of `max_tokens` at most: never more than a quarter."""
    return min(max_tokens, context // 4)


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer: the whole prompt, the part of it the cache already held, and the new ones."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Timing:
    """Seconds from the question to the first piece and to the end, and tokens per second between the two."""

    first_token_s: float = 0.0
    total_s: float = 0.0
    tokens_per_s: float = 0.0


@dataclass(frozen=True)
class Piece:
    """The next part of the answer, never half a character, and how many tokens it took."""

    text: str
    tokens: int = 1


@dataclass(frozen=True)
class Waiting:
    """Nothing new, but still at work; comes often enough that the caller can stop between two of them.

    `what` is "loading", "reading" or "asking"; where `total` is known, `done` of it is behind us (tokens of the
    prompt). With "retrying", `done` of `total` seconds until the next try have passed, and `cause` says why.
    """

    what: str = ""
    done: int = 0
    total: int = 0
    cause: str = ""


@dataclass(frozen=True)
class Spent:
    """What has left this machine for this answer until now, and what that costs; the latest one counts.

    `cost_usd` is None where a price is not known; `estimated` where the engine's own count did not come to its end.
    `usage` is what the other side counted, None as long as it has not told.
    """

    sent_bytes: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False
    usage: Usage | None = None


@dataclass(frozen=True)
class Trimmed:
    """The conversation no longer fits: its `turns` oldest turns are left out of what the model reads."""

    turns: int
    context: int


@dataclass(frozen=True)
class Finish:
    """How an answer ended; the last thing an engine yields, exactly once.

    `error` and `hint` are set where `reason` is "failed": the answer broke off after its first piece.
    """

    reason: Reason
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    error: str = ""
    hint: str = ""
    spent: Spent = field(default_factory=Spent)


Event = Piece | Waiting | Spent | Trimmed | Finish
"""What an engine yields."""


@dataclass(frozen=True)
class Notice:
    """Something the person should know beside the answer, and what to do about it."""

    text: str
    hint: str = ""

    @property
    def told(self) -> str:
        """All of it, as sentences."""
        return "".join(f"{part}. " for part in (self.text, self.hint) if part).rstrip()
