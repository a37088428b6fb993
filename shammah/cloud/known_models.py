"""The models that the SDK knows by name, and which of them are soon no more. Imports the SDK."""

from __future__ import annotations

import difflib
from typing import get_args

from anthropic.resources.messages import messages
from anthropic.types import ModelParam


def known() -> tuple[str, ...]:
    """Names in the SDK, newest first."""
    return tuple(name for option in get_args(ModelParam) for name in get_args(option))


def nearest(model: str) -> str:
    """The known name that is most like this one, "" where none is."""
    found = difflib.get_close_matches(model.lower(), [name for name in known() if name != model], 1, 0.6)
    return found[0] if found else ""


def ends(model: str) -> str:
    """When a deprecated model comes to its end, as in "November 30th, 2026"; "" where it is not deprecated."""
    # Not part of what the SDK promises: without it nothing is said.
    dates: dict[str, str] = getattr(messages, "DEPRECATED_MODELS", {})
    return dates.get(model, "")


def advice(model: str) -> str:
    """A sentence about a model that is deprecated, "" about any other."""
    date = ends(model)
    return f"{model} is deprecated and comes to its end on {date}; type /set cloud.model NAME to change" if date else ""
