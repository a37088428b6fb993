"""Who answers, and why: a decision from facts that are given to it; reads and changes nothing.

The decision is the table `ROWS`: read from the top, the first row that holds decides. README.md shows the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shammah.errors import EngineError
from shammah.message import MAX_TOKENS, room

Mode = Literal["auto", "local", "cloud", "ask"]
EngineName = Literal["starter", "local", "claude"]
AskedFor = Literal["", "local", "claude"]
ModelState = Literal["none", "fetching", "loading", "restarting", "ready", "failed"]
CloudState = Literal["no key", "wrong key", "no credit", "no budget", "unreachable", "ready"]

LONGEST_WAIT_S = 120.0
"""Seconds to the first token that the model of this machine may take where Claude may answer instead."""


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of the question.

    `enabled` is `local.enabled`: whether models may run on this machine at all. `patient` means that a later answer
    from the better model is worth more than one now, `starter` that the starter may answer: not where another model is
    named on the command line. `local` is the state of the larger model on this machine, "none" where there is none;
    `local_name` its name and `stage` why it failed, or how far it is on its way.
    `local_context` and `prompt_tokens` are tokens, counted with that model's own tokenizer, 0 where not known; `wait_s`
    the predicted seconds to its first token, None where not known; `short_of_memory` says what is lacking now, "" where
    there is enough. `max_tokens` is the most that its answer may have.
    `cloud` is the state of Claude, `cloud_name` the model there, `cloud_trouble` what is in the way and `cloud_way_out`
    what to do about it; `allowed` is `cloud.allowed`: whether questions may go to Claude in mode auto. `private` says
    what must not leave this machine, "" where nothing is private. `asked_for` is who was named for this one question,
    `failed` who was asked it already and failed, with the cause.
    """

    mode: Mode = "auto"
    enabled: bool = True
    patient: bool = False
    local: ModelState = "none"
    local_name: str = ""
    stage: str = ""
    local_context: int = 0
    prompt_tokens: int = 0
    max_tokens: int = MAX_TOKENS
    wait_s: float | None = None
    short_of_memory: str = ""
    cloud: CloudState = "no key"
    cloud_name: str = ""
    cloud_trouble: str = ""
    cloud_way_out: str = ""
    allowed: bool = False
    private: str = ""
    asked_for: AskedFor = ""
    starter: bool = True
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """Who answers, and why in one sentence."""

    engine: EngineName
    why: str


@dataclass(frozen=True)
class Row:
    """One line of the decision: `when` and `then` in words for a reader, `holds` and `decide` the same for facts.

    `decide` raises EngineError where nobody answers.
    """

    when: str
    then: str
    holds: Callable[[Facts], bool]
    decide: Callable[[Facts], Route]


def choose(facts: Facts) -> Route:
    """Choose who answers the next question.

    Raises:
        EngineError: nobody may.
    """
    return next(row.decide(facts) for row in ROWS if row.holds(facts))


def table() -> list[tuple[str, str]]:
    """The decision in words, from the top: when, and then."""
    return [(row.when, row.then) for row in ROWS]


# What the rows ask


def may_leave(facts: Facts) -> bool:
    """Whether the person lets this question go to Claude; in mode ask they are asked before it goes."""
    if facts.mode == "local" or facts.private or facts.asked_for == "local":
        return False
    return facts.asked_for == "claude" or facts.mode in ("cloud", "ask") or facts.allowed


def _claude_answers(facts: Facts) -> bool:
    return may_leave(facts) and facts.cloud == "ready" and "claude" not in facts.failed


def _claude_is_wanted(facts: Facts) -> bool:
    return may_leave(facts) and (facts.asked_for == "claude" or facts.mode == "cloud")


def _claude_is_away(facts: Facts) -> bool:
    """Whether waiting or asking again may help, and no change of key, account or settings is needed."""
    return facts.cloud in ("unreachable", "ready")


def _local_answers(facts: Facts) -> bool:
    there = facts.local in ("ready", "restarting") or (facts.local == "loading" and facts.patient)
    return facts.enabled and there and "local" not in facts.failed


def _local_is_fit(facts: Facts) -> bool:
    return _local_answers(facts) and not _obstacle(facts)


def _starter_answers(facts: Facts) -> bool:
    return facts.enabled and facts.starter and "starter" not in facts.failed


def _fits(facts: Facts) -> bool:
    context = facts.local_context
    return not context or facts.prompt_tokens + room(context, facts.max_tokens) <= context


# What the rows say


def _presence(facts: Facts) -> str:
    """Why the model of this machine can answer."""
    match facts.local:
        case "restarting":
            return f"{facts.local_name} is there again in a moment"
        case "loading":
            return f"{facts.local_name} is chosen for this question"
        case _:
            return f"{facts.local_name} is ready"


def _obstacle(facts: Facts) -> str:
    """What speaks against the model of this machine although it is there; "" where nothing does."""
    name = facts.local_name
    if not _fits(facts):
        kept = f"{facts.local_context:,} with its answer"
        return f"the conversation has {facts.prompt_tokens:,} tokens and {name} keeps {kept}"
    if facts.short_of_memory:
        return facts.short_of_memory
    if facts.wait_s is not None and facts.wait_s > LONGEST_WAIT_S:
        return f"{name} would read for {facts.wait_s:.0f} s before its first word"
    return ""


def _lack(facts: Facts) -> str:
    """Why the model of this machine does not answer."""
    name = facts.local_name
    if not facts.enabled:
        return "local.enabled is false"
    if "local" in facts.failed:
        return f"{name} failed: {facts.failed['local']}"
    match facts.local:
        case "loading":
            return f"{name} is still loading"
        case "fetching":
            return f"{name or 'a larger model'} is still {facts.stage}"
        case "failed" if name and not facts.stage.startswith(name):
            return f"{name} failed: {facts.stage}"
        case "failed":
            return facts.stage if name else f"{facts.stage[:1].lower()}{facts.stage[1:]}"
        case "none":
            return "no larger model is chosen on this machine"
        case _:
            return _obstacle(facts)


_IN_THE_WAY: dict[CloudState, tuple[str, str]] = {
    "no key": ("Claude has no key", "Run shammah setup to enter one"),
    "wrong key": ("Claude does not accept the key", "Run shammah setup to enter another"),
    "no credit": ("Claude's account has no credit left", "Add credit to the account"),
    "no budget": ("today's budget for Claude is spent", "Raise cloud.daily_budget_usd, or wait for tomorrow"),
    "unreachable": ("Claude cannot be reached", "Ask again in a while"),
}
"""For each state in which Claude cannot answer: what is in the way, and the next step."""


def _without_claude(facts: Facts) -> str:
    """Why Claude does not answer although it might; "" where it may not, or would."""
    if not may_leave(facts):
        return ""
    if "claude" in facts.failed:
        return f"and Claude failed: {facts.failed['claude']}"
    if facts.cloud == "ready":
        return ""
    return f"and Claude cannot answer: {facts.cloud_trouble}" if facts.cloud_trouble else f"and {_what(facts)}"


def _what(facts: Facts) -> str:
    """What is in the way of Claude, where nobody told it in more words."""
    return _IN_THE_WAY[facts.cloud][0]


def _private(facts: Facts) -> str:
    return f"and the question stays here: {facts.private}" if facts.private else ""


def _route(engine: EngineName, *reasons: str) -> Route:
    """The route, with those of the reasons that there are as one sentence on one line."""
    because = ", ".join(reason for reason in reasons if reason)
    return Route(engine, f"{engine}, because {' '.join(because.split())}")


# What the rows do


def _as_wanted(facts: Facts) -> Route:
    return _route("claude", "you asked for it" if facts.asked_for else "the mode is cloud")


def _claude_instead(facts: Facts) -> Route:
    return _route("claude", _lack(facts))


def _local(facts: Facts) -> Route:
    return _route("local", _presence(facts), _private(facts))


def _local_instead(facts: Facts) -> Route:
    return _route("local", _presence(facts), _without_claude(facts))


def _local_all_the_same(facts: Facts) -> Route:
    left_out = "" if _fits(facts) else "so the oldest turns are left out"
    obstacle = f"although {_obstacle(facts)}"
    return _route("local", _presence(facts), obstacle, left_out, _without_claude(facts), _private(facts))


def _starter(facts: Facts) -> Route:
    return _route("starter", _lack(facts), _without_claude(facts), _private(facts))


def _may_not_leave(facts: Facts) -> Route:
    raise EngineError(
        f"Claude cannot be asked: {facts.private or 'the mode is local'}",
        hint="/retry local asks on this machine" if facts.private else "Type /auto or /cloud first",
    )


def _claude_cannot(facts: Facts) -> Route:
    if "claude" in facts.failed:
        raise EngineError(facts.failed["claude"], hint="Ask again, or type /local to stay on this machine")
    what, step = _what(facts), _IN_THE_WAY[facts.cloud][1]
    raise EngineError(
        facts.cloud_trouble or f"{what[:1].upper()}{what[1:]}",
        hint=facts.cloud_way_out or f"{step}, or type /local to stay on this machine",
    )


def _nobody(facts: Facts) -> Route:
    if facts.failed:
        raise EngineError(list(facts.failed.values())[-1], hint="Ask again; shammah doctor shows what works")
    without = _without_claude(facts) or "and Claude may not be asked"
    raise EngineError(
        f"Nobody may answer: {_lack(facts)}, {_private(facts) or without}",
        hint="Type /set local.enabled true, or shammah setup for what may go to Claude",
    )


ROWS = (
    Row(
        "Claude is asked for, and the question is private or the mode is local",
        "nobody: says so",
        lambda facts: facts.asked_for == "claude" and not may_leave(facts),
        _may_not_leave,
    ),
    Row(
        "Claude is asked for or the mode is cloud, and Claude can be asked",
        "claude",
        lambda facts: _claude_is_wanted(facts) and _claude_answers(facts),
        _as_wanted,
    ),
    Row(
        "the mode is cloud, Claude cannot be reached or has failed on this question, and the local model is there",
        "local, and says so",
        lambda facts: (
            _claude_is_wanted(facts) and not facts.asked_for and _claude_is_away(facts) and _local_answers(facts)
        ),
        _local_instead,
    ),
    Row(
        "Claude is asked for or the mode is cloud",
        "nobody: says what is in the way of Claude, and the next step",
        _claude_is_wanted,
        _claude_cannot,
    ),
    Row(
        "the local model is there, the prompt fits, memory suffices, and its first word comes within two minutes",
        "local",
        _local_is_fit,
        _local,
    ),
    Row(
        "the question may go to Claude (cloud.allowed, or your yes in mode ask), and Claude can be asked",
        "claude, and says what the local model lacks",
        _claude_answers,
        _claude_instead,
    ),
    Row(
        "the local model is there",
        "local, without the oldest turns where the prompt does not fit, and says so",
        _local_answers,
        _local_all_the_same,
    ),
    Row(
        "models may run on this machine",
        "starter, and says what is missing",
        _starter_answers,
        _starter,
    ),
    Row(
        "none of these",
        "nobody: says why, and the next step",
        lambda _: True,
        _nobody,
    ),
)
"""The decision, from the top. What may leave this machine is asked in one place only: `may_leave`."""
