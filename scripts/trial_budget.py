#!/usr/bin/env python3
"""Promise 23, the budget: many chats at once, killed at times, never pass it by more than one request.

    python scripts/trial_budget.py                       # 40 rounds of 6 chats, then the real program until it stops
    python scripts/trial_budget.py --rounds 4 --programs 2 --json result.json

Each chat asks until it is told that the budget is reached. Some answers have no known price, and some chats are killed
between the question and the answer: both are taken at the most that they can have cost. Exit status 1 when the promise
is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SELF = Path(__file__).resolve()
ROOT = SELF.parent.parent
sys.path.insert(0, str(ROOT))

from scripts.promise import Reached, heed_signals, tell
from shammah.cloud.spending import Spending
from shammah.errors import CloudError

AIM = "sums right to 1e-9 dollars; never past the budget by more than one request"
BUDGET = 1.0
PROGRAMS_BUDGET = 0.09
CHATS = 6
"""At once."""
MOST = 0.07
"""Dollars: the most that one request of a chat here can cost."""
EXACT = 1e-9
KILLED = 9
MODEL = "claude-haiku-4-5"
USAGE = {"input_tokens": 10, "output_tokens": 4_000}
COST = 0.02001
"""Dollars for that, at 1 and 5 dollars per million tokens."""


@dataclass(frozen=True)
class Figures:
    """What the rounds showed; amounts in dollars."""

    rounds: int = 0
    requests: int = 0
    killed: int = 0
    past_by: float = 0.0
    one_request: float = MOST
    off_by: float = 0.0
    misjudged: int = 0

    @property
    def held(self) -> bool:
        """Whether the promise holds."""
        return self.past_by < self.one_request + EXACT and self.off_by <= EXACT and not self.misjudged

    def __str__(self) -> str:
        return (
            f"{self.rounds} budgets, {self.requests} requests, {self.killed} chats killed; at most {self.past_by:.4f} "
            f"past the budget where one request costs up to {self.one_request:.4f}, sums off by {self.off_by:.0e}, "
            f"{self.misjudged} judged wrongly at the end"
        )


def try_budget(folder: Path, rounds: int, seed: int = 0) -> Figures:
    """Let many chats spend one budget at once, again and again, each time in a new record in the folder."""
    chance, told = random.Random(seed), Figures()
    for number in range(rounds):
        spending = Spending(folder / f"round-{number}" / "spending.db")
        told = _joined(told, _round(spending, chance))
    return told


def _round(spending: Spending, chance: random.Random) -> Figures:
    """Chats that ask at once until they are stopped; the first is never killed."""
    command = [sys.executable, str(SELF), "--chat", str(spending.path)]
    seeds = [(str(chance.randrange(1 << 30)), "0" if number == 0 else "0.05") for number in range(CHATS)]
    started = [subprocess.Popen([*command, *seed], stdout=subprocess.PIPE, text=True) for seed in seeds]
    outputs = [process.communicate()[0].split() for process in started]
    faults = [process.returncode for process in started if process.returncode not in (0, KILLED)]
    assert not faults, f"chats ended with {faults}"
    costs = [float(word) for words in outputs for word in words if word != "refused"]
    counted = spending.today().counted_usd
    return Figures(
        rounds=1,
        requests=len(costs),
        killed=sum("refused" not in words for words in outputs),
        past_by=sum(costs) - BUDGET,
        off_by=abs(sum(costs) - counted),
        misjudged=int(_is_refused(spending) != (counted >= BUDGET)),
    )


def _is_refused(spending: Spending) -> bool:
    """Whether one more request is refused, now that nothing is under way."""
    try:
        spending.settle(spending.reserve("trial", MOST, BUDGET), 0.0, False)
    except CloudError:
        return True
    return False


def _joined(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.rounds + other.rounds,
        one.requests + other.requests,
        one.killed + other.killed,
        max(one.past_by, other.past_by),
        max(one.one_request, other.one_request),
        max(one.off_by, other.off_by),
        one.misjudged + other.misjudged,
    )


def chat(path: Path, seed: int, killed: float) -> None:
    """Ask until the budget is reached; print the most that each request can have cost, as it counts."""
    chance, spending = random.Random(seed), Spending(path)
    while True:
        most = chance.uniform(0, MOST)
        try:
            ticket = spending.reserve("trial", most, BUDGET)
        except CloudError as error:
            assert error.trouble == "budget", error
            print("refused", flush=True)
            return
        if chance.random() < killed:
            print(most, flush=True)
            os._exit(KILLED)  # Nothing is settled, nothing is closed.
        cost = chance.choice([chance.uniform(0, most), most, 0.0, None])
        spending.settle(ticket, cost, chance.random() < 0.5)
        print(most if cost is None else cost, flush=True)


def try_program(folder: Path, programs: int) -> Figures:
    """Let the real program ask a Claude that counts much, several at once, until every one is stopped."""
    from shammah.config import set_value  # Late, since none of it is for the many chats of the other part.
    from tests.servers.claude import Answer, Claude
    from tests.terminal import variables

    home = folder / "home"
    set_value(home / "config.toml", "cloud.daily_budget_usd", str(PROGRAMS_BUDGET))
    set_value(home / "config.toml", "cloud.model", MODEL)
    costs: list[float] = []
    with Claude(Answer(("Well.",), usage=USAGE), key="") as claude:
        environment = variables(home, ANTHROPIC_API_KEY="sk-ant-trial", ANTHROPIC_BASE_URL=claude.url)
        for _ in range(20):
            answers = [_answer(process) for process in _ask_at_once(programs, environment, folder)]
            costs += [cost for cost in answers if cost is not None]
            if None in answers:
                break
    counted = Spending(home / "spending.db").today()
    return Figures(
        rounds=1,
        requests=len(costs),
        past_by=sum(costs) - PROGRAMS_BUDGET,
        one_request=COST,
        off_by=max(abs(sum(costs) - counted.counted_usd), abs(sum(costs) - COST * len(costs))),
    )


def _ask_at_once(programs: int, environment: dict[str, str], folder: Path) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "shammah", "--cloud", "--json", "--no-log", "Are you there?"]
    return [
        subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(programs)
    ]


def _answer(process: subprocess.Popen[str]) -> float | None:
    """What the answer has cost; None where the budget stopped it."""
    answer, told = process.communicate()
    if process.returncode:
        assert "budget" in told, told
        return None
    return float(json.loads(answer)["cost_usd"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts, print a row, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="budgets spent by chats at once")
    parser.add_argument("--programs", type=int, default=3, help="real programs at once; 0 leaves them out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--chat", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.chat:
        path, seed, killed = given.chat
        chat(Path(path), int(seed), float(killed))
        return 0
    heed_signals()
    with tempfile.TemporaryDirectory(prefix="trial-budget-") as folder:
        parts = [try_budget(Path(folder), given.rounds, seed=given.seed)] if given.rounds else []
        parts += [try_program(Path(folder), given.programs)] if given.programs else []
    figure = "; the program: ".join(map(str, parts))
    return tell([Reached(23, figure, AIM, all(part.held for part in parts))], given.json)


if __name__ == "__main__":
    sys.exit(main())
