#!/usr/bin/env python3
"""Try to make the real chat, in a real terminal, break its promises 1, 2, 9, 11, 14, 17 and 18.

    python scripts/trial_chat.py                            # all of them at full length, about two hours
    python scripts/trial_chat.py --only 2 11 --count 20     # two of them, 20 times each
    python scripts/trial_chat.py --json figures.json        # the figures for docs/promises.md

Prints one line for each promise; exit status 1 where one was missed. POSIX only; needs the test extra.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil

from scripts.promise import Reached, heed_signals, tell
from shammah.errors import HistoryError
from shammah.models import catalog
from shammah.screen.keys import LEAVE_WITHIN
from shammah.screen.safe_text import safe_text
from tests.endless import endless_model
from tests.servers.hub import Cut, Drip, Fault, Hub, Pace, Route, Silence
from tests.terminal import (
    CTRL_C,
    CTRL_D,
    CTRL_U,
    CTRL_Z,
    PASTE_OFF,
    PASTE_ON,
    SHORT,
    Terminal,
    gone,
    left_as_it_was,
    terminal,
    turns,
)  # fmt: skip

CLEAR_LINE = "\x1b[2K"
MOST_MISSING_MS = 250.0
MOST_STOP_MS = 300.0
MOST_ECHO_MS = 100.0
MOST_NEXT_S = 5.0


@dataclass
class Room:
    """Where a trial takes place: folders of its own, a model that does not stop by itself, and chance."""

    folder: Path
    endless: Path
    chance: random.Random
    homes: int = 0

    def home(self) -> Path:
        """A new home; its text is shown as it comes, so that it can be compared with what is stored."""
        self.homes += 1
        home = self.folder / f"trial-{self.homes}" / "home"
        home.mkdir(mode=0o700, parents=True)
        (home / "config.toml").write_text("[chat]\nmarkdown = false\n[generation]\nmax_tokens = 4000\n")
        return home

    def talker(self, home: Path) -> Terminal:
        """A chat that is ready and whose answers do not end by themselves."""
        opened = Terminal(home, "-q", "-m", str(self.endless))
        opened.wait_ready("endless")
        return opened

    def long_file(self, home: Path) -> str:
        """A file with a text that no cache holds yet, nearly as long as the starter can read; returns its name."""
        words = [str(self.chance.randrange(10_000)) for _ in range(120)]
        (home.parent / "long.txt").write_text(" ".join(words))
        return "long.txt"


# Promise 1: SIGKILL of the whole chat at random times


@dataclass
class Asked:
    """A question, and where in the terminal's text its line was sent."""

    question: str
    start: int


def try_kills(room: Room, count: int) -> Reached:
    """Kill chats while questions are asked one after the other."""
    lost = unreadable = acknowledged = 0
    home, known = room.home(), set[str]()
    for number in range(count):
        if number % 20 == 0:  # Some kills fall on a new history, most on one that has been through others.
            home, known = room.home(), set()
        known |= (answered := _ask_until_killed(room, home, number))
        acknowledged += len(answered)
        try:
            lost += len(known - {question for question, *_ in turns(home)})
        except HistoryError:
            unreadable += 1
    return Reached(
        1,
        f"{count} kills, {acknowledged} questions acknowledged, {lost} lost, {unreadable} unreadable stores",
        "0 lost, 0 unreadable stores",
        lost == unreadable == 0,
    )


def _ask_until_killed(room: Room, home: Path, number: int) -> set[str]:
    """One chat that is killed at some moment; returns the questions that it showed any sign of answering."""
    asked: list[Asked] = []
    with terminal(home, "-q", *SHORT) as chat:
        chat.until(lambda: chat.at_prompt, "no prompt")
        end = time.monotonic() + room.chance.uniform(0, 2.5)
        while time.monotonic() < end:
            asked.append(Asked(f"question {number}-{len(asked)}", len(chat.raw)))
            chat.press(asked[-1].question + "\r")
            while time.monotonic() < end and not (PASTE_OFF in chat.raw[asked[-1].start :] and chat.at_prompt):
                chat.pump(0.002)
        chat.kill()
        ends = [*(later.start for later in asked[1:]), len(chat.raw)]
        return {one.question for one, end_ in zip(asked, ends, strict=True) if reply(chat.raw[one.start : end_])}


def reply(text: str) -> str:
    """What was shown in reply to a line: all after the terminal was made ready for an answer."""
    _, _, taken = text.partition(PASTE_OFF)
    return taken.partition(PASTE_ON)[2]


# Promise 2: SIGKILL of the chat while an answer streams


def try_streaming_kills(room: Room, count: int) -> Reached:
    """Kill chats in mid-answer and compare what was on the terminal with what is stored."""
    missing, streaming, wrong = [0.0], 0, 0
    for _ in range(count):
        home = room.home()
        with room.talker(home) as chat:
            at = chat.begin("tell me more", characters=1)
            chat.pump(room.chance.uniform(0, 1.2))
            killed = time.monotonic()
            chat.kill()
            if PASTE_OFF in chat.raw[at:]:  # The context was full before the kill came.
                continue
            shown = _timed(chat, at)
        [(_, answer, reason)] = turns(home)
        streaming += bool(shown)
        kept = safe_text(answer)
        text = "".join(character for character, _ in shown)
        wrong += reason != "interrupted" or text[: len(kept)] != kept[: len(text)]
        if len(kept) < len(text):
            missing.append(1000 * (killed - shown[len(kept)][1]))
    return Reached(
        2,
        f"{streaming} of {count} kills in mid-answer, at most {max(missing):.0f} ms of text missing, "
        f"{wrong} answers unlike what was shown",
        f"at most {MOST_MISSING_MS:.0f} ms",
        max(missing) <= MOST_MISSING_MS and not wrong,
    )


def _timed(chat: Terminal, at: int) -> list[tuple[str, float]]:
    """Each character of the answer that was shown, with the time it was seen."""
    characters, place = list[tuple[str, float]](), 0
    # Waiting lines come before the first piece, and each ends with this.
    at = max(at, chat.raw.rfind(CLEAR_LINE) + len(CLEAR_LINE))
    for seen, text in chat.chunks:
        fresh = text[max(at - place, 0) :]
        characters += [(character, seen) for character in fresh if character != "\r"]
        place += len(text)
    return characters


# Promise 9: keys while a model is on its way

EXPORT = ROOT / "tests" / "data" / "tiny_export"
SMALLEST = catalog.find("0.5b")
KEY = "ж"
"""A letter that nothing else on the screen has."""

ON_ITS_WAY: dict[str, dict[Route, list[Fault]]] = {
    "slow": {"cdn": [Pace(20_000)]},
    "cut every 64 KB": {"cdn": [Pace(200_000), Cut(65_536, reset=True)]},
    "a byte in 8 s": {"cdn": [Drip(8.0)]},
    "hanging": {"cdn": [Silence()]},
    "silent listing": {"info": [Silence()]},
    "prepared and loaded": {},
}


@contextlib.contextmanager
def hub(room: Room) -> Iterator[Hub]:
    """A hub with the smallest model of the family, in small."""
    folder = room.folder / f"hub-{room.homes}"
    shutil.copytree(EXPORT, folder / SMALLEST.repo)
    with Hub(folder) as running:
        yield running


def fetching(room: Room, running: Hub, *arguments: str) -> Terminal:
    """A chat that wants the smallest model and finds this hub; with arguments, another command that does."""
    home = room.home()
    with (home / "config.toml").open("a") as settings:
        settings.write('[local]\nsize = "0.5b"\n[routing]\nreserve_ram_gb = 0.0\n')
    return Terminal(home, *arguments, environment={"HF_ENDPOINT": running.url, "HF_HUB_OFFLINE": ""})


def try_keys(room: Room, count: int) -> Reached:
    """Type while a model is fetched over lines of every kind, prepared and loaded; time how long a letter takes."""
    times = {kind: list(_echoes(room, faults, count)) for kind, faults in ON_ITS_WAY.items()}
    every = [time for kind in times.values() for time in kind]
    most = _percentile(every, 0.99)
    return Reached(
        9,
        f"{len(every)} keys typed while a model is on its way, shown after p50 {statistics.median(every):.0f} ms, "
        f"p99 {most:.0f} ms ({', '.join(f'{kind} {_percentile(found, 0.99):.0f}' for kind, found in times.items())})",
        f"keys shown in at most {MOST_ECHO_MS:.0f} ms (p99) throughout",
        most <= MOST_ECHO_MS,
    )


def _echoes(room: Room, faults: dict[Route, list[Fault]], count: int) -> Iterator[float]:
    with hub(room) as running:
        running.faults.update(faults)
        with fetching(room, running, "-q") as chat:
            chat.until(lambda: chat.at_prompt and bool(running.asked), "nothing is fetched")
            for number in range(count):
                if number % 40 == 0:
                    chat.press(CTRL_U)
                    chat.until(lambda: KEY not in chat.line, "the line cannot be cleared")
                chat.pump(room.chance.uniform(0, 0.1))
                yield _echo(chat, number % 40 + 1)


def _echo(chat: Terminal, letters: int) -> float:
    """Press a key; returns the milliseconds until the line shows so many of its letter."""
    start = time.monotonic()
    chat.press(KEY)
    while chat.line.count(KEY) < letters:
        chat.pump(0.001)
        assert time.monotonic() < start + 30, f"no letter; the screen:\n{chat.display}"
    return 1000 * (chat.chunks[-1][0] - start)


# Promise 11: Ctrl-C at random times


def try_stops(room: Room, count: int) -> Reached:
    """Press Ctrl-C while a model loads, reads, answers and is fetched; time how long the prompt takes."""
    each = max(count // 5, 1)
    times = {
        "load": [_stop_load(room) for _ in range(each)],
        "prefill": list(_stop_answers(room, each, reading=True)),
        "decode": list(_stop_answers(room, each, reading=False)),
        "answer during a download": list(_stop_while_fetching(room, each)),
        "models pull": [_stop_pull(room, number) for number in range(max(count - 4 * each, 1))],
    }
    every = [time for kind in times.values() for time in kind]
    middle, most, lost = statistics.median(every), _percentile(every, 0.99), every.count(math.inf)
    return Reached(
        11,
        f"{len(every)} stops, prompt back after p50 {middle:.0f} ms, p99 {most:.0f} ms "
        f"({', '.join(f'{kind} {_percentile(found, 0.99):.0f}' for kind, found in times.items())}), "
        f"{lost} chats ended by it",
        f"p99 at most {MOST_STOP_MS:.0f} ms, no chat ended",
        most <= MOST_STOP_MS and not lost,
    )


def _stop_load(room: Room) -> float:
    with terminal(room.home(), "-q", *SHORT) as chat:
        chat.until(lambda: chat.at_prompt, "no prompt")
        chat.enter("too early?")
        chat.pump(room.chance.uniform(0, 0.3))
        return _stop(chat)


def _stop_answers(room: Room, count: int, *, reading: bool) -> Iterator[float]:
    home = room.home()
    with room.talker(home) as chat:
        for _ in range(count):
            chat.ask("/new")
            if reading:
                chat.ask(f"/file {room.long_file(home)}")
                chat.send("what is it about?")
            else:
                chat.begin("tell me more", characters=1)
            chat.pump(room.chance.uniform(0, 0.15 if reading else 0.5))
            yield _stop(chat)
            if chat.ended:
                return


def _stop_while_fetching(room: Room, count: int) -> Iterator[float]:
    """The starter answers, while a larger model is fetched over a bad line."""
    with hub(room) as running:
        running.faults["cdn"] = [Pace(20_000)]
        with fetching(room, running, "-q", "--temperature", "2") as chat:
            chat.wait_for("MB ·")
            stopped = 0
            while stopped < count:
                chat.ask("/new")
                chat.send("tell me more")
                chat.pump(room.chance.uniform(0, 0.1))
                if chat.at_prompt:  # The starter was done before.
                    continue
                stopped += 1
                yield _stop(chat)
                if chat.ended:
                    return
                if "again leaves" in chat.display:  # It was done just then, and the next one would leave the chat.
                    chat.pump(LEAVE_WITHIN)


def _stop_pull(room: Room, number: int) -> float:
    """`models pull` over a line that is slow or hangs, in turn; what it started must end with it."""
    kind: Fault = Silence() if number % 2 else Pace(20_000)
    route: Route = "info" if number % 4 == 3 else "cdn"
    with hub(room) as running:
        running.faults[route] = [kind]
        with fetching(room, running, "models", "pull", "0.5b") as pulling:
            pulling.until(lambda: bool(running.asked), "nothing is asked of the hub")
            pulling.pump(room.chance.uniform(0, 0.5))
            started = psutil.Process(pulling.pid).children(recursive=True)
            start = time.monotonic()
            pulling.press(CTRL_C)
            pulling.until(lambda: pulling.ended, "it does not stop")
            seconds = time.monotonic() - start
            assert gone(started), "a loader runs on"
            return 1000 * seconds


def _stop(chat: Terminal) -> float:
    """Press Ctrl-C; returns the milliseconds until the prompt is back, infinity where the chat ends instead."""
    start = time.monotonic()
    chat.press(CTRL_C)
    while not chat.at_prompt:
        chat.pump(0.001)
        if chat.ended:
            print(f"  the chat ended with status {chat.wait_end()}; its last screen:\n{chat.display}", file=sys.stderr)
            return math.inf
        assert time.monotonic() < start + 30, f"no prompt; the screen:\n{chat.display}"
    return 1000 * (time.monotonic() - start)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


# Promise 14: the worker dies or hangs

FAULTS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
MOMENTS = ("idle", "prefill", "decode")


@dataclass
class Deaths:
    """What the deaths of workers have cost."""

    alive: int = 0
    unkept: int = 0
    next_s: list[float] = field(default_factory=lambda: [0.0])
    told_s: list[float] = field(default_factory=lambda: [0.0])


def try_worker_deaths(room: Room, count: int) -> Reached:
    """Harm the worker at random points; then the chat must live, keep the part, and answer the next question."""
    deaths = Deaths()
    for number in range(count):
        fault, moment = FAULTS[number % 3], MOMENTS[number // 3 % 3]
        try:
            _harm_worker(room, fault, moment, deaths)
        except AssertionError as error:  # Nothing more came from the chat.
            print(f"  {fault.name} while {moment}: {error}", file=sys.stderr)
    slowest = max(deaths.next_s)
    return Reached(
        14,
        f"chat alive {deaths.alive} of {count}, {deaths.unkept} partial answers not kept, told after at most "
        f"{max(deaths.told_s):.1f} s, next answer after at most {slowest:.1f} s",
        f"all alive, all kept, next answer in at most {MOST_NEXT_S:.0f} s",
        deaths.alive == count and not deaths.unkept and slowest <= MOST_NEXT_S,
    )


def _harm_worker(room: Room, fault: int, moment: str, deaths: Deaths) -> None:
    home = room.home()
    with room.talker(home) as chat:
        worker = chat.answering_worker()
        start = _bring_to(chat, room, home, moment)
        chat.pump(room.chance.uniform(0, 0.4))
        shown = reply(chat.raw[start:]) if moment == "decode" else ""
        os.kill(worker, fault)
        harmed = time.monotonic()
        if moment == "idle":
            start = chat.enter("are you there?")
        # A question asked of a worker that is dead already may be answered by the next one, without an end.
        chat.until(lambda: chat.at_prompt or (moment == "idle" and len(reply(chat.raw[start:])) > 400), "it hangs")
        deaths.told_s.append(time.monotonic() - harmed)
        if not chat.at_prompt:
            _stop(chat)
        deaths.unkept += bool(shown) and not turns(home)[-1][1]
        asked = time.monotonic()
        chat.begin("and now?", characters=1)
        deaths.next_s.append(time.monotonic() - asked)
        deaths.alive += not chat.ended


def _bring_to(chat: Terminal, room: Room, home: Path, moment: str) -> int:
    """Bring a chat to the moment; returns the place of the text where it began."""
    if moment == "idle":
        return len(chat.raw)
    if moment == "decode":
        start = len(chat.raw)
        chat.begin("tell me more", characters=1)
        return start
    chat.ask(f"/file {room.long_file(home)}")
    start = len(chat.raw)
    chat.send("what is it about?")
    return start


# Promise 17: every way of ending, in every state

STATES = ("loading", "prompt", "typing", "reading", "answering")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP")
OTHER_WAYS = ("exception", "end of input", "hang-up")
FAULTY = """
import sys
from shammah.cli import run
from shammah.screen import asking, reports

def fail(*_, **__):
    raise ZeroDivisionError("made up")

if sys.argv[1] == "answering":
    asking.show_answer = lambda events, **rest: (next(events), next(events), fail())
else:
    reports.status = fail
sys.exit(run(sys.argv[2:]))
"""


def try_endings(room: Room, count: int) -> Reached:
    """End chats in every way and state; `count` rounds."""
    wrong: Counter[str] = Counter()
    ended = 0
    for _ in range(count):
        for state in STATES:
            for way in (*SIGNALS, *OTHER_WAYS):
                ended += 1
                try:
                    trouble = _end(room, state, way)
                except AssertionError as error:
                    trouble = str(error)
                wrong[f"{way} while {state}: {trouble}"] += bool(trouble)
    for what, times in (+wrong).items():
        print(f"  {times} × {what}", file=sys.stderr)
    return Reached(
        17,
        f"{ended} endings, {wrong.total()} left the terminal changed or a worker running",
        "0",
        not wrong.total(),
    )


def _end(room: Room, state: str, way: str) -> str:
    """End a chat so; returns what is wrong then."""
    home = room.home()
    with _in_state(room, home, state, faulty=way == "exception") as chat:
        workers = chat.workers()
        if way == "hang-up":
            chat.hang_up()
            chat.until(lambda: not chat.child.isalive(), "it goes on without a terminal")
            return "" if gone(workers) else "a worker runs"
        if way == "SIGTSTP" and (trouble := _suspended(chat)):
            return trouble
        _leave(chat, state, way)
        chat.wait_end()
        return ("" if left_as_it_was(chat) else "the terminal is changed") or ("" if gone(workers) else "a worker runs")


def _in_state(room: Room, home: Path, state: str, *, faulty: bool) -> Terminal:
    command = (sys.executable, "-c", FAULTY, state) if faulty else (sys.executable, "-m", "shammah")
    endless = ("-m", str(room.endless)) if state in ("reading", "answering") else ()
    chat = Terminal(home, "-q", *endless, command=command)
    if state == "loading":
        chat.until(lambda: chat.at_prompt, "no prompt")
        return chat
    chat.wait_ready("endless" if endless else "starter")
    if faulty:
        return chat
    if state == "typing":
        chat.press("half a thought")
        chat.wait_for("half a thought")
    elif endless:
        _bring_to(chat, room, home, "prefill" if state == "reading" else "decode")
    return chat


def _suspended(chat: Terminal) -> str:
    """Suspend a chat and let it go on; returns what is wrong."""
    chat.press(CTRL_Z)
    process = psutil.Process(chat.pid)
    chat.until(lambda: process.status() == psutil.STATUS_STOPPED, "it does not stop")
    if not left_as_it_was(chat):
        return "the terminal is changed while it is suspended"
    chat.signal(signal.SIGCONT)
    chat.pump(0.3)
    return ""


def _leave(chat: Terminal, state: str, way: str) -> None:
    if way == "exception":
        chat.press("tell me more\r" if state == "answering" else "/status\r")
    elif way in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        chat.signal(getattr(signal, way))
    else:
        if way == "SIGINT":
            chat.signal(signal.SIGINT)
            chat.pump(0.3)
        if state in ("reading", "answering"):
            if way != "SIGINT":
                chat.press(CTRL_C)
            chat.until(lambda: chat.at_prompt, "no prompt")
        chat.press("\x15" + CTRL_D)


# Promise 18: pastes

HOSTILE = (
    "one\ntwo\r\nthree\rfour\n",
    "harmless\x1b[201~\rrm -rf /\r",
    "\x1b[201~\r",
    "\x1b[201~\r" * 50,
    "\x1b[201~\x1b[200~\x1b[201~/exit\r",
    "/exit\r",
    "!touch pasted\r",
    "a\0b\0\r",
    "\x03\x04\x1a\x1c\r",
    "\x1b\r\x1b\x1b\r",
    "\x1b[A\r\x1bOM\x1b[13~",
    "\x1b[200~\x1b[200~\r",
    "\x1b]52;c;cm0gLXJmIH4=\x07\r",
    "\r" * 5_000,
    "0123456789 abcdef\n" * 57_000,
    "0123456789 abcdef\n" * 57_000 + "\x1b[201~\r/exit\r",
)
PARTS = (
    "text ",
    "\r",
    "\n",
    "\x1b[201~",
    "\x1b[200~",
    "\x1b",
    "\0",
    "\x03",
    "\x04",
    "\x1a",
    "/exit\r",
    "ß漢🙂",
    "\x9b",
    "x" * 700,
)


def try_pastes(room: Room, count: int) -> Reached:
    """Paste hostile texts and `count` made-up ones; none may be sent."""
    made_up = ["".join(room.chance.choices(PARTS, k=room.chance.randint(1, 30))) for _ in range(count)]
    home, sent = room.home(), 0
    chat = _ready(home)
    for text in (*HOSTILE, *made_up):
        start = len(chat.raw)
        chat.paste(text)
        _quiet(chat)
        if chat.ended or PASTE_OFF in chat.raw[start:]:
            sent += 1
            print(f"  sent: {text[:80]!r}", file=sys.stderr)
            chat.close()
            chat = _ready(home)
        chat.clear()
    chat.close()
    sent += len(turns(home)) + (home.parent / "pasted").exists()
    tried = len(HOSTILE) + count
    return Reached(18, f"{tried} pastes up to 1 MB, {sent} sent", "0 sent", not sent)


def _ready(home: Path) -> Terminal:
    chat = Terminal(home, "-q")
    chat.wait_ready()
    return chat


def _quiet(chat: Terminal) -> None:
    """Wait until the program has nothing more to write."""
    while True:
        length = len(chat.raw)
        chat.pump(0.4)
        if len(chat.raw) == length or chat.ended:
            return


TRIALS: dict[int, tuple[Callable[[Room, int], Reached], int]] = {
    1: (try_kills, 1_000),
    2: (try_streaming_kills, 500),
    9: (try_keys, 200),
    11: (try_stops, 200),
    14: (try_worker_deaths, 100),
    17: (try_endings, 3),
    18: (try_pastes, 200),
}
"""Each promise with its trial and the count at full length."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", choices=TRIALS, help="these promises")
    parser.add_argument("--count", type=int, help="how often, instead of the full length")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    chosen = parser.parse_args()
    heed_signals()
    with tempfile.TemporaryDirectory(prefix="trial-chat-") as folder:
        return tell(_trials(Path(folder), chosen), chosen.json)


def _trials(folder: Path, chosen: argparse.Namespace) -> Iterator[Reached]:
    endless = endless_model(folder / "endless")
    for promise in chosen.only or TRIALS:
        trial, count = TRIALS[promise]
        room = Room(folder / str(promise), endless, random.Random(chosen.seed))
        yield trial(room, min(chosen.count or count, count))


if __name__ == "__main__":
    sys.exit(main())
