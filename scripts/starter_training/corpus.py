"""The training text: facts with many phrasings, and the conversations that are drawn from them.

The files under `scripts/starter_text/` hold one block a fact:

    = model.switch                                   a unique id
    ? [how do I|how to] [change|switch] the model    phrasings; [a|b] is a choice, {name} a word from `@name = a | b`
    ! Type `/model` ...                              the answer (or `=> other.fact`: asked elsewhere, answered there)
    >> [and|] how do I undo that                     questions that lean on the turn before, ...
    !! `/model` and the old name ...                 ... with an answer of their own
    => other.fact                                    ... or that of another fact

A block that begins with `+ model.switch` adds phrasings and follow-ups to a fact of another file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TEXT_FOLDER = Path(__file__).resolve().parent.parent / "starter_text"
_LINE = re.compile(r"(=>|=|\+|\?|!!|!|>>) (.*)")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_POOL_WORD = re.compile(r"\{(\w+)\}")

Turn = tuple[str, str]
"""A question and its answer."""


@dataclass
class FollowUp:
    """Questions that lean on a fact's answer, and what they are answered with."""

    patterns: list[str]
    answer: str = ""
    refers_to: str = ""


@dataclass
class Fact:
    """One thing the starter knows: the ways to ask for it and the one answer."""

    name: str
    patterns: list[str] = field(default_factory=list)
    answer: str = ""
    refers_to: str = ""
    adds: bool = False
    follow_ups: list[FollowUp] = field(default_factory=list)
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def add(self, other: Fact) -> None:
        """Take over the questions of a block that adds to this fact; each keeps the words of its own file."""
        self.patterns += [with_pools(pattern, other.pools) for pattern in other.patterns]
        for follow_up in other.follow_ups:
            patterns = [with_pools(pattern, other.pools) for pattern in follow_up.patterns]
            self.follow_ups.append(FollowUp(patterns, follow_up.answer, follow_up.refers_to))

    @property
    def off_topic(self) -> bool:
        """Whether the right answer is an honest refusal."""
        return self.name.startswith("off.")


def read_facts(folder: Path = TEXT_FOLDER) -> dict[str, Fact]:
    """Read every fact of the folder, by name.

    Raises:
        ValueError: a line cannot be read, a fact lacks an answer, or a reference leads nowhere.
    """
    facts: dict[str, Fact] = {}
    additions: list[Fact] = []
    for path in sorted(folder.glob("*.txt")):
        for fact in _read_file(path):
            if fact.adds:
                additions.append(fact)
                continue
            if fact.name in facts:
                raise ValueError(f"{path.name}: the fact {fact.name} is there twice")
            facts[fact.name] = fact
    for addition in additions:
        if addition.name not in facts:
            raise ValueError(f"Phrasings are added to {addition.name}, which is no fact")
        facts[addition.name].add(addition)
    for fact in facts.values():
        if fact.refers_to in facts:
            fact.answer = facts[fact.refers_to].answer
        _check(fact, facts)
    return facts


def _read_file(path: Path) -> Iterator[Fact]:
    pools: dict[str, list[str]] = {}
    fact: Fact | None = None
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            name, _, words = line[1:].partition(" = ")
            pools[name.strip()] = [word.strip() for word in words.split("|")]
            continue
        match = _LINE.fullmatch(line)
        if match is None or (fact is None and match[1] not in "=+"):
            raise ValueError(f"{path.name}:{number}: cannot be read: {line[:60]}")
        mark, text = match[1], match[2].strip()
        if mark in "=+":
            if fact is not None:
                yield fact
            fact = Fact(text, adds=mark == "+", pools=pools)
        else:
            assert fact is not None
            _add(fact, mark, text)
    if fact is not None:
        yield fact


def _add(fact: Fact, mark: str, text: str) -> None:
    match mark:
        case "?":
            fact.patterns.append(text)
        case "!":
            fact.answer = text
        case ">>":
            if not fact.follow_ups or fact.follow_ups[-1].answer or fact.follow_ups[-1].refers_to:
                fact.follow_ups.append(FollowUp([]))
            fact.follow_ups[-1].patterns.append(text)
        case "!!":
            fact.follow_ups[-1].answer = text
        case "=>":
            (fact.follow_ups[-1] if fact.follow_ups else fact).refers_to = text


def _check(fact: Fact, facts: Mapping[str, Fact]) -> None:
    if not fact.answer or not fact.patterns:
        raise ValueError(f"The fact {fact.name} lacks a question or its answer")
    for follow_up in fact.follow_ups:
        if not follow_up.answer and follow_up.refers_to not in facts:
            raise ValueError(f"The fact {fact.name} refers to {follow_up.refers_to or 'nothing'}")


def with_pools(pattern: str, pools: Mapping[str, Sequence[str]]) -> str:
    """The pattern with each {name} written out as a choice.

    >>> with_pools("weather in {city}", {"city": ["Rome", "Oslo"]})
    'weather in [Rome|Oslo]'
    """
    return _POOL_WORD.sub(lambda match: "[" + "|".join(pools[match[1]]) + "]", pattern)


def expand(pattern: str, pools: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """Draw one question from a pattern.

    >>> expand("how do I [change|switch] it", {}, random.Random(0))
    'how do I switch it'
    """
    text = pattern
    while "[" in text:
        text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
    text = _POOL_WORD.sub(lambda match: rng.choice(pools[match[1]]), text)
    return re.sub(r"\s+([?.,!])", r"\1", " ".join(text.split()))


def follow_up_answer(follow_up: FollowUp, facts: Mapping[str, Fact]) -> str:
    """The answer a follow-up gets: its own, or that of the fact it refers to."""
    return follow_up.answer or facts[follow_up.refers_to].answer


def all_answers(facts: Mapping[str, Fact]) -> list[str]:
    """Every distinct answer, sorted."""
    answers = {fact.answer for fact in facts.values()}
    answers |= {f.answer for fact in facts.values() for f in fact.follow_ups if f.answer}
    return sorted(answers)
