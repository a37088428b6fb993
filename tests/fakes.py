"""Stand-ins that obey the real contracts, and the few lines that many tests need to talk to an engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from shammah.engine import TICK, Tally
from shammah.errors import EngineError
from shammah.message import Event, Finish, Message, Options, Piece, Spent, Trimmed, Waiting

PATIENT = 60.0
"""Seconds to wait for what comes soon, unless the machine is busy."""
LIMIT = 20_000
"""Characters of a question; a longer one is refused, as the real engines refuse what does not fit."""


@dataclass(frozen=True)
class Script:
    """One answer of the fake: its pieces, how long each takes, and the fault that comes before piece `fault_at`.

    `spent` is what leaves the machine for it, told before the first piece and before any fault.
    """

    pieces: Sequence[str] = ("An ", "answer.")
    delay_s: float = 0.0
    trimmed: Trimmed | None = None
    fault: EngineError | None = None
    fault_at: int = 0
    spent: Spent | None = None


class FakeEngine:
    """Obeys the Engine contract without a model: each call plays the next script, the last one again and again."""

    def __init__(
        self,
        *scripts: Script,
        name: str = "starter",
        model: str = "fake",
        when_asked: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.model = model
        self.asked: list[list[Message]] = []
        self.options: list[Options] = []
        self.stopped = 0
        self._scripts = deque(scripts or [Script()])
        self._when_asked = when_asked
        self._struck: EngineError | None = None

    def strike(self, error: EngineError) -> None:
        """Make the running answer, or else the next one, fail at its next step."""
        self._struck = error

    def reply(self, messages: Sequence[Message], options: Options) -> Generator[Event]:
        """Answer by the script."""
        script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
        self.asked.append(list(messages))
        self.options.append(options)
        self._when_asked()
        tally, over = Tally(), False
        try:
            for event in self._events(script, options, tally):
                tally.see(event)
                over = isinstance(event, Finish)
                yield event
        except EngineError:
            over = True
            raise
        finally:
            self.stopped += not over

    def _events(self, script: Script, options: Options, tally: Tally) -> Generator[Event]:
        if len(self.asked[-1][-1].content) > LIMIT:
            raise EngineError("The question is too long", hint="Shorten it")
        if script.trimmed:
            yield script.trimmed
        yield Waiting("reading", 0, 10)
        if script.spent:
            yield script.spent
        for place, text in enumerate([*script.pieces, None]):
            yield from _pause(script.delay_s)
            if error := self._fault(script, place):
                if not tally.begun:
                    raise error
                yield tally.finish("failed", str(error), error.hint)
                return
            if text is None or place >= options.limit:
                yield tally.finish("stop" if text is None else "length")
                return
            yield Piece(text)

    def _fault(self, script: Script, place: int) -> EngineError | None:
        struck, self._struck = self._struck, None
        return struck or (script.fault if place == script.fault_at else None)


def _pause(seconds: float) -> Generator[Waiting]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(TICK, seconds))
        yield Waiting()


def until(happens: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENT
    while not happens():
        assert time.monotonic() < end, "this did not come true"
        time.sleep(0.02)


def user(text: str) -> Message:
    """A message of the person."""
    return Message("user", text)


def said(events: Sequence[object]) -> str:
    """The text of an answer."""
    return "".join(event.text for event in events if isinstance(event, Piece))


def finish_of(events: Sequence[object]) -> Finish:
    """How an answer ended."""
    last = events[-1]
    assert isinstance(last, Finish)
    return last


def up_to_piece(events: Generator[Event]) -> list[Event]:
    """Events until the first piece came."""
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if isinstance(event, Piece):
            return seen
    raise AssertionError(f"no piece came: {seen}")


LONG = Options(max_tokens=600, temperature=100.0, top_k=100_000, seed=7)
"""So hot that every token is as likely as any other: hundreds of tokens, whatever the model has learned."""
