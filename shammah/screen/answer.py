"""Shows one answer while it comes: pieces as they are, waiting on a line that goes away, Ctrl-C at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Protocol, TextIO

from shammah.message import Event, Finish, Notice, Piece, Trimmed, Waiting
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
        text = self._text(event, now)[: max(self._width() - 1, 0)]
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
        if event.what != "reading" or self._read_since is None:
            return "loading the model · Ctrl-C stops"
        since, at = self._read_since
        parts = [f"reading {event.done:,} of {event.total:,} tokens"]
        if event.done > at and now > since:
            parts.append(f"{(event.total - event.done) * (now - since) / (event.done - at):.0f} s left")
        return " · ".join([*parts, "Ctrl-C stops"])


class WaitingWords:
    """The same where nothing can be taken away again: a line for each kind of waiting, once."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._since: dict[str, float] = {}
        self._told = {""}

    def show(self, event: Waiting) -> None:
        """Tell what the engine waits for, if it has lasted long enough to wonder."""
        since = self._since.setdefault(event.what, self._clock())
        if event.what in self._told or self._clock() - since < SHOW_WAITING_AFTER:
            return
        self._told.add(event.what)
        what = f"reading {event.total:,} tokens" if event.what == "reading" else "loading the model"
        self._out.write(f"{what} · Ctrl-C stops\n")
        self._out.flush()

    def clear(self) -> None:
        """Nothing: what was told stays."""


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
            if waiting and not isinstance(event, Waiting):
                waiting.clear()
            match event:
                case Piece():
                    begun = True
                    write(event.text)
                case Waiting() if waiting and not begun:
                    waiting.show(event)
                case Trimmed():
                    note(left_out(event))
                case Notice():
                    note(f"{event.text}. {event.hint}.")
                case Finish():
                    return event
            if stop_pressed():
                return None
        return None
    finally:
        if waiting:
            waiting.clear()
        events.close()
        if begun:
            end()


def left_out(event: Trimmed) -> str:
    """Tell that turns were left out."""
    turns = "the oldest turn is" if event.turns == 1 else f"the {event.turns} oldest turns are"
    return (
        f"The conversation no longer fits {event.context:,} tokens: {turns} left out from here on. /context shows it."
    )


def receipt_line(engine: str, model: str, device: str, finish: Finish) -> str:
    """The line under an answer: who, how much, how fast, what left the machine."""
    usage, timing = finish.usage, finish.timing
    parts = [engine if engine == "starter" else f"{engine} {safe_text(model)}"]
    if engine != "starter" and device:
        parts.append(device)
    parts.append(f"{usage.completion_tokens:,} tokens")
    if usage.completion_tokens:
        parts.append(f"first word {timing.first_token_s:.1f} s")
    if timing.tokens_per_s:
        parts.append(f"{timing.tokens_per_s:.0f}/s")
    if usage.cached_tokens:
        parts.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens from cache")
    return " · ".join([*parts, "nothing sent"])
