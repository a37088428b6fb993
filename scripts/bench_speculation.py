#!/usr/bin/env python3
"""Measure what drafts from the text itself are worth: answers that are known, replayed at the cost of a model's runs.

    scripts/bench_speculation.py --model FOLDER              # prints tables in Markdown
    scripts/bench_speculation.py --model FOLDER --quick      # three runs of each size, for a trial
    scripts/bench_speculation.py --model FOLDER --tokenizer FOLDER --llama 48.5

Random weights cannot edit a text. So the true result of each task is taken as what a model would say: a file of this
repository some commits later, asked for with the file as it was; a passage, quoted to a question about it; prose and
code of which the question holds nothing. Which drafts hold follows from the lookup; what a run over 1 to 17 rows costs
is measured on the model in FOLDER. The token loop's own Speculation and Pace decide, with the measured seconds.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Before the runtime is imported: it reports home otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai as og

from scripts import machine
from shammah.machine import usable_processors
from shammah.worker.generation import SLICE
from shammah.worker.speculation import MOST_ROWS, Pace, Speculation
from shammah.worker.text import Text

ROWS = (1, 2, 3, 4, 5, 7, 9, 13, 17)
PROMPT = 512
"""Tokens in the cache while a run is measured."""
BUSY = 0.5
EDITS = 8
QUOTES = 8
NEW = 3


@dataclass(frozen=True)
class Task:
    """What is asked, and what the answer is known to be."""

    kind: str
    name: str
    prompt: str
    answer: str


@dataclass
class Replay:
    """Answers that are known beforehand, told by a model whose runs take `cost[rows]` seconds."""

    cost: Mapping[int, float]
    pace: Pace = field(default_factory=Pace)
    rows: list[int] = field(default_factory=list)

    def tell(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """Seconds for the answer, its first token not counted."""
        said = Speculation(prompt, frozenset(), self.pace)
        said.add(answer[0])
        told, seconds = 1, 0.0
        while told < len(answer):
            draft = said.draft(MOST_ROWS - 1)
            rows = 1 + len(draft)
            seconds += self.cost[rows]
            self.pace.record(rows, self.cost[rows])
            self.rows.append(rows)
            for expected, token in zip([*draft, None], answer[told : told + rows], strict=False):
                said.add(token)
                told += 1
                if token != expected:
                    break
        return seconds


@dataclass(frozen=True)
class Figure:
    """One task: tokens of the answer, runs that they took, and seconds with drafts and without."""

    task: Task
    tokens: int
    runs: int
    seconds: float
    plain: float


def main() -> int:
    """Measure the runs, replay the tasks, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="a model that the worker can load")
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="where tokenizer.json is, if not in the model")
    parser.add_argument("--llama", type=float, metavar="N", help="tokens per second of llama.cpp with these weights")
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--quick", action="store_true", help="three runs of each size")
    given = parser.parse_args()
    load = machine.busy()
    if load > BUSY:
        print(f"The machine is at work (load {load:.1f}): take the figures for a trial run only.", file=sys.stderr)
    text = Text(given.tokenizer or given.model)
    cost = measured(given.model, given.threads, 3 if given.quick else 30)
    figures = [replayed(task, text, cost) for task in tasks()]
    print("\n".join(report(given.model.resolve().name, cost, figures, given.llama, load)))
    return 0


# The cost of a run


def measured(folder: Path, threads: int, rounds: int) -> dict[int, float]:
    """Median seconds of a run by its rows, with the copy of all logits; sizes between measured ones by a line."""
    ids = np.random.default_rng(1).integers(300, 3000, PROMPT + MOST_ROWS).astype(np.int32)
    generator = _generator(folder, threads)
    for at in range(0, PROMPT, SLICE):
        generator.append_tokens(ids[at : at + SLICE])
    taken: dict[int, list[float]] = {rows: [] for rows in ROWS}
    # One of each size in turn, so that whatever else the machine does falls on all alike; the first two warm up.
    for _ in range(rounds + 2):
        for rows in ROWS:
            generator.rewind_to(PROMPT)
            began = time.perf_counter()
            generator.append_tokens(ids[PROMPT : PROMPT + rows])
            _ = generator.get_logits() if rows == 1 else generator.get_output("logits")
            taken[rows].append(time.perf_counter() - began)
    medians = [statistics.median(taken[rows][2:]) for rows in ROWS]
    return {rows: float(np.interp(rows, ROWS, medians)) for rows in range(1, MOST_ROWS + 1)}


def _generator(folder: Path, threads: int) -> og.Generator:
    config = og.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=PROMPT + 2 * MOST_ROWS, do_sample=False)
    return og.Generator(model, parameters)


# What is asked


def tasks() -> Iterator[Task]:
    """Edits of this repository's files, quotes from its documents, and both told without being given."""
    yield from islice(edits(), EDITS)
    yield from islice(quotes(), QUOTES)
    yield from prose()
    yield from islice(code(), NEW)


def edits() -> Iterator[Task]:
    """Files of this repository and what they became one to three commits later."""
    for path in _git("ls-files", "shammah/*.py", "docs/*.md").split():
        commits = _git("log", "--format=%h", "-4", "--", path).split()
        if len(commits) < 2:
            continue
        new, old = commits[0], commits[-1]
        before, after = _git("show", f"{old}:{path}"), _git("show", f"{new}:{path}")
        changed = changed_share(before, after)
        if 0 < changed < 0.3 and 40 <= after.count("\n") <= 250:
            prompt = f"Here is {path}:\n```\n{before}```\nMake these changes and give me the whole file:\n"
            yield Task("edit", f"{path}, {changed:.0%} of the lines new", prompt + _wishes(before, after), after)


def changed_share(before: str, after: str) -> float:
    """The share of lines in `after` that are not as they were before."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return 1 - same / max(after.count("\n"), 1)


def _wishes(before: str, after: str) -> str:
    """The changes in words that hold few of the new tokens, as a person would say them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    places = [line for line in lines if line.startswith("@@")]
    return "\n".join(f"- the part at {place.split()[1]} needs the new behaviour" for place in places)


def quotes() -> Iterator[Task]:
    """Paragraphs of the documents, each asked for within the whole document."""
    for path in _git("ls-files", "README.md", "docs/*.md").split():
        document = (ROOT / path).read_text(encoding="utf-8")[:6000]
        for number, paragraph in enumerate(_paragraphs(document)[1:4], 2):
            question = f"\n\nWhat does it say about {' '.join(paragraph.split()[:4])}? Quote it, then say it shortly."
            words = "In short: that is what the text says here, and nothing in it speaks against it."
            yield Task("quote", f"{path}, paragraph {number}", document + question, f"> {paragraph}\n\n{words}")


def prose() -> Iterator[Task]:
    """Paragraphs as the answers to questions that hold none of their words."""
    for path in _git("ls-files", "README.md", "docs/*.md").split():
        answer = "\n\n".join(_paragraphs((ROOT / path).read_text(encoding="utf-8")))[:3000]
        if len(answer) > 500:
            yield Task("prose", path, "Tell me something that I do not know yet.", answer)


def code() -> Iterator[Task]:
    """Whole files, asked for by name alone."""
    for path in _git("ls-files", "shammah/*.py").split():
        answer = (ROOT / path).read_text(encoding="utf-8")
        if 60 <= answer.count("\n") <= 200:
            yield Task("new code", path, f"Write {path}.", answer)


def _paragraphs(document: str) -> list[str]:
    parts = re.split(r"\n\s*\n", document)
    return [part for part in parts if len(part) > 150 and part[0] not in "<|`#"]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8")


# The replay and its tables


def replayed(task: Task, text: Text, cost: Mapping[int, float]) -> Figure:
    """One answer by a worker that has just begun: what rows cost is found out on the way."""
    prompt, answer = text.encode(task.prompt), text.encode(task.answer)
    replay = Replay(cost)
    seconds = replay.tell(prompt, answer)
    return Figure(task, len(answer), 1 + len(replay.rows), seconds, cost[1] * (len(answer) - 1))


def report(
    name: str, cost: Mapping[int, float], figures: Sequence[Figure], llama: float | None, load: float
) -> list[str]:
    """Both tables, in Markdown."""
    lines = [f"## Drafts from the text itself, {name}", "", f"{machine.in_a_line()}; load before: {load:.1f}.", ""]
    lines += ["| rows | " + " | ".join(map(str, ROWS)) + " |", "|---" * (len(ROWS) + 1) + "|"]
    lines.append("| ms | " + " | ".join(f"{1e3 * cost[rows]:.1f}" for rows in ROWS) + " |")
    lines.append("| steps | " + " | ".join(f"{cost[rows] / cost[1]:.2f}" for rows in ROWS) + " |")
    lines += [
        "",
        "| task | tokens | tokens a run | plain tokens/s | with drafts | ratio | × llama.cpp |",
        "|---" * 7 + "|",
    ]
    lines += [_line(f"{figure.task.kind}: {figure.task.name}", [figure], llama) for figure in figures]
    for kind in dict.fromkeys(figure.task.kind for figure in figures):
        lines.append(_line(f"**all {kind}**", [figure for figure in figures if figure.task.kind == kind], llama))
    return lines


def _line(name: str, figures: Sequence[Figure], llama: float | None) -> str:
    tokens, runs = sum(figure.tokens for figure in figures), sum(figure.runs for figure in figures)
    steps = tokens - len(figures)  # The first token of an answer comes from the prompt's run.
    seconds, plain = sum(figure.seconds for figure in figures), sum(figure.plain for figure in figures)
    against = f"{steps / seconds / llama:.2f}" if llama else ""
    rates = f"{steps / plain:.1f} | {steps / seconds:.1f} | {plain / seconds:.2f}"
    return f"| {name} | {tokens:,} | {tokens / runs:.1f} | {rates} | {against} |"


if __name__ == "__main__":
    sys.exit(main())
