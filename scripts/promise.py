"""A promise of the program, and the figure that a trial reached for it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

WHAT = {
    1: "a message shown survives kill -9",
    2: "a half-streamed answer survives, marked interrupted",
    3: "a full disk never loses old data and is said in the same turn",
    4: "several chats at once share one history",
    5: "a config save is all or nothing; a broken config is kept and explained",
    6: "kill -9 in a download costs next to nothing",
    7: "bad links finish",
    8: "corruption never reaches the runtime",
    9: "no endless wait; keys always answer",
    10: "each failure says what is true and what to do",
    11: "stop means stop",
    12: "the disk and the memory are checked first",
    13: "a hostile hub cannot write outside or fill the disk",
    14: "a dead worker does not matter",
    15: "hostile models and tokenizers are contained",
    16: "no text from outside can control the terminal",
    17: "the terminal is left as it was",
    18: "a paste is text",
    19: "every fault of a cloud stream is seen",
    20: "waiting is bounded and can be stopped",
    21: "local mode sends nothing",
    22: "secrets stay secret",
    23: "cost is right and the budget holds",
    24: "no slow leak",
    25: "it works offline and starts as fast",
}


@dataclass(frozen=True)
class Reached:
    """What a trial reached for one promise, beside what was aimed at."""

    number: int
    figure: str
    aim: str
    held: bool

    def __str__(self) -> str:
        return f"{'kept  ' if self.held else 'MISSED'}  promise {self.number}: {self.figure}"


def write(path: Path | None, results: Iterable[Reached], *, more: bool = False) -> None:
    """Write results where `scripts/promises` reads them; without a path, nowhere. `more` are still to come."""
    if path is not None:
        rows = [{"what": WHAT[result.number], **asdict(result)} for result in results]
        path.write_text(json.dumps({"promises": rows, "more": more}, indent=1) + "\n", encoding="utf-8")


def tell(results: Iterable[Reached], path: Path | None) -> int:
    """Print each result as it comes, write what there is until then, and return the trial's exit status."""
    told: list[Reached] = []
    for result in results:
        told.append(result)
        print(result, flush=True)
        write(path, told, more=True)
    write(path, told)
    return int(not all(result.held for result in told))


def read(path: Path) -> tuple[list[Reached], bool]:
    """What was written, and whether that is all."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content["promises"]
    found = [Reached(int(row["number"]), str(row["figure"]), str(row["aim"]), row["held"] is True) for row in rows]
    return found, not content["more"]


def heed_signals() -> None:
    """Take every signal again: what was started with nohup or in the background hands ignored ones on to the chats."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
