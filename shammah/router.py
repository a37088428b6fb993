"""Who answers, and why: a decision from facts that are given to it; reads and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shammah.errors import EngineError

Mode = Literal["auto", "local", "cloud", "ask"]
EngineName = Literal["starter", "local", "claude"]
ModelState = Literal["none", "fetching", "loading", "restarting", "ready", "failed"]
CloudState = Literal["no key", "wrong key", "no credit", "no budget", "unreachable", "ready"]


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of the question.

    `enabled` is `local.enabled`: whether models may run on this machine at all. `patient` means that a later answer
    from the better model is worth more than one now. `local` is the state of the larger model on this machine, "none"
    where there is none; `local_name` its name and `stage` why it failed, or how far it is on its way.
    `local_context` and `prompt_tokens` are tokens, counted with that model's own tokenizer, 0 where not known; `wait_s`
    the predicted seconds to its first token, None where not known; `short_of_memory` says what is lacking now, "" where
    there is enough.
    `cloud` is the state of Claude, `cloud_name` the model there, `cloud_trouble` what is in the way; `allowed` is
    `cloud.allowed`: whether questions may go to Claude in mode auto. `private` says what must not leave this machine,
    "" where nothing is private. `asked_for` is who was named for this one question, `failed` who was asked it already
    and failed, with the cause.
    """

    mode: Mode = "auto"
    enabled: bool = True
    patient: bool = False
    local: ModelState = "none"
    local_name: str = ""
    stage: str = ""
    local_context: int = 0
    prompt_tokens: int = 0
    wait_s: float | None = None
    short_of_memory: str = ""
    cloud: CloudState = "no key"
    cloud_name: str = ""
    cloud_trouble: str = ""
    allowed: bool = False
    private: str = ""
    asked_for: Literal["", "local", "claude"] = ""
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """Who answers, and why in one sentence."""

    engine: EngineName
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
