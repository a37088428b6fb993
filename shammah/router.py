"""Who answers, and why: a decision from facts that are given to it; reads and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shammah.errors import EngineError

Mode = Literal["auto", "local", "cloud", "ask"]
ModelState = Literal["none", "fetching", "loading", "restarting", "ready", "failed"]


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of the question.

    `enabled` is `local.enabled`: whether models may run on this machine at all. `patient` means that a later answer
    from the better model is worth more than one now. `local` is the state of the larger model on this machine, "none"
    where there is none; `local_name` its name and `stage` why it failed, or how far it is on its way.
    """

    mode: Mode = "auto"
    enabled: bool = True
    patient: bool = False
    local: ModelState = "none"
    local_name: str = ""
    stage: str = ""


@dataclass(frozen=True)
class Route:
    """Who answers ("starter" or "local"), and why in one sentence."""

    engine: Literal["starter", "local"]
    why: str


def choose(facts: Facts) -> Route:
    """Choose who answers the next question.

    Raises:
        EngineError: nobody may.
    """
    if not facts.enabled:
        raise EngineError(
            "Nobody may answer: local.enabled is false, and this version does not ask Claude yet",
            hint="Type /set local.enabled true",
        )
    if facts.mode in ("cloud", "ask"):
        return Route("starter", "starter, because this version does not ask Claude yet")
    match facts.local:
        case "ready":
            return Route("local", f"local, because {facts.local_name} is ready")
        case "restarting":
            return Route("local", f"local, because {facts.local_name} is there again in a moment")
        case "loading" if facts.patient:
            return Route("local", f"local, because {facts.local_name} is chosen for this question")
        case "loading":
            return Route("starter", f"starter, because {facts.local_name} is still loading")
        case "fetching":
            return Route("starter", f"starter, because {facts.local_name or 'a larger model'} is still {facts.stage}")
        case "failed" if facts.local_name:
            return Route("starter", f"starter, because {facts.local_name} failed: {facts.stage}")
        case "failed":
            return Route("starter", f"starter, because {facts.stage[:1].lower()}{facts.stage[1:]}")
        case _:
            return Route("starter", "starter, because no larger model is chosen on this machine")
