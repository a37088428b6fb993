"""Promises 19, 20 and 23 at full length, against a Claude on loopback; exits 1 when one is broken.

python scripts/trial_cloud.py --cuts 50 --stops 200 --usages 1000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.promise import Reached, heed_signals, tell
from scripts.trial_budget import try_budget
from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.exchange import Patience
from shammah.cloud.prices import PRICES
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.errors import CloudError
from shammah.message import Event, Finish, Message, Options, Piece, Spent, Waiting
from tests.servers.claude import HOWS, KEY, MODEL, PIECES, Answer, Claude, Cut, How, Play, Silence, Status, events_of

AIM_19 = "700 of 700 marked, 0 false complete"
AIM_20 = "at most 30 s in all, countdown, Ctrl-C within 300 ms, no retry at a spend limit"
AIM_23 = "to 1e-9 dollars; estimates marked; never past the budget by more than one request"

AFTER_S = (0, 1, 2, 5, 10, 20, 29, 31, 60, 600, 3600, 86_400)
QUESTION = [Message("user", "Tell me everything")]
AT_ONCE = Patience(silence_s=0.5, retrying_s=0.0)
STORM = tuple(Status(529, headers=headers) for headers in ({}, {"retry-after": "9"}, {"retry-after": "15"}))


def main() -> int:
    """Run the trials, print a row for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=50, help="places of the stream for each fault")
    parser.add_argument("--stops", type=int, default=200, help="answers that are stopped at a random time")
    parser.add_argument("--usages", type=int, default=1000, help="answers whose cost is computed anew")
    parser.add_argument("--short", action="store_true", help="leave out the waits of more than 3 s")
    parser.add_argument("--only", type=int, nargs="+", choices=(19, 20, 23), help="these promises")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    heed_signals()
    chance = random.Random(given.seed)
    trials: dict[int, Callable[[], Reached]] = {
        19: lambda: faults(given.cuts),
        20: lambda: waits([after for after in AFTER_S if not given.short or not 3 < after < 30], given.stops, chance),
        23: lambda: costs(given.usages, chance),
    }
    return tell((trial() for number, trial in trials.items() if not given.only or number in given.only), given.json)


@dataclass(frozen=True)
class Ended:
    """How one answer went: its text, its finish or error, and the seconds it took."""

    text: str
    finish: Finish | None
    error: CloudError | None
    seconds: float
    counted_down: bool = False

    @property
    def marked(self) -> bool:
        """Whether it is told that the answer is none, or not whole."""
        failed = self.finish is not None and self.finish.reason == "failed" and bool(self.finish.error)
        return failed or (self.error is not None and bool(self.error.hint))


@contextmanager
def asking(play: Play, patience: Patience | None = None) -> Iterator[tuple[Claude, Cloud]]:
    """A Claude that plays this, and the chat's side of it."""
    with tempfile.TemporaryDirectory() as folder, Claude(play) as claude:
        plan = CloudPlan(Path(folder), KEY, claude.url, Spending(Path(folder) / "spending.db"), patience or Patience())
        cloud = Cloud(plan)
        cloud.want(Settings(), "cloud")
        try:
            yield claude, cloud
        finally:
            cloud.close()


def events(cloud: Cloud) -> Generator[Event]:
    """What comes of one question."""
    assert cloud.engine is not None
    return cloud.engine.reply(QUESTION, Options())


def ask(cloud: Cloud) -> Ended:
    """Ask one question to its end."""
    began, text, counted = time.monotonic(), "", False
    try:
        for event in events(cloud):
            if isinstance(event, Piece):
                text += event.text
            elif isinstance(event, Waiting):
                counted |= event.what == "retrying"
            elif isinstance(event, Finish):
                return Ended(text, event, None, time.monotonic() - began, counted)
    except CloudError as error:
        return Ended(text, None, error, time.monotonic() - began, counted)
    raise AssertionError("an answer without an end")


# Promise 19


def faults(cuts: int) -> Reached:
    """Harm the stream in every way at places all along it; then send it whole in pieces of every size."""
    found = Counter(marked=0, false_complete=0, wrong_text=0)
    whole = "".join(PIECES)
    with asking(Answer(), AT_ONCE) as (claude, cloud):
        for how in HOWS:
            for after in _places(how, cuts):
                claude.faults = [Cut(after, how)]
                ended = ask(cloud)
                found["marked" if ended.marked else "false_complete"] += 1
                found["wrong_text"] += not whole.startswith(ended.text)
        harmless = 0
        for size in range(1, cuts + 1):
            claude.faults = [Answer(at_a_time=size)]
            ended = ask(cloud)
            harmless += ended.text == whole and ended.finish is not None and ended.finish.reason == "stop"
    tried = len(HOWS) * cuts
    figure = (
        f"{len(HOWS)} faults at {cuts} places: {found['marked']} of {tried} marked, {found['false_complete']} false "
        f"complete, {found['wrong_text']} with other text; {harmless} of {cuts} harmless streams complete"
    )
    return Reached(19, figure, AIM_19, found == Counter(marked=tried) and harmless == cuts)


def _places(how: How, count: int) -> list[int]:
    """Places in bytes from the first to the last at which there is something to harm."""
    whole = events_of(Answer(), {"model": MODEL, "max_tokens": 4096})
    cuts_bytes = HOWS.index(how) < HOWS.index("overloaded")
    # A wrong event after the last part of the text could be taken for the right one.
    last = sum(map(len, whole[:-1] if cuts_bytes else whole[:-3]))
    return [round(place * last / max(count - 1, 1)) for place in range(count)]


# Promise 20


def waits(after_s: Sequence[int], stops: int, chance: random.Random) -> Reached:
    """Answer with every wait, storms and a spend limit; stop answers at random times."""
    plays = [*(Status(429, headers={"retry-after": str(after)}) for after in after_s), *STORM]
    with ThreadPoolExecutor(len(plays)) as pool:
        rows = list(pool.map(_wait, plays))
    silent = _wait(Silence())
    longest = max(row.ended.seconds for row in rows)
    untold = sum(not row.ended.marked for row in [*rows, silent])
    # Where it may be asked again at once, there is nothing to count down.
    at_once = [play.headers.get("retry-after") == "0" for play in plays]
    uncounted = sum(
        row.tries > 1 and not row.ended.counted_down for row, now in zip(rows, at_once, strict=True) if not now
    )
    spend_limit = _wait(Status(429, error_code="enforced_spend_limit_reached")).tries
    stopped = sorted(_stop(chance, number) for number in range(stops))
    p99 = stopped[int(0.99 * (stops - 1))]
    figure = (
        f"{len(rows)} waits with retry-after up to {max(after_s)} s and 529 storms: longest {longest:.1f} s, "
        f"{uncounted} without a countdown, {untold} untold; silence told after {silent.ended.seconds:.1f} s; "
        f"{spend_limit} request at a spend limit; "
        f"{stops} stops, p99 {p99 * 1000:.0f} ms, longest {stopped[-1] * 1000:.0f} ms"
    )
    held = longest <= 31 and not uncounted and not untold and spend_limit == 1 and p99 <= 0.3
    return Reached(20, figure, AIM_20, held and silent.ended.seconds < 33)


@dataclass(frozen=True)
class Waited:
    """How one question ended, and how often it was asked."""

    ended: Ended
    tries: int


def _wait(play: Play) -> Waited:
    with asking(play) as (claude, cloud):
        return Waited(ask(cloud), len(claude.questions))


def _stop(chance: random.Random, number: int) -> float:
    """Stop one answer at a random time; returns the seconds from wanting to stop until the caller is free.

    The caller looks for Ctrl-C between two events, so the wait for the next one counts too.
    """
    play: Play = (
        Answer(["word "] * 500, delay_s=0.005),
        Silence(),
        Status(529, headers={"retry-after": "20"}),
        Cut(2000, "stall"),
    )[number % 4]
    with asking(play) as (_, cloud):
        answer = events(cloud)
        wanted = time.monotonic() + chance.uniform(0.0, 1.0)
        for _ in answer:
            if time.monotonic() >= wanted:
                break
        answer.close()
        return time.monotonic() - wanted


# Promise 23


def costs(usages: int, chance: random.Random) -> Reached:
    """Compare costs with exact arithmetic, interrupt answers, ask a model of unknown price, and spend a budget."""
    worst = Fraction(0)
    with asking(Answer()) as (claude, cloud):
        for _ in range(usages):
            worst = max(worst, _error(claude, cloud, chance))
        cloud.want(Settings(model="claude-of-the-future", daily_budget_usd=0.0), "cloud")
        unknown = ask(cloud).finish
    interruptions = max(usages // 20, 1)
    marked = sum(_interrupted(chance) for _ in range(interruptions))
    with tempfile.TemporaryDirectory() as folder:
        budgets = try_budget(Path(folder), max(usages // 25, 1))
    figure = (
        f"{usages} usages of {len(PRICES)} models, largest error {float(worst):.1e} dollars; "
        f"{marked} of {interruptions} interrupted answers marked as estimates; "
        f"unknown model {_dollars(unknown)}; {budgets}"
    )
    known = unknown is None or unknown.spent.cost_usd is not None
    held = worst <= Fraction(1, 10**9) and marked == interruptions and not known and budgets.held
    return Reached(23, figure, AIM_23, held)


def _error(claude: Claude, cloud: Cloud, chance: random.Random) -> Fraction:
    """The difference between what one answer is said to cost and what it costs."""
    model = chance.choice(sorted(PRICES))
    price = PRICES[model]
    # Longer prompts have a price of their own with one model, which has tests of its own.
    fresh, written, read, said = (chance.randrange(30_000) for _ in range(4))
    hour = chance.randrange(written + 1)
    claude.answer = Answer(
        usage={
            "input_tokens": fresh,
            "cache_creation_input_tokens": written,
            "cache_creation": {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": written - hour},
            "cache_read_input_tokens": read,
            "output_tokens": said,
        }
    )
    cloud.want(Settings(model=model, daily_budget_usd=0.0), "cloud")
    finish = ask(cloud).finish
    whole = (fresh + Fraction(5, 4) * (written - hour) + 2 * hour) * Fraction(str(price.input))
    whole += read * Fraction(str(price.cache_read)) + said * Fraction(str(price.output))
    told = finish.spent.cost_usd if finish else None
    return abs(Fraction(told) - whole / 1_000_000) if told is not None else Fraction(1)


def _interrupted(chance: random.Random) -> bool:
    """Whether an answer that is stopped is marked as estimated, and costs about what came of it."""
    with asking(Answer(["word"] * 300, delay_s=0.001, usage={"input_tokens": 1000})) as (_, cloud):
        answer, last, pieces = events(cloud), Spent(), 0
        wanted = chance.randrange(1, 200)
        for event in answer:
            last = event if isinstance(event, Spent) else last
            pieces += isinstance(event, Piece)
            if pieces >= wanted:
                break
        answer.close()
    exact = (1000 * 2 + pieces * 10) / 1e6
    return last.estimated and last.cost_usd is not None and abs(last.cost_usd - exact) <= 0.1 * exact


def _dollars(finish: Finish | None) -> str:
    if finish is None:
        return "without an answer"
    return "at an unknown cost" if finish.spent.cost_usd is None else f"at {finish.spent.cost_usd:.4f} dollars"


if __name__ == "__main__":
    sys.exit(main())
