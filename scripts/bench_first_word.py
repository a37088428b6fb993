"""How long a person waits for the first word: from a cold start, and in a conversation that the model has read."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

from scripts.sections import Row, Section
from shammah.environment import worker_environment
from shammah.local.client import LocalEngine, ModelSpec, Ready
from shammah.machine import usable_processors
from shammah.message import Message, Options, Piece, Waiting

CONTEXT = 4096
QUESTION = "What is the capital of France?"
PAUSE = 3.0
"""Seconds in which a person reads an answer; the model reads it, too, as a next prompt will have it."""
ANSWER = 48
"""Tokens of the first answer."""
PASSAGE = "Every evening the watchman walks along the harbour wall, counts the lamps, and writes down which are dark. "
REPEATS = 40
"""Of the passage in the first question: some 900 tokens."""
SMALL = 1024
"""Width up to which a model is held to the aim for a cold start: that of 0.5B is 896."""


def first_words(folder: Path, rounds: int, pause: float) -> Iterator[Section]:
    """Both measurements of the prepared model in `folder`."""
    spec = ModelSpec(folder.name, folder, CONTEXT, 0)
    yield cold_start(spec, rounds)
    yield second_turn(spec, rounds, pause)


# The cold start

STEPS = {
    "python": "Python, to the first line of a program",
    "imports": "imports",
    "tokenizer": "tokenizer and template",
    "model": "weights and graph",
    "prompt": "the prompt",
    "token": "the first token",
}
"""What measure_start.py tells, in its order."""


def cold_start(spec: ModelSpec, rounds: int) -> Section:
    """From the start of a worker to the first token of a short question, and what it is made of."""
    # In turn, so that whatever else the machine does falls on both alike; the first only warm the disk's cache.
    taken = [(from_nothing(spec), steps(spec)) for _ in range(rounds + 1)][1:]
    total = statistics.median(seconds for seconds, _ in taken)
    parts = {name: statistics.median(step[name] for _, step in taken) for name in STEPS}
    aim = ("at most 2.5 s", total <= 2.5) if _width(spec.folder) <= SMALL else ("", None)
    rows = [Row("worker started to first token of the answer", f"{total:.2f} s", *aim)]
    rows += [Row(f"of it: {STEPS[name]}", f"{1e3 * seconds:.0f} ms") for name, seconds in parts.items()]
    rows.append(Row("of it: pipes, waiting, and the rest", f"{1e3 * (total - sum(parts.values())):.0f} ms"))
    how = (
        f"Medians of {rounds} fresh workers, files in the disk's cache, {usable_processors()} threads, "
        f'asked "{QUESTION}" at once; the parts are from as many processes that take the worker\'s steps by themselves.'
    )
    return Section(f"{spec.name}: from a cold start to the first token", how, rows)


def from_nothing(spec: ModelSpec) -> float:
    """Seconds for a worker that is started, and asked before it is ready."""
    began = time.monotonic()
    engine = LocalEngine("bench", spec, worker_environment())
    try:
        engine.start()
        return first_token(engine, [Message("user", QUESTION)]).at - began
    finally:
        engine.close()


def steps(spec: ModelSpec) -> dict[str, float]:
    """Seconds for each step of a worker up to its first token."""
    script = str(ROOT / "scripts" / "measure_start.py")
    command = [sys.executable, script, str(spec.folder), str(CONTEXT), str(usable_processors()), QUESTION]
    began = time.time()
    done = subprocess.run(
        [*command, str(began)], cwd=ROOT, env=worker_environment(), stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _width(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])


# The second turn


def second_turn(spec: ModelSpec, rounds: int, pause: float) -> Section:
    """The second question of a long conversation, to a model that has read none of it and to one that answered it."""
    engine = LocalEngine("bench", spec, worker_environment())
    try:
        first_token(engine, [Message("user", QUESTION)])
        assert isinstance(engine.state, Ready)
        taken = [one_round(engine, number, pause) for number in range(rounds)]
    finally:
        engine.close()
    cold, warm = (statistics.median(turn.seconds for turn in turns) for turns in zip(*taken, strict=True))
    asked = taken[0][1]
    rows = [
        Row(f"{taken[0][0].prompt:,} tokens, nothing of them read before", f"{cold:.2f} s"),
        Row(f"{asked.prompt:,} tokens, {asked.cached:,} of them read in the first turn", f"{warm:.3f} s"),
        Row("the second turn against the cold one", f"{warm / cold:.3f} ×", "at most 0.15 ×", warm <= 0.15 * cold),
    ]
    how = (
        f"First token of the second question, medians of {rounds} conversations of each kind, in turn, with one "
        f"worker; {usable_processors()} threads, greedy, {ANSWER} tokens of answer before, asked {pause:g} s after it."
    )
    return Section(f"{spec.name}: the second turn", how, rows)


@dataclass(frozen=True)
class First:
    """The first token of an answer: when it came, after how long, and the prompt's tokens, with those read before."""

    at: float
    seconds: float
    prompt: int
    cached: int


def one_round(engine: LocalEngine, number: int, pause: float) -> tuple[First, First]:
    """A conversation read at once, and another that came turn by turn; they differ from their first words on."""
    cold = conversation(f"{number}, all at once", "The lamps were counted, and three of them are dark. " * 4)
    at_once = first_token(engine, cold)
    asked = conversation(f"{number}, turn by turn")
    said = answer(engine, asked, ANSWER)
    asked = conversation(f"{number}, turn by turn", said)
    engine.warm(asked[:-1])  # As the chat does when an answer is over.
    time.sleep(pause)
    return at_once, first_token(engine, asked)


def conversation(name: str, answered: str = "") -> list[Message]:
    """One turn, or with an answer to it two."""
    first = [Message("system", f"{name}: be short."), Message("user", f"{PASSAGE * REPEATS}\nWhich lamps are dark?")]
    return [*first, Message("assistant", answered), Message("user", "And why?")] if answered else first


def first_token(engine: LocalEngine, messages: Sequence[Message]) -> First:
    """Ask, and stop the answer at its first piece."""
    began = time.monotonic()
    read: list[Waiting] = []
    events = engine.reply(messages, Options(max_tokens=16, temperature=0))
    for event in events:
        if isinstance(event, Waiting) and event.what == "reading":
            read.append(event)
        if isinstance(event, Piece):
            break
    now = time.monotonic()
    events.close()
    return First(now, now - began, read[0].total, read[0].done)


def answer(engine: LocalEngine, messages: Sequence[Message], tokens: int) -> str:
    """Ask, and take the whole answer."""
    events = engine.reply(messages, Options(max_tokens=tokens, temperature=0))
    return "".join(event.text for event in events if isinstance(event, Piece))
