"""Shows one answer while it comes: pieces as they are, waiting on a line that goes away, Ctrl-C at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Protocol, TextIO

from shammah.cloud.prices import dollars
from shammah.message import Event, Finish, Notice, Piece, Spent, Trimmed, Waiting
from shammah.screen.safe_text import safe_text

SHOW_WAITING_AFTER = 0.3
"""Seconds: shorter waits pass without a word."""
_CLEAR_LINE = "\r\x1b[2K"


class Waits(Protocol):
    """Tells what takes so long."""

    def show(self, event: Waiting) -> None:
        """Tell what the engine waits for, if it has lasted long enough to wonder."""
        ...

    def clear(self) -> None:
        """Make room for what is written next."""
        ...


class WaitingLine:
    """One line that says what takes so long; gone before anything else is written."""

    def __init__(self, out: TextIO, width: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._width = width
        self._clock = clock
        self._started = clock()
        self._read_since: tuple[float, int] | None = None
        self._shown = ""

    def show(self, event: Waiting) -> None:
        """Tell what the engine waits for, if it has lasted long enough to wonder."""
        now = self._clock()
        if event.what == "reading" and self._read_since is None:
            self._read_since = (now, event.done)
        if not event.what or now - self._started < SHOW_WAITING_AFTER:
            return
        text = f"{self._text(event, now)} · Ctrl-C stops"[: max(self._width() - 1, 0)]
        if text != self._shown:
            self._out.write(_CLEAR_LINE + text)
            self._out.flush()
            self._shown = text

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._out.write(_CLEAR_LINE)
            self._shown = ""

    def _text(self, event: Waiting, now: float) -> str:
        match event.what:
            case "retrying":
                return f"{safe_text(event.cause)}; again in {event.total - event.done} s"
            case "asking":
                return "asking Claude"
            case "reading" if self._read_since is not None:
                return self._reading(event, now, *self._read_since)
            case _:
                return "loading the model"

    @staticmethod
    def _reading(event: Waiting, now: float, since: float, at: int) -> str:
        text = f"reading {event.done:,} of {event.total:,} tokens"
        if event.done > at and now > since:
            text += f" · {(event.total - event.done) * (now - since) / (event.done - at):.0f} s left"
        return text


class WaitingWords:
    """The same where nothing can be taken away again: a line for each kind of waiting, once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._since: dict[str, float] = {}
        self._told = {""}

    def show(self, event: Waiting) -> None:
        """Tell what the engine waits for, if it has lasted long enough to wonder."""
        since = self._since.setdefault(event.what, time.monotonic())
        if event.what in self._told or time.monotonic() - since < SHOW_WAITING_AFTER:
            return
        self._told.add(event.what)
        self._out.write(f"{_in_words(event)} · Ctrl-C stops\n")
        self._out.flush()

    def clear(self) -> None:
        """Nothing: what was told stays."""


def _in_words(event: Waiting) -> str:
    match event.what:
        case "retrying":
            return f"{safe_text(event.cause)}; again in {event.total} s"
        case "asking":
            return "asking Claude"
        case "reading":
            return f"reading {event.total:,} tokens"
        case _:
            return "loading the model"


def show_answer(
    events: Generator[Event | Notice],
    *,
    write: Callable[[str], None],
    end: Callable[[], None],
    note: Callable[[str], None],
    waiting: Waits | None,
    stop_pressed: Callable[[], bool],
) -> Finish | None:
    """Write an answer; returns its Finish, or None when the person stopped it.

    `write` takes pieces, `end` ends the answer's last line, `note` writes a line beside the answer.
    """
    begun = False
    try:
        for event in events:
            if waiting and not isinstance(event, Waiting | Spent):
                waiting.clear()
            match event:
                case Piece():
                    begun = True
                    write(event.text)
                case Waiting() if waiting and not begun:
                    waiting.show(event)
                case Trimmed():
                    note(left_out(event).told)
                case Notice():
                    note(event.told)
                case Finish():
                    return event
            if stop_pressed():
                return None
        return None
    except KeyboardInterrupt:  # At a question of ours, where the keys are not looked at here.
        return None
    finally:
        if waiting:
            waiting.clear()
        events.close()
        if begun:
            end()


def left_out(event: Trimmed) -> Notice:
    """Tell that turns were left out."""
    turns = "the oldest turn is" if event.turns == 1 else f"the {event.turns} oldest turns are"
    told = f"The conversation no longer fits {event.context:,} tokens: {turns} left out from here on"
    return Notice(told, "/context shows it")


def cut_short(engine: str) -> str:
    """That an answer was cut, and what sets how long it may be."""
    here = "generation.max_tokens or local.context"
    sets = "cloud.max_tokens or generation.max_tokens" if engine == "claude" else here
    return f"The answer reached its limit; {sets} sets it."


def receipt_line(engine: str, model: str, device: str, finish: Finish) -> str:
    """The line under an answer: who, how much, how fast, what left the machine."""
    usage, timing = finish.usage, finish.timing
    parts = [f"local {safe_text(model)}" if engine == "local" else safe_text(model)]
    if engine == "local" and device:
        parts.append(device)
    parts.append(f"{usage.completion_tokens:,} tokens")
    if usage.completion_tokens:
        parts.append(f"first word {timing.first_token_s:.1f} s")
    if timing.tokens_per_s:
        parts.append(f"{timing.tokens_per_s:.0f}/s")
    if usage.cached_tokens:
        parts.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens from cache")
    return " · ".join([*parts, *sent_and_cost(finish.spent)])


def sent_and_cost(spent: Spent) -> list[str]:
    """What left the machine for an answer, and what that costs.

    >>> sent_and_cost(Spent(2150, 0.00123))
    ['sent 2.1 kB', '$0.0012']
    """
    if not spent.sent_bytes:
        return ["nothing sent"]
    return [f"sent {size(spent.sent_bytes)}", cost(spent.cost_usd, estimated=spent.estimated)]


def size(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count:,} B" if count < 1000 else f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def cost(usd: float | None, *, estimated: bool = False) -> str:
    """What something cost; None is a price that is not known."""
    if usd is None:
        return "cost not known"
    said = dollars(usd)
    return said if said.startswith("less") or not estimated else f"about {said}"
