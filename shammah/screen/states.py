"""States in few words: of an engine, and of the model that is on its way."""

from __future__ import annotations

from shammah.engine import Engine
from shammah.local.client import Broken, Loading, LocalEngine, Ready
from shammah.models import bootstrap


def state_word(engine: Engine) -> str:
    """The engine's state in a word, with the cause where it failed."""
    if not isinstance(engine, LocalEngine):
        return "over the network"
    match engine.state:
        case Ready():
            return "ready"
        case Loading():
            return "loading"
        case Broken(error=error):
            return f"failed: {error}"
        case _:
            return "not started"


def way(state: bootstrap.State | None) -> str:
    """How far the larger model is on its way, for the bottom line; "" where it is ready or none is wanted."""
    if state is None or not state.model:  # None was chosen yet, or none is here and none may be fetched.
        return ""
    match state:
        case bootstrap.Waiting(model=model):
            return f"{short(model)}: looking for it"
        case bootstrap.Downloading():
            return f"{short(state.model)}: {_transfer(state)}"
        case bootstrap.Preparing(model=model, step=step, share=share):
            return f"{short(model)}: {step}, {share:.0%}".replace("%", " %")
        case bootstrap.Loading(model=model):
            return f"{short(model)}: loading"
        case bootstrap.Failed(model=model, cause=cause):
            said = cause.removeprefix(model)
            return f"{short(model)} failed: {cause}" if said == cause else f"{short(model)}{said}"
        case _:
            return ""


def short(model: str) -> str:
    """A model's name without what all of the family share."""
    return model.removeprefix("Qwen2.5-").removesuffix("-Instruct")


def _transfer(state: bootstrap.Downloading) -> str:
    parts = [f"{state.done / 1e6:,.0f} of {state.of / 1e6:,.0f} MB"]
    if state.watching:
        return f"{parts[0]}, fetched by another chat"
    if state.rate > 0:
        parts += [f"{state.rate / 1e6:.1f} MB/s", duration((state.of - state.done) / state.rate)]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words, as "1 min 22 s".

    >>> duration(82.4)
    '1 min 22 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def device(engine: Engine) -> str:
    """Where the model runs, as its session tells; empty while it is not loaded, and for what runs elsewhere."""
    return engine.state.device if isinstance(engine, LocalEngine) and isinstance(engine.state, Ready) else ""


def context_of(engine: Engine) -> int:
    """Tokens of conversation that the engine keeps; 0 while that is not known."""
    return engine.state.context if isinstance(engine, LocalEngine) and isinstance(engine.state, Ready) else 0
