"""Who answers, and why: a decision from facts that are given to it; reads and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["auto", "local", "cloud", "ask"]
ModelState = Literal["none", "loading", "ready", "failed"]


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of the question.

    `local` is the state of the larger model on this machine, "none" where there is none; `local_name` its name and
    `cause` why it failed.
    """

    mode: Mode = "auto"
    local: ModelState = "none"
    local_name: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Route:
    """Who answers ("starter" or "local"), and why in one sentence."""

    engine: Literal["starter", "local"]
    why: str


def choose(facts: Facts) -> Route:
    """Choose who answers the next question."""
    match facts.local:
        case "ready":
            return Route("local", f"local, because {facts.local_name} is ready")
        case "loading" if facts.mode == "local":
            return Route("local", f"local, because only local models may answer and {facts.local_name} is loading")
        case "loading":
            return Route("starter", f"starter, because {facts.local_name} is still loading")
        case "failed":
            return Route("starter", f"starter, because {facts.local_name} failed: {facts.cause}")
        case _:
            return Route("starter", "starter, because no larger model is chosen on this machine")
