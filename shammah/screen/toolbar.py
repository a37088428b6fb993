"""The bottom line: who will answer, in what state, how fast, how full the context is."""

from __future__ import annotations

from dataclasses import dataclass

from shammah.engines import Engines
from shammah.errors import EngineError
from shammah.message import Finish
from shammah.router import Facts, choose
from shammah.screen.states import context_of, state_word, way
from shammah.session import Receipt


@dataclass(frozen=True)
class Status:
    """What the bottom line tells. `speed` is tokens per second of the last answer, `filled` and `context` tokens."""

    engine: str
    state: str
    mode: str
    speed: float = 0.0
    filled: int = 0
    context: int = 0
    notice: str = ""


def status(engines: Engines, facts: Facts, last: Receipt | None) -> Status:
    """What it tells now, with the `last` answer's figures."""
    try:
        route = choose(facts)
    except EngineError as error:
        return Status("nobody", "", facts.mode, notice=str(error))
    engine = engines[route.engine]
    finish = last.finish if last else Finish("stop")
    counted = last is None or last.route.engine == route.engine  # Others count in tokens of their own.
    return Status(
        engine=engine.model,
        state=way(engines.models.state) or state_word(engine),
        mode=facts.mode,
        speed=finish.timing.tokens_per_s,
        filled=finish.usage.prompt_tokens + finish.usage.completion_tokens,
        context=context_of(engine) if counted else 0,
    )


def bottom_line(status: Status, width: int) -> str:
    """The line, at most `width` columns: parts that do not fit are left out, the least telling first."""
    parts = [f"{status.engine} answers", status.state, status.mode]
    if status.speed:
        parts.append(f"{status.speed:.0f}/s")
    if status.context:
        parts.append(f"context {share(status.filled, status.context)}")
    if status.notice:
        parts = [status.notice]
    while len(parts) > 1 and len(_joined(parts)) > width:
        parts.pop()
    line = _joined(parts)
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def share(filled: int, context: int) -> str:
    """How full the context is, in whole percent."""
    return f"{min(round(100 * filled / context), 100)} %"


def _joined(parts: list[str]) -> str:
    return " " + " · ".join(parts)
