"""How fast a model runs here: load, prefill, decode, first token of turn 1 and of turn 2, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from shammah.local.client import LocalEngine, ModelSpec, Ready
from shammah.machine import memory_of
from shammah.message import Finish, Message, Options, Piece

ROUNDS = 3
ANSWER_TOKENS = 128
_WORDS = (
    "The quick brown fox jumps over the lazy dog while the watchman counts the lamps along the quiet harbour wall. "
)


@dataclass(frozen=True)
class Round:
    """What one fresh worker showed; seconds, tokens per second, bytes."""

    load_s: float
    prompt_tokens: int
    prefill: float
    decode: float
    first_turn_s: float
    second_turn_s: float
    memory: int


def measure(spec: ModelSpec, environment: Mapping[str, str], rounds: int = ROUNDS) -> list[Round]:
    """Measure a model with a fresh worker for each round."""
    return [_round(spec, environment) for _ in range(rounds)]


def run_bench(
    folder: Path, context: int, threads: int, environment: Mapping[str, str], count: int = ROUNDS
) -> list[tuple[str, str]]:
    """Measure the model in `folder`; rows of a name and the median of `count` rounds."""
    rounds = measure(ModelSpec(folder.name, folder, context, threads), environment, count)
    prompt = rounds[0].prompt_tokens
    return [
        ("model", str(folder)),
        ("load", f"{median([r.load_s for r in rounds]):.2f} s"),
        ("prefill", f"{median([r.prefill for r in rounds]):.0f} tokens/s over {prompt:,} tokens"),
        ("decode", f"{median([r.decode for r in rounds]):.0f} tokens/s"),
        ("first token, turn 1", f"{median([r.first_turn_s for r in rounds]):.3f} s"),
        ("first token, turn 2", f"{median([r.second_turn_s for r in rounds]):.3f} s"),
        ("memory", f"{median([r.memory for r in rounds]) / 1e6:.0f} MB at most"),
        ("how", f"medians of {count} fresh workers, greedy"),
    ]


def _round(spec: ModelSpec, environment: Mapping[str, str]) -> Round:
    engine = LocalEngine("bench", spec, environment)
    try:
        engine.start()
        # A first short answer, so that nothing is measured that happens once only.
        _answer(engine, [Message("user", "Hello")], 8)
        assert isinstance(engine.state, Ready) and engine.pid is not None
        question = Message("user", _WORDS * max(engine.state.context // 96, 1) + "Say so.")
        said, first = _answer(engine, [question], ANSWER_TOKENS)
        second = [question, Message("assistant", said), Message("user", "And why?")]
        engine.warm(second[:2])
        _, again = _answer(engine, second, ANSWER_TOKENS)
        memory = memory_of(engine.pid)
        return Round(
            load_s=engine.state.seconds,
            prompt_tokens=first.usage.prompt_tokens,
            prefill=first.usage.prompt_tokens / first.timing.first_token_s,
            decode=max(first.timing.tokens_per_s, again.timing.tokens_per_s),
            first_turn_s=first.timing.first_token_s,
            second_turn_s=again.timing.first_token_s,
            memory=memory or 0,
        )
    finally:
        engine.close()


def _answer(engine: LocalEngine, messages: list[Message], tokens: int) -> tuple[str, Finish]:
    said: list[str] = []
    for event in engine.reply(messages, Options(max_tokens=tokens, temperature=0)):
        if isinstance(event, Piece):
            said.append(event.text)
        if isinstance(event, Finish):
            return "".join(said), event
    raise AssertionError("an engine ends with a Finish")
