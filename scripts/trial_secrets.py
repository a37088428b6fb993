#!/usr/bin/env python3
"""Promise 22: a canary key goes through 50 failures of the real program, and nothing of it is found anywhere after.

    python scripts/trial_secrets.py                  # all failures, some five minutes
    python scripts/trial_secrets.py --count 6        # a few of each kind
    python scripts/trial_secrets.py --match stream --json result.json

Looked at: every file in its home and in the temporary folder, standard output and error with the whole traceback and
every variable in it, the logs of every library at their loudest, and the command line and the variables of every child,
again and again while it runs. Exit status 1 when the promise is missed. Needs the test extra.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SELF = Path(__file__).resolve()
ROOT = SELF.parent.parent
sys.path.insert(0, str(ROOT))

from scripts.promise import Reached, heed_signals, tell
from tests.servers.claude import HOWS, Claude, Cut, Hangup, Page, Play, Silence, Status
from tests.servers.loopback import closed_port
from tests.terminal import variables

AIM = "0 finds in 50 failures; every file is its owner's alone"
LONGEST_S = 120.0
"""Seconds for one failure, on a machine with much else to do."""
ASK = ("--cloud", "--verbose", "Are you there?")
LOCAL = ("--local", "--verbose", "--max-tokens", "12", "how do I change the model?")
PART = 12
"""Characters: so short a part of the key counts as found, too."""

LOUD = """
import logging, sys, threading, traceback

def show(error):
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    print("".join(trace.format()), file=sys.stderr)

sys.excepthook = lambda kind, error, trace: show(error)
threading.excepthook = lambda happened: show(happened.exc_value)
logging.basicConfig(level=1, stream=sys.stderr)
"""
"""A sitecustomize.py: every log on, and in a traceback the variables of every frame."""
BROKEN = "def __getattr__(name):\n    raise RuntimeError(f'broken on purpose: {name}')\n"


@dataclass(frozen=True)
class Failure:
    """What goes wrong: the server's part, the command line, variables, files in the home, and a signal on the way.

    `{key}` in variables, files and the server's words stands for the key, which lies in `key_in`.
    """

    name: str
    play: Play | None = None
    arguments: Sequence[str] = ASK
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    key_in: str = "environment"
    stop: int = 0
    loud: bool = True
    lines: Sequence[str] = ()
    broken: str = ""
    worker_dies: bool = False


def failures() -> Iterator[Failure]:
    """Every failure of the trial, those of one kind together."""
    echo = "The key {key} is not good enough"
    for code in (400, 401, 402, 403, 404, 413, 429, 500, 529):
        yield Failure(f"status {code}", Status(code))
    for code in (400, 401, 500):
        yield Failure(f"status {code} that repeats the key", Status(code, echo, {"x-key": "{key}", "retry-after": "1"}))
    yield Failure("page of a proxy that repeats the key", Status(502, page=f"<html>{echo}</html>"))
    yield Failure("sign-in page", Page())
    for how in HOWS:
        stop = signal.SIGINT if how in ("stall", "drip") else 0
        yield Failure(f"stream, {how}", Cut(700, how), stop=stop)
    yield Failure("no answer, interrupted", Silence(), stop=signal.SIGINT)
    yield Failure("no answer, ended", Silence(), stop=signal.SIGTERM)
    yield Failure("no answer, killed", Silence(), stop=getattr(signal, "SIGKILL", signal.SIGTERM))
    yield Failure("hung up", Hangup())
    yield Failure("hung up hard", Hangup(reset=True), key_in="credentials.toml")
    yield from _off_the_line()
    yield from _broken_keys()
    yield from _broken_homes()
    yield from _debugging()
    yield from _here()
    yield from _chats()


def _off_the_line() -> Iterator[Failure]:
    for name, address in (
        ("nobody listens", f"http://127.0.0.1:{closed_port()}"),
        ("no such name", "https://claude.invalid"),
        ("address that is none", "not an address"),
        ("TLS where none is spoken", "https://127.0.0.1:{port}"),
    ):
        yield Failure(f"{name}", variables={"ANTHROPIC_BASE_URL": address})


def _broken_keys() -> Iterator[Failure]:
    yield Failure("key with a control character", variables={"ANTHROPIC_API_KEY": "{key}\x1b[201~"}, key_in="nowhere")
    yield Failure("key with a blank", variables={"ANTHROPIC_API_KEY": "key {key}"}, key_in="nowhere")
    yield Failure("key with a letter that is no ASCII", variables={"ANTHROPIC_API_KEY": "{key}ü"}, key_in="nowhere")
    for name, text in (
        ("not in quotes", "anthropic_api_key = {key}"),
        ("without an end", '# mine\nanthropic_api_key = "{key}'),
        ("twice", 'anthropic_api_key = "{key}"\nanthropic_api_key = "{key}"'),
        ("in a list", 'anthropic_api_key = ["{key}"]'),
        ("with a control character", 'anthropic_api_key = "{key}\\u0007"'),
        ("and nothing else", "{key}"),
    ):
        yield Failure(f"credentials.toml: {name}", files={"credentials.toml": text}, key_in="nowhere")
    yield Failure("credentials.toml that others can read", Status(401), key_in="credentials.toml for all")


def _broken_homes() -> Iterator[Failure]:
    for name, text in (
        ("[cloud] key", '[cloud]\nkey = "{key}"'),
        ("top", 'anthropic_api_key = "{key}"'),
        ("not in quotes", "[cloud]\napi_key = {key}"),
        ("twice", '[cloud]\nkey = "{key}"\nkey = "{key}"'),
    ):
        yield Failure(f"key in config.toml, {name}", files={"config.toml": text}, key_in="nowhere")
    yield Failure("history.db is none", files={"history.db": "no database\n" * 500})
    yield Failure("spending.db is none", files={"spending.db": "no database\n" * 500})
    yield Failure("the SDK is broken", broken="anthropic")
    yield Failure("the SDK's network is broken", broken="httpx2", key_in="credentials.toml")
    yield Failure("the program is broken", broken="sqlite3")
    yield Failure("the program is broken later", broken="psutil", arguments=LOCAL)


def _debugging() -> Iterator[Failure]:
    debug = {"ANTHROPIC_LOG": "debug", "HTTPX_LOG_LEVEL": "trace", "HTTPX2_LOG_LEVEL": "trace", "PYTHONDEVMODE": "1"}
    for name, play in (("401", Status(401)), ("529", Status(529)), ("cut", Cut(700, "rst"))):
        yield Failure(f"debug variables, {name}", play, variables={**debug, "PYTHONASYNCIODEBUG": "1"}, loud=False)
    headers = {"ANTHROPIC_CUSTOM_HEADERS": "x-key: {key}", "ANTHROPIC_AUTH_TOKEN": "{key}"}
    yield Failure("key in other variables of the SDK", Status(400), variables=headers)


def _here() -> Iterator[Failure]:
    headers = {"ANTHROPIC_CUSTOM_HEADERS": "x-key: {key}"}
    yield Failure("model that is none", arguments=(*LOCAL, "--model", "/nowhere"))
    yield Failure("worker killed", arguments=LOCAL, worker_dies=True)
    yield Failure("worker killed, key in a header of the SDK", arguments=LOCAL, variables=headers, worker_dies=True)
    yield Failure("doctor", arguments=("doctor",))


def _chats() -> Iterator[Failure]:
    lines = (
        "Are you there?",
        "/why",
        "/cost",
        "/status",
        "/export json",
        "/doctor",
        "/retry local",
        "/model none/such",
    )
    yield Failure("chat, wrong key", Status(401), ("--cloud",), lines=lines)
    yield Failure("chat, cut", Cut(700, "fin"), ("--cloud",), lines=lines, key_in="credentials.toml")
    yield Failure("chat, overloaded", Status(529), ("--cloud",), lines=lines, loud=False)


# Running one


@dataclass
class Room:
    """Where one failure happens, and what is looked at afterwards."""

    folder: Path
    key: str
    port: int
    said: str = ""
    children: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "user" / "shammah"

    def filled(self, text: str) -> str:
        """The text with the key in it where it says so."""
        return text.replace("{key}", self.key).replace("{port}", str(self.port))

    def environment(self, failure: Failure) -> dict[str, str]:
        """The variables of the program."""
        own = {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.port}",
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "site"), str(ROOT)]),
            "PYTHONIOENCODING": "utf-8",
        }
        if failure.key_in == "environment":
            own["ANTHROPIC_API_KEY"] = self.key
        given = {name: self.filled(text) for name, text in failure.variables.items()}
        return {**variables(self.home), **own, **given}

    def prepare(self, failure: Failure) -> None:
        """Lay the folders and files out."""
        for folder in (self.home, self.folder / "tmp", self.folder / "site"):
            folder.mkdir(parents=True, mode=0o700)
        if failure.loud:
            (self.folder / "site" / "sitecustomize.py").write_text(LOUD, encoding="utf-8")
        if failure.broken:
            (self.folder / "site" / f"{failure.broken}.py").write_text(BROKEN, encoding="utf-8")
        for name, text in failure.files.items():
            _write_private(self.home / name, self.filled(text))
        if failure.key_in.startswith("credentials.toml"):
            _write_private(self.home / "credentials.toml", f'anthropic_api_key = "{self.key}"\n')
        if failure.key_in.endswith("for all"):
            (self.home / "credentials.toml").chmod(0o644)


def _write_private(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def try_failure(failure: Failure, folder: Path, key: str) -> tuple[list[str], bool]:
    """Let it happen; returns where the key was found, and whether the server was given the key."""
    with Claude(key="") as claude:
        room = Room(folder, key, claude.port)
        room.prepare(failure)
        if failure.play is not None:
            claude.answer = _filled(failure.play, room)
        (_in_a_chat if failure.lines else _in_a_process)(failure, room, claude)
        return list(_finds(room, failure)), key.encode() in claude.heard


def _filled(play: Play, room: Room) -> Play:
    if not isinstance(play, Status):
        return play
    headers = {name: room.filled(text) for name, text in play.headers.items()}
    return Status(play.code, room.filled(play.message), headers, page=room.filled(play.page))


def _in_a_process(failure: Failure, room: Room, claude: Claude) -> None:
    with (room.folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "shammah", *failure.arguments],
            env=room.environment(failure),
            cwd=room.folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        with _watched(process.pid, room, failure):
            if failure.stop and _comes(lambda: bool(claude.questions), process):
                time.sleep(0.5)  # Until the stream has reached its cut.
                process.send_signal(failure.stop)
            process.wait(LONGEST_S)
    room.said = (room.folder / "said").read_text(encoding="utf-8", errors="replace")


def _in_a_chat(failure: Failure, room: Room, _claude: Claude) -> None:
    from tests.terminal import Terminal  # Late: it needs a pty.

    with Terminal(room.home, *failure.arguments, environment=room.environment(failure), columns=200) as chat:
        with _watched(chat.pid, room, failure):
            chat.until(lambda: chat.at_prompt, "no prompt", LONGEST_S)
            for line in failure.lines:
                chat.ask(line, LONGEST_S)
            chat.enter("/exit")
            chat.wait_end(LONGEST_S)
        room.said = chat.raw


class _watched:  # noqa: N801 - read as a word of the with statement
    """Looks at the children of a process while it runs: what stands on their command lines and in their variables."""

    def __init__(self, pid: int, room: Room, failure: Failure) -> None:
        self._process = psutil.Process(pid)
        self._room = room
        self._kills = failure.worker_dies
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            try:
                self._room.children.append(" ".join(self._process.cmdline()))
                children = self._process.children(recursive=True)
            except psutil.Error:  # It has ended.
                return
            for child in children:
                self._see(child)

    def _see(self, child: psutil.Process) -> None:
        try:
            own = [*child.cmdline(), *(f"{name}={value}" for name, value in child.environ().items())]
            # Between its fork and its own program, a child is still a copy of its parent.
            if own and child.cmdline() != self._process.cmdline():
                self._room.children.append("\n".join(own))
            if self._kills and "shammah.worker" in own:
                child.kill()
        except (psutil.Error, OSError):  # It has just ended.
            return


def _comes(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + LONGEST_S
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


# Looking


def _finds(room: Room, failure: Failure) -> Iterator[str]:
    """Every place that holds a part of the key, and every file that others can read."""
    if holds(room.said.encode(errors="replace"), room.key):
        yield "what it said"
    if any(holds(text.encode(errors="replace"), room.key) for text in set(room.children)):
        yield "the command line or the variables of a process"
    planted = {name for name, text in failure.files.items() if "{key}" in text} | {"credentials.toml"}
    for path in (found for place in (room.home, room.folder / "tmp") for found in place.rglob("*")):
        if path.is_file() and path.name not in planted and holds(path.read_bytes(), room.key):
            yield f"the file {path.name}"
        if os.name != "nt" and path.stat().st_mode & 0o077 and room.home in path.parents:
            yield f"the mode {path.stat().st_mode & 0o777:o} of {path.name}"


def holds(data: bytes, key: str) -> bool:
    """Whether the data has a part of the key in it, as it is or as something else writes it."""
    return any(part in data for part in _ways(key))


def _ways(key: str) -> Iterator[bytes]:
    secret = key.rpartition("-")[2]
    for start in range(0, len(secret) - PART + 1, PART):
        part = secret[start : start + PART].encode()
        yield part
        yield part[::-1]
        yield part.hex().encode()
        yield part.decode().encode("utf-16-le")
    for skipped in range(3):  # The same text at each of the places that base64 has for it.
        yield base64.b64encode(secret[skipped : skipped + 24].encode())


def main() -> int:
    """Run the trial, print its row, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=0, help="only so many failures, spread over all kinds")
    parser.add_argument("--match", default="", help="only failures with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    heed_signals()
    chosen = [failure for failure in failures() if given.match in failure.name]
    if os.name == "nt":
        chosen = [failure for failure in chosen if not failure.lines]  # These need a pty.
    if given.count:
        chosen = chosen[:: max(1, len(chosen) // given.count)][: given.count]
    return tell([try_all(chosen, random.Random(given.seed))], given.json)


def try_all(chosen: Sequence[Failure], chance: random.Random) -> Reached:
    """Let every failure happen, each with a key and a home of its own."""
    finds, given_out, slowest = [], 0, 0.0
    for number, failure in enumerate(chosen, 1):
        key = "sk-ant-" + "".join(chance.choices(string.ascii_letters + string.digits, k=48))
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trial-secrets-") as folder:
            found, heard = try_failure(failure, Path(folder) / "room", key)
        slowest = max(slowest, time.monotonic() - began)
        given_out += heard
        finds += [f"{failure.name}: {where}" for where in found]
        if sys.stderr.isatty():
            print(f"\r{number} of {len(chosen)}: {failure.name:<50}", end="", file=sys.stderr)
    for find in finds:
        print(f"  found: {find}", file=sys.stderr)
    figure = f"{len(chosen)} failures, the server was given the key in {given_out}; {len(finds)} finds elsewhere"
    return Reached(22, figure, AIM, not finds)


if __name__ == "__main__":
    sys.exit(main())
