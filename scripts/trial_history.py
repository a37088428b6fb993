#!/usr/bin/env python3
"""Try to make the history lose something: kills, a full disk, many chats at once.

    python scripts/trial_history.py                  # 200 kills, a full disk at every place, 8 x 500 messages
    python scripts/trial_history.py --kills 1000

Prints one line for each promise and ends with status 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.promise import Reached, tell
from shammah.errors import HistoryError
from shammah.history.opening import open_store
from shammah.history.store import Origin, Store, Turn
from shammah.history.writer import AnswerWriter
from shammah.message import Finish

MOST_MISSING_MS = 250.0
TRIAL = Origin("trial", "none", "a trial of the history")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="0 leaves this trial out")
    parser.add_argument("--places", type=int, default=120, help="places at which the disk is full; 0 leaves it out")
    parser.add_argument("--processes", type=int, default=8, help="0 leaves this trial out")
    parser.add_argument("--messages", type=int, default=500, help="of each process")
    parser.add_argument("--only", type=int, nargs="+", choices=(1, 2, 3, 4), help="these; 1 and 2 are one trial")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        _CHILDREN[chosen.child[0]](*chosen.child[1:])
        return 0
    random.seed(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="trial-history-") as folder:
        return tell(_trials(Path(folder), chosen), chosen.json)


def _trials(folder: Path, chosen: argparse.Namespace) -> Iterator[Reached]:
    wanted = set(chosen.only or (1, 2, 3, 4))
    if chosen.kills and wanted & {1, 2}:
        yield from (reached for reached in try_kills(folder, chosen.kills) if reached.number in wanted)
    if chosen.places and 3 in wanted and os.name == "nt":
        print("left out  promise 3: this system has no limit for the size of a file", flush=True)
    elif chosen.places and 3 in wanted:
        yield try_full_disk(folder, chosen.places)
    if chosen.processes and 4 in wanted:
        yield try_many_chats(folder / "many" / "history.db", chosen.processes, chosen.messages)


def _child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")


# Promises 1 and 2: a process is killed while it asks and answers


@dataclass
class Witness:
    """What a killed process said it had done, and when a piece was shown (seconds)."""

    asked: dict[int, str] = field(default_factory=dict)
    shown: dict[int, list[tuple[str, float]]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


@dataclass
class Damage:
    """What the kills did."""

    asked: int = 0
    streaming: int = 0
    lost: int = 0
    unreadable: int = 0
    missing_ms: float = 0.0


def try_kills(folder: Path, kills: int) -> Iterator[Reached]:
    damage = Damage()
    for number in range(kills):
        # A new file now and then, so that some kills fall on its creation.
        path = folder / f"kills-{number // 10}" / "history.db"
        witness, killed_at = _kill_one(path)
        _inspect(path, witness, killed_at, damage)
    yield Reached(
        1,
        f"{kills} kills, {damage.asked} questions acknowledged, {damage.lost} lost, "
        f"{damage.unreadable} unreadable stores",
        "1,000 kills, 0 lost, 0 unreadable stores",
        damage.lost == damage.unreadable == 0,
    )
    yield Reached(
        2,
        f"{damage.streaming} kills in mid-answer, at most {damage.missing_ms:.0f} ms of text missing",
        f"500 kills, at most {MOST_MISSING_MS:.0f} ms of text missing",
        damage.missing_ms <= MOST_MISSING_MS,
    )


def _kill_one(path: Path) -> tuple[Witness, float]:
    with _child("stream", path, random.random()) as process:
        assert process.stdout
        if random.random() < 0.8:
            process.stdout.readline()
        time.sleep(random.uniform(0, 0.8))
        process.kill()
        killed_at = time.monotonic()
        return _read_witness(process.stdout), killed_at


def _read_witness(pipe: IO[str]) -> Witness:
    witness = Witness()
    for line in pipe:
        if not line.endswith("\n"):
            break
        match line.rstrip("\n").split("\t"):
            case ["asked", turn, question]:
                witness.asked[int(turn)] = question
            case ["shown", turn, moment, text]:
                witness.shown.setdefault(int(turn), []).append((text, float(moment)))
            case ["ended", turn]:
                witness.ended.add(int(turn))
    return witness


def _inspect(path: Path, witness: Witness, killed_at: float, damage: Damage) -> None:
    damage.asked += len(witness.asked)
    if not path.exists():
        damage.lost += len(witness.asked)
        return
    try:
        turns = {turn.id: turn for turn in _all_turns(path)}
    except HistoryError:
        damage.unreadable += 1
        damage.lost += len(witness.asked)
        return
    damage.lost += sum(_is_lost(turn, witness, turns.get(turn)) for turn in witness.asked)
    for turn_id in witness.asked.keys() - witness.ended:
        damage.streaming += turn_id in witness.shown
        if turn_id in turns:
            damage.missing_ms = max(
                damage.missing_ms, _missing_ms(witness.shown.get(turn_id, []), turns[turn_id], killed_at)
            )


def _is_lost(turn_id: int, witness: Witness, turn: Turn | None) -> bool:
    if turn is None or turn.question != witness.asked[turn_id]:
        return True
    shown = "".join(text for text, _ in witness.shown.get(turn_id, []))
    if turn_id in witness.ended:
        return turn.answer != shown or turn.reason != "stop"
    return not shown.startswith(turn.answer) and not turn.answer.startswith(shown)


def _missing_ms(shown: Sequence[tuple[str, float]], turn: Turn, killed_at: float) -> float:
    """From the moment that the oldest unsaved piece was shown to the kill."""
    length = 0
    for text, moment in shown:
        length += len(text)
        if length > len(turn.answer):
            return (killed_at - moment) * 1000
    return 0.0


def _all_turns(path: Path) -> list[Turn]:
    """Every turn of a store whose pages are proven whole."""
    with open_store(path) as store:
        if store.connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise HistoryError(f"{path} is damaged", hint="")
        listed = store.conversations(limit=1_000_000)
        return [turn for conversation in listed for turn in store.turns(conversation.id, undone=True)]


def _stream_until_killed(path: str, seed: str) -> None:
    random.seed(seed)
    with open_store(Path(path)) as store:
        _say("ready")
        conversation = store.new_conversation()
        while True:
            question = f"question {random.random()} " + "x" * random.choice([0, 100, 20_000])
            turn = store.begin_turn(conversation.id, question)
            _say("asked", turn.id, question)
            _stream(AnswerWriter(store, turn.id), turn.id)


def _stream(writer: AnswerWriter, turn_id: int) -> None:
    for number in range(random.randint(1, 120)):
        text = f"piece {number} "
        _say("shown", turn_id, time.monotonic(), text)
        writer.add(text)
        for _ in range(random.choice([1] * 30 + [6])):
            time.sleep(random.uniform(0, 0.02))
            writer.add()
    writer.finish(Finish("stop"), TRIAL)
    _say("ended", turn_id)


def _say(*words: object) -> None:
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


# Promise 3: the disk is full at every place in turn


def try_full_disk(folder: Path, places: int) -> Reached:
    base = folder / "base.db"
    with open_store(base) as store:
        conversation = store.new_conversation().id
        for number in range(30):
            store.finish(store.begin_turn(conversation, f"old {number}").id, Finish("stop"), TRIAL, tail="old " * 900)
    # From no room at all to room for everything.
    room = [place * 2_000_000 // places for place in range(places)]
    outcomes = [_fill_at(base, folder / f"full-{size}", size) for size in room]
    refused = sum(o.refused for o in outcomes)
    faults = sum(o.silent or o.nagging or o.lost or o.stuck for o in outcomes)
    return Reached(
        3,
        f"disk full at {places} places, {refused} times said, {sum(o.silent for o in outcomes)} times silent, "
        f"{sum(o.lost for o in outcomes)} times old text lost, {sum(o.stuck for o in outcomes)} chats stuck",
        "said once at every place, nothing old lost, the chat goes on",
        not faults and refused > 0,
    )


@dataclass(frozen=True)
class Outcome:
    """What one full disk did."""

    refused: bool
    silent: bool
    nagging: bool
    lost: bool
    stuck: bool


def _fill_at(base: Path, folder: Path, room: int) -> Outcome:
    """Ask and answer while no file may grow beyond `room` bytes, then go on with room again."""
    folder.mkdir()
    path = folder / "history.db"
    shutil.copy(base, path)
    answer = ["a piece of text " * 500] * 40
    with _no_file_beyond(room):
        try:
            with open_store(path) as store:
                turn = store.begin_turn(store.conversations()[0].id, "asked on a full disk")
                complaints = _complaints_in(store, turn, answer)
        except HistoryError:
            complaints = 1
    stuck = not _goes_on(path)
    turns = _all_turns(path)
    kept = "".join(t.answer for t in turns if t.question == "asked on a full disk")
    whole = kept == "".join(answer)
    shutil.rmtree(folder)
    return Outcome(
        refused=complaints > 0,
        silent=complaints == 0 and not whole,
        nagging=complaints > 1,
        lost=[t.answer for t in turns[:30]] != ["old " * 900] * 30 or not "".join(answer).startswith(kept),
        stuck=stuck,
    )


def _complaints_in(store: Store, turn: Turn, answer: Sequence[str]) -> int:
    complaints = 0
    moments = iter(range(1_000_000))
    writer = AnswerWriter(store, turn.id, clock=lambda: next(moments) * 0.25)
    for piece in answer:
        try:
            writer.add(piece)
        except HistoryError:
            complaints += 1
    try:
        writer.finish(Finish("stop"), TRIAL)
    except HistoryError:
        complaints += 1
    return complaints


def _goes_on(path: Path) -> bool:
    with open_store(path) as store:
        conversation = store.conversations()[0].id
        turn = store.begin_turn(conversation, "asked with room again")
        store.finish(turn.id, Finish("stop"), TRIAL, tail="answered")
        return store.turns(conversation)[-1].answer == "answered"


@contextlib.contextmanager
def _no_file_beyond(room: int) -> Iterator[None]:
    import resource  # POSIX only

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Promise 4: several chats at once


def try_many_chats(path: Path, processes: int, messages: int) -> Reached:
    began = time.monotonic()
    with open_store(path) as store:
        shared = store.new_conversation().id
        store.begin_turn(shared, "the first")
    # Every second chat is in the same conversation.
    chats = [_child("chat", path, n, messages, shared if n % 2 else "") for n in range(processes)]
    failed = sum(chat.wait() != 0 for chat in chats)
    for chat in chats:
        assert chat.stdout
        chat.stdout.close()
    turns = _all_turns(path)
    found = {turn.question for turn in turns if turn.reason == "stop" and turn.answer == turn.question[:100]}
    wanted = {_message(n, i) for n in range(processes) for i in range(messages)}
    return Reached(
        4,
        f"{len(wanted & found)} of {len(wanted)} messages of {processes} processes, "
        f"{sum(map(len, wanted)) / 1e6:.0f} MB, in {time.monotonic() - began:.0f} s",
        "4,000 of 4,000 messages of 8 processes",
        not failed and wanted <= found and _positions_are_whole(turns),
    )


def _positions_are_whole(turns: Sequence[Turn]) -> bool:
    positions: dict[str, list[int]] = {}
    for turn in turns:
        positions.setdefault(turn.conversation, []).append(turn.position)
    return all(found == list(range(1, len(found) + 1)) for found in positions.values())


def _message(process: int, number: int) -> str:
    """A text of 100 B to 1 MB, each size class as often, the same for the same numbers."""
    size = 10 ** random.Random(f"{process} {number}").uniform(2, 6)
    start = f"message {number} of {process} "
    return start + "x" * (int(size) - len(start))


def _chat(path: str, process: str, messages: str, shared: str) -> None:
    with open_store(Path(path)) as store:
        conversation = shared or store.new_conversation().id
        for number in range(int(messages)):
            turn = store.begin_turn(conversation, _message(int(process), number))
            writer = AnswerWriter(store, turn.id)
            writer.add(turn.question[:50])
            writer.add(turn.question[50:100])
            writer.finish(Finish("stop"), TRIAL)


_CHILDREN: dict[str, Callable[..., None]] = {"stream": _stream_until_killed, "chat": _chat}


if __name__ == "__main__":
    sys.exit(main())
