"""What drafts from the text itself are worth: answers that are known, replayed at the cost of a model's runs.

Random weights cannot edit a text. So the true result of each task is taken as what a model would say: a file of this
repository some commits later, asked for with the file as it was; a passage, quoted to a question about it; prose and
code of which the question holds nothing. Which drafts hold follows from the lookup; what a run over 1 to 17 rows costs
is measured on the model. The token loop's own Speculation and Pace decide, with the measured seconds.
"""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.compare_models import LLAMA, PROMPT, Peer, measured, reader
from scripts.sections import Row, Section
from shammah.environment import worker_environment
from shammah.machine import usable_processors
from shammah.worker.speculation import MOST_ROWS, Pace, Speculation
from shammah.worker.text import Text

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

    @property
    def gain(self) -> float:
        """How many times the plain loop's tokens per second."""
        return self.plain / self.seconds


def drafts(folder: Path, peer: Peer | None, rounds: int) -> Section:
    """Replay the tasks at the cost of the prepared model in `folder`; llama.cpp's plain loop in the same run."""
    script = str(ROOT / "scripts" / "measure_rows.py")
    command = [sys.executable, script, str(folder), str(usable_processors()), str(PROMPT)]
    taken: list[Mapping[int, float]] = []
    plain: list[float] = []
    for _ in range(rounds):  # In turn, so that whatever else the machine does falls on both alike.
        taken.append(_cost(command))
        if peer:
            plain.append(measured(reader(peer), 1).decode)
    cost = {rows: median(one[rows] for one in taken) for rows in taken[0]}
    text = Text(folder)
    figures = [replayed(task, text, cost) for task in tasks()]
    how = (
        f"A run over so many rows is the median of {rounds} fresh processes, {usable_processors()} threads, "
        f"{PROMPT} tokens in the cache; answers that are known are replayed with these, and what is drafted follows "
        "from the lookup and the seconds, as in the chat; what looking up takes is counted."
    )
    rows = [*_costs(cost), *_rows(figures, median(plain) if plain else None)]
    return Section(f"{folder.name}: drafts from the text itself", how, rows)


def _cost(command: Sequence[str]) -> Mapping[int, float]:
    done = subprocess.run(command, cwd=ROOT, env=worker_environment(), stdout=subprocess.PIPE, check=True, text=True)
    seconds = json.loads(done.stdout.strip().splitlines()[-1])
    return {int(rows): each for rows, each in seconds.items()}


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


# The replay and its table


def replayed(task: Task, text: Text, cost: Mapping[int, float]) -> Figure:
    """One answer by a worker that has just begun: what rows cost is found out on the way."""
    prompt, answer = text.encode(task.prompt), text.encode(task.answer)
    replay = Replay(cost)
    began = time.perf_counter()
    seconds = replay.tell(prompt, answer)
    looked_up = time.perf_counter() - began
    return Figure(task, len(answer), 1 + len(replay.rows), seconds + looked_up, cost[1] * (len(answer) - 1))


def _costs(cost: Mapping[int, float]) -> Iterator[Row]:
    shown = [1, 2, 3, 5, 9, MOST_ROWS]
    times = ", ".join(f"{rows}: {1e3 * cost[rows]:.1f} ms ({cost[rows] / cost[1]:.2f} ×)" for rows in shown)
    yield Row("a run over so many rows", times)


def _rows(figures: Sequence[Figure], llama: float | None) -> Iterator[Row]:
    """What each kind of task came to, and the task of each that gained least."""
    if llama:
        yield Row(f"{LLAMA}, plain", f"{llama:.1f} tokens/s")
    for kind in dict.fromkeys(figure.task.kind for figure in figures):
        these = [figure for figure in figures if figure.task.kind == kind]
        yield Row(f"{kind}, {len(these)} tasks", *_figure(kind, _together(these), llama))
        least = min(these, key=lambda figure: figure.gain)
        yield Row(f"{kind}, least: {least.task.name}", *_figure("", least, llama))


def _figure(kind: str, one: Figure, llama: float | None) -> tuple[str, str, bool | None]:
    speed = (one.tokens - 1) / one.seconds
    rate = f"{(one.tokens - 1) / one.plain:.1f} → {speed:.1f} tokens/s, {one.gain:.2f} ×"
    told = f"{rate}, {one.tokens / one.runs:.1f} tokens a run" + (f", {speed / llama:.2f} × llama.cpp" if llama else "")
    if kind == "edit" and llama:
        return told, "at least 2 × llama.cpp", speed >= 2 * llama
    return told, "at least 0.97 ×", one.gain >= 0.97


def _together(figures: Sequence[Figure]) -> Figure:
    """Several answers as one; the first token of each comes from its prompt's run."""
    tokens = sum(figure.tokens - 1 for figure in figures) + 1
    runs, seconds, plain = (sum(getattr(one, name) for one in figures) for name in ("runs", "seconds", "plain"))
    return Figure(figures[0].task, tokens, runs, seconds, plain)
