"""The contract that everything which can answer obeys: the starter, a local model, Claude."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Protocol

from shammah.message import Event, Finish, Message, Options, Piece, Reason, Spent, Timing, Usage, Waiting

TICK = 0.05
"""Seconds: an engine with nothing to say yields a `Waiting` at least this often, so that Ctrl-C is never late."""


class Engine(Protocol):
    """Answers a conversation.

    1. `reply` yields `Piece`, `Waiting`, `Spent` and `Trimmed` in any number, then exactly one `Finish`, then ends.
    2. Closing the iterator stops the work; nothing is left running that delays the next call by more than a moment.
    3. After any end, a second call works.
    4. A fault before the first piece is raised as `EngineError`, so that another engine can be asked;
       a fault after it is a `Finish("failed")` that says so, and every piece yielded stays valid.
    5. What leaves the machine is told by a `Spent` as soon as it has left, so that an answer which is stopped or fails
       has its figure, too.
    """

    @property
    def name(self) -> str:
        """Who answers: "starter", "local" or "claude"."""
        ...

    @property
    def model(self) -> str:
        """The model's name as a person knows it."""
        ...

    def reply(self, messages: Sequence[Message], options: Options) -> Generator[Event]:
        """Answer the last message of the conversation."""
        ...


class Tally:
    """Counts tokens and time of one answer while its events pass by, so that any end has its figures."""

    def __init__(self) -> None:
        # Up to Python 3.12 the other clock of Windows goes on in steps of 16 ms.
        self._started = time.perf_counter()
        self._first: float | None = None
        self._last = 0.0
        self._tokens = 0
        self._prompt = 0
        self._cached: int | None = None
        self._spent = Spent()

    @property
    def begun(self) -> bool:
        """Whether a piece was seen."""
        return self._first is not None

    def see(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Piece):
            self._last = time.perf_counter()
            if self._first is None:
                self._first = self._last
            self._tokens += event.tokens
        elif isinstance(event, Spent):
            self._spent = event
        elif isinstance(event, Waiting) and event.what == "reading" and event.total:
            self._prompt = event.total
            self._cached = event.done if self._cached is None else self._cached

    def finish(self, reason: Reason, error: str = "", hint: str = "") -> Finish:
        """The end of the answer, with what was counted until now."""
        now = time.perf_counter()
        first = (self._first or now) - self._started
        between = self._last - (self._first or 0.0)
        speed = (self._tokens - 1) / between if self._tokens > 1 and between > 0 else 0.0
        usage = self._spent.usage or Usage(self._prompt, self._cached or 0, self._tokens)
        return Finish(reason, usage, Timing(first, now - self._started, speed), error, hint, self._spent)
