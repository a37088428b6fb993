#!/usr/bin/env python3
"""Examine the starter model: the held-out questions, asked through the real worker, scored by the facts in the answers.

    python scripts/eval_starter.py                 the whole exam, the table
    python scripts/eval_starter.py --sample 60     every n-th question only
    python scripts/eval_starter.py --write         also into docs/starter.md
Ends with status 1 when a share is below its aim.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shammah.environment import worker_environment
from shammah.local.client import LocalEngine, ModelSpec
from shammah.message import Message, Options, Piece
from shammah.paths import STARTER

EXAMS = sorted((ROOT / "tests" / "data").glob("starter_heldout*.jsonl"))
"""By hands that saw neither the training text nor the model nor each other; the third asks later in conversations."""
REPORT = ROOT / "docs" / "starter.md"
REFUSAL = "i know only shammah itself"
AIMS = {"on": 0.85, "off": 0.90, "follow": 0.75}
NAMES = {"on": "on topic, right fact", "off": "off topic, honest refusal", "follow": "follow-up, right fact"}


@dataclass(frozen=True)
class Result:
    """One question of the exam and what came of it."""

    id: str
    kind: str
    turns: tuple[str, ...]
    answer: str
    right: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--sample", type=int, default=0, help="ask about this many questions, evenly spread")
    parser.add_argument("--wrong", action="store_true", help="show the answers that were wrong")
    parser.add_argument("--write", action="store_true", help="write docs/starter.md")
    given = parser.parse_args()
    exams = {path: questions_of(path) for path in EXAMS}
    step = max(1, sum(map(len, exams.values())) // given.sample) if given.sample else 1
    results = {path: examine(questions[::step], given.model) for path, questions in exams.items()}
    if given.wrong:
        for result in [result for exam in results.values() for result in exam if not result.right]:
            print(f"{result.id}  {' / '.join(result.turns)}\n    {result.answer}")
    print(tables(results))
    if given.write:
        REPORT.write_text(report(results, given.model), encoding="utf-8")
    return 0 if all(share(exam, kind) >= aim for exam in results.values() for kind, aim in AIMS.items()) else 1


def questions_of(exam: Path) -> list[dict[str, object]]:
    """The questions of an exam, each with its kind, its turns and what a right answer must hold."""
    return [json.loads(line) for line in exam.read_text(encoding="utf-8").splitlines()]


def examine(questions: Sequence[dict[str, object]], folder: Path) -> list[Result]:
    """Ask every question, greedily, each in a conversation of its own."""
    engine = LocalEngine("starter", ModelSpec("starter", folder, 1024, 0), worker_environment())
    try:
        return [_examine(engine, question) for question in questions]
    finally:
        engine.close()


def _examine(engine: LocalEngine, question: dict[str, object]) -> Result:
    messages: list[Message] = []
    answer = ""
    turns = tuple(str(turn) for turn in question["turns"])  # type: ignore[attr-defined]
    for turn in turns:
        messages.append(Message("user", turn))
        events = engine.reply(messages, Options(max_tokens=150, temperature=0))
        answer = "".join(event.text for event in events if isinstance(event, Piece))
        messages.append(Message("assistant", answer))
    return Result(str(question["id"]), str(question["kind"]), turns, answer, is_right(question, answer))


def is_right(question: dict[str, object], answer: str) -> bool:
    """Whether the answer refuses where it should, else holds one alternative of every group of the fact."""
    low = answer.lower()
    expected = question.get("expect", "refusal")
    if expected == "refusal":
        return REFUSAL in low and "/cloud" in low
    groups: list[list[str]] = expected  # type: ignore[assignment]
    # A refusal names the ways out, /model among them, and would pass for knowing them.
    honest_about_itself = question["id"] in ("on-004", "on-005")
    if REFUSAL in low and not honest_about_itself:
        return False
    return all(any(word.lower() in low for word in group) for group in groups)


def share(results: Sequence[Result], kind: str) -> float:
    """Share of right answers among the questions of a kind."""
    chosen = [result.right for result in results if result.kind == kind]
    return sum(chosen) / len(chosen) if chosen else 1.0


def tables(results: Mapping[Path, Sequence[Result]]) -> str:
    """The scores of each exam as a Markdown table."""
    return "\n\n".join(f"`{path.relative_to(ROOT).as_posix()}`:\n\n{table(exam)}" for path, exam in results.items())


def table(results: Sequence[Result]) -> str:
    """The scores as a Markdown table."""
    lines = ["| held-out questions | asked | right | share | aim |", "|---|---|---|---|---|"]
    for kind, aim in AIMS.items():
        chosen = [result.right for result in results if result.kind == kind]
        lines.append(f"| {NAMES[kind]} | {len(chosen)} | {sum(chosen)} | {share(results, kind):.1%} | {aim:.0%} |")
    return "\n".join(lines)


def report(results: Mapping[Path, Sequence[Result]], folder: Path) -> str:
    """docs/starter.md: how the model was made, how large it is, how it scores."""
    made = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in folder.iterdir())
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value:,} |" for key, value in made.items() if key != "bytes")
    return f"""# The starter model

A network of Qwen2.5's architecture, trained from nothing by `scripts/train_starter.py` on the text in
`scripts/starter_text/`, so that shammah answers before anything is downloaded. It knows shammah itself only, and says
so.
This page is written by `scripts/eval_starter.py --write`.

| made with | |
|---|---|
{rows}
| bytes in the package | {size:,} |

{tables(results)}

The questions were written before the training, by other hands than the training text, and the training stream refuses
them. The first exam asks nearly all of them first in a conversation, the second by a hand that had not seen the first;
the third asks them second to fifth, after turns on other subjects. An on-topic answer is right when it contains the
command, setting or fact that any right answer must contain; a refusal when it says that it knows only shammah itself
and names the way out.
"""


if __name__ == "__main__":
    sys.exit(main())
