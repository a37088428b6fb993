"""The bottom line: who will answer, in what state, how fast, how full the context is."""

from __future__ import annotations

from dataclasses import dataclass

from prompt_toolkit.utils import get_cwidth

from shammah.engines import Engines
from shammah.errors import EngineError
from shammah.message import Finish
from shammah.router import Facts, choose
from shammah.screen.states import context_of, device, state_word, way
from shammah.session import Receipt

SHORTENED = 12
"""Columns that are worth a shortened state."""


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
    filled = finish.usage.prompt_tokens + finish.usage.completion_tokens
    # Others count in tokens of their own, and who failed has counted nothing.
    counted = last is None or (last.route.engine == route.engine and filled > 0)
    return Status(
        engine=engine.model,
        state=way(engines.models.state) or " on ".join(filter(None, [state_word(engine), device(engine)])),
        mode=facts.mode,
        speed=finish.timing.tokens_per_s,
        filled=filled,
        context=context_of(engine) if counted else 0,
    )


def bottom_line(status: Status, width: int) -> str:
    """The line, at most `width` columns; where all do not fit, figures go first, then the state is shortened."""
    who, state, mode = f"{status.engine} answers", status.state, status.mode
    figures = [f"{status.speed:.0f}/s"] if status.speed else []
    if status.context:
        figures.append(f"context {share(status.filled, status.context)}")
    lines = [[who, state, mode, *figures[:count]] for count in range(len(figures), -1, -1)]
    room = width - get_cwidth(_joined([who, "", mode]))
    if room >= SHORTENED:  # A long one tells what failed, and its beginning tells most.
        lines.append([who, _cut(state, room), mode])
    lines += [[who, mode], [who]]
    if status.notice:
        lines = [[status.notice]]
    return next((line for line in map(_joined, lines) if get_cwidth(line) <= width), _cut(_joined(lines[-1]), width))


def share(filled: int, context: int) -> str:
    """How full the context is, in whole percent."""
    return f"{min(round(100 * filled / context), 100)} %"


def _joined(parts: list[str]) -> str:
    return " " + " · ".join(parts)


def _cut(text: str, width: int) -> str:
    if get_cwidth(text) <= width:
        return text
    while get_cwidth(text) > max(width - 1, 0):
        text = text[:-1]
    return f"{text}…"
