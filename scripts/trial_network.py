#!/usr/bin/env python3
"""Promises 21 and 25: local mode sends nothing and writes nowhere else, and is as fast without a network.

    python scripts/trial_network.py                     # 100 watched sessions, 20 starts with and without a network
    python scripts/trial_network.py --sessions 10 --rounds 5 --json result.json

Sessions are watched with strace; where that is missing, in a network namespace without routes, whose counters tell what
was tried; where that is not allowed, by looking at the open sockets again and again. Exit status 1 when a promise is
missed. Needs the test extra.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SELF = Path(__file__).resolve()
ROOT = SELF.parent.parent
sys.path.insert(0, str(ROOT))

from scripts.apart import apart
from scripts.promise import Reached, heed_signals, tell
from shammah.config import set_value
from shammah.models import catalog
from tests.servers.hub import Hub
from tests.terminal import CTRL_D, Terminal, terminal, variables

PROGRAM = (sys.executable, "-m", "shammah")
SHORT = ("--max-tokens", "8")
QUESTION = "how do I change the model?"
NAMESPACE = apart("net")
"""The words before a command that leave it without a network."""
SLACK = 1.10
"""Without a network nothing may take more than this many times as long."""


def main() -> int:
    """Run both trials, print a line for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100, help="watched sessions; 0 leaves this trial out")
    parser.add_argument("--rounds", type=int, default=20, help="starts with and without a network; 0 leaves it out")
    parser.add_argument("--only", type=int, nargs="+", choices=(21, 25), help="these promises")
    parser.add_argument("--watch", choices=("strace", "namespace", "polling"), help="default: the first that works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--time", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    heed_signals()
    if given.time:
        what, home, endpoint = given.time
        print(TIMED[what](Path(home), endpoint))
        return 0
    with tempfile.TemporaryDirectory(prefix="trial-network-") as folder:
        return tell(_trials(Path(folder), given), given.json)


def _trials(folder: Path, given: argparse.Namespace) -> Iterator[Reached]:
    wanted = given.only or (21, 25)
    if given.sessions and 21 in wanted:
        watch = given.watch or best_watch()
        yield try_silence(folder / "silence", given.sessions, watch)
    if given.rounds and 25 in wanted:
        if namespaces_work():
            yield try_without_network(folder / "offline", given.rounds)
        else:
            print("left out  promise 25: this system gives no network namespace (unshare --net)", flush=True)


def best_watch() -> str:
    """The most exact way to watch a session that works here."""
    if shutil.which("strace") and _works(["strace", "-f", "-o", os.devnull, "true"]):
        return "strace"
    return "namespace" if namespaces_work() else "polling"


def namespaces_work() -> bool:
    """Whether this system lets us make a network namespace."""
    return bool(shutil.which("unshare")) and _works([*NAMESPACE, "true"])


def _works(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# Promise 21: nothing is sent, nothing is written elsewhere


@dataclass
class Seen:
    """What the sessions did that they had no business doing."""

    packets: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    def add(self, other: Seen) -> None:
        """Take another session's in."""
        self.packets += other.packets
        self.lookups += other.lookups
        self.files |= other.files


Watch = Callable[[tuple[str, ...], Path, Callable[[tuple[str, ...]], None]], Seen]
"""Runs a session in a folder with the given command, and tells what was seen."""


def try_silence(folder: Path, sessions: int, watch: str) -> Reached:
    """Run sessions of every kind, each with a home of its own, and count what leaves them."""
    watches: dict[str, Watch] = {"strace": under_strace, "namespace": in_namespace, "polling": while_polling}
    seen = Seen()
    kinds = SESSIONS if os.name != "nt" else SESSIONS[1:]  # The first needs a pty.
    for number in range(sessions):
        place = folder / str(number)
        for name in ("user", "tmp"):
            (place / name).mkdir(parents=True)
        set_value(place / "user" / "shammah" / "config.toml", "routing.mode", "local")
        session = kinds[number % len(kinds)]
        seen.add(watches[watch](PROGRAM, place, lambda command, s=session, p=place: s(command, p)))  # type: ignore[misc]
        seen.files |= left_outside(place)
        shutil.rmtree(place)
    _tell(seen)
    return Reached(
        21,
        f"{sessions} sessions ({watch}): {len(seen.packets)} packets beyond loopback, {len(seen.lookups)} lookups, "
        f"{len(seen.files)} files outside its own folders",
        "0 packets beyond loopback, 0 lookups, no file outside its own folders in 100 sessions",
        not seen.packets and not seen.lookups and not seen.files,
    )


def _tell(seen: Seen) -> None:
    for what, found in (("packet", seen.packets), ("lookup", seen.lookups), ("file", sorted(seen.files))):
        for line in found[:10]:
            print(f"  {what}: {line}", file=sys.stderr)


def own_variables(place: Path) -> dict[str, str]:
    """The environment of a session: its folders, and nothing that keeps the network out but the settings."""
    home, user, temporary = place / "user" / "shammah", place / "user", place / "tmp"
    return variables(home, HOME=str(user), TMPDIR=str(temporary), HF_HUB_OFFLINE="")


def in_a_chat(command: tuple[str, ...], place: Path) -> None:
    """A chat in a terminal, with a question and the commands that show or write something."""
    home = place / "user" / "shammah"
    with terminal(home, *SHORT, command=command, columns=100, rows=40, environment=own_variables(place)) as chat:
        chat.wait_ready()
        for line in CHAT:
            chat.ask(line)
        chat.enter("/exit")
        assert chat.wait_end() == 0, chat.display


CHAT = (QUESTION, "/help", "/status", "/doctor", "/set local.threads 1", "/why", "/sessions", "/search model", "/model")


def one_shot(*arguments: str, piped: str = "") -> Callable[[tuple[str, ...], Path], None]:
    """A session that is a single command."""

    def run(command: tuple[str, ...], place: Path) -> None:
        done = subprocess.run(
            [*command, *arguments],
            env=own_variables(place),
            input=piped,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"

    return run


SESSIONS = (
    in_a_chat,
    one_shot(*SHORT, QUESTION),
    one_shot(*SHORT, "--json", piped="what are you?"),
    one_shot("doctor"),
    one_shot(*SHORT, "--no-log", "-p", "hello", piped="and a text\n"),
    one_shot("config", "set", "local.threads", "1"),
    one_shot(*SHORT, "--greedy", "--seed", "1", "thanks"),
    one_shot("models", "list"),
)


def left_outside(place: Path) -> set[str]:
    """Files left in the user's folder beside shammah's own (in ~/.cache or ~/.config, say) or in the temporary one."""
    found = {path for path in place.rglob("*") if not path.is_dir()}
    own = place / "user" / "shammah"
    return {str(path.relative_to(place)) for path in found if own not in path.parents and path.name != "strace.txt"}


# Watching with strace

_CALLS = "network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
_ADDRESS = re.compile(r"sa_family=AF_INET6?, .*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_LOOKUP = re.compile(r"resolv\.conf|nscd/socket|resolve/io\.systemd|systemd/resolve|avahi-daemon/socket")
_WRITTEN = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT)\b")
_DEVICES = ("/dev/null", "/dev/tty", "/dev/pts/", "/proc/self/")
_PATH = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")


def under_strace(command: tuple[str, ...], place: Path, session: Callable[[tuple[str, ...]], None]) -> Seen:
    """Write down every call that opens a socket or a file, of the program and its worker."""
    log = place / "strace.txt"
    session(
        ("strace", "-f", "-qq", "-s", "4096", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(log), *command)
    )
    return read_calls(log.read_text(encoding="utf-8", errors="replace"), place)


def read_calls(log: str, place: Path) -> Seen:
    """What strace's lines tell."""
    seen = Seen()
    for line in log.splitlines():
        name = line.partition(" ")[2].strip().partition("(")[0]
        address = _ADDRESS.search(line)
        port = _PORT.search(line)
        if _LOOKUP.search(line) or (port and port[1] in ("53", "853", "5353")):
            seen.lookups.append(line)
        elif address and not _loopback(address[1] or address[2]):
            seen.packets.append(line)
        elif name and not address and "ENOENT" not in line and _writes(name, line):
            seen.files |= {path for path in _PATH.findall(line) if not _own(path, place)}
    return seen


def _loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


def _writes(call: str, line: str) -> bool:
    return call in _CALLS.split(",")[3:] or (call in ("openat", "open") and bool(_WRITTEN.search(line)))


def _own(path: str, place: Path) -> bool:
    """Whether a file may be written: its own folders, the terminal, and the bytecode that Python keeps."""
    resolved = Path(os.path.normpath(path))
    home, temporary = place / "user" / "shammah", place / "tmp"
    inside = resolved.is_relative_to(home) or resolved.is_relative_to(temporary)
    return inside or "__pycache__" in resolved.parts or str(resolved).startswith(_DEVICES)


# Watching in a namespace without routes: all that is sent fails there and is counted

_COUNTED = {"Ip": ("OutRequests", "OutNoRoutes"), "Tcp": ("ActiveOpens",), "Udp": ("OutDatagrams",)}
_INSIDE = "import subprocess, sys; s = subprocess.run(sys.argv[2:]).returncode; " + (
    "open(sys.argv[1], 'w').write(open('/proc/net/snmp').read() + open('/proc/net/snmp6').read()); sys.exit(s)"
)


def in_namespace(command: tuple[str, ...], place: Path, session: Callable[[tuple[str, ...]], None]) -> Seen:
    """Let the kernel count what the program tries to send where nothing leads anywhere."""
    counters = place / "tmp" / "counters.txt"
    session((*NAMESPACE, sys.executable, "-c", _INSIDE, str(counters), *command))
    text = counters.read_text(encoding="utf-8")
    counters.unlink()
    # A look-up is a packet too: there is no saying which it was.
    return Seen(packets=[f"{name}: {count}" for name, count in counted(text) if count])


def counted(snmp: str) -> Iterator[tuple[str, int]]:
    """Each counter of what was sent, from the kernel's tables for IPv4 and IPv6."""
    rows = [line.split() for line in snmp.splitlines()]
    for names, values in itertools.pairwise(rows):
        if names[0] == values[0]:
            wanted = _COUNTED.get(names[0].rstrip(":"), ())
            yield from ((f"{names[0]}{n}", int(v)) for n, v in zip(names, values, strict=True) if n in wanted)
    yield from ((row[0], int(row[1])) for row in rows if row[0] in ("Ip6OutNoRoutes", "Udp6OutDatagrams"))


# Watching by looking again and again, where nothing better is there


def while_polling(command: tuple[str, ...], _place: Path, session: Callable[[tuple[str, ...]], None]) -> Seen:
    """Look at the sockets of the program and its worker every few milliseconds."""
    seen, over = Seen(), threading.Event()
    watcher = threading.Thread(target=_look, args=(seen, over))
    watcher.start()
    try:
        session(command)
    finally:
        over.set()
        watcher.join()
    return seen


def _look(seen: Seen, over: threading.Event) -> None:
    while not over.wait(0.02):
        for process in psutil.Process().children(recursive=True):
            try:
                sockets = process.net_connections("inet")
            except psutil.Error:  # It has just ended.
                continue
            remote = [socket.raddr for socket in sockets if socket.raddr and not _loopback(socket.raddr.ip)]
            seen.lookups += [f"{at.ip} port {at.port}" for at in remote if at.port in (53, 853, 5353)]
            seen.packets += [f"{at.ip} port {at.port}" for at in remote if at.port not in (53, 853, 5353)]


# Promise 25: as fast without a network

EXPORT = ROOT / "tests" / "data" / "tiny_export"
SMALLEST = catalog.find("0.5b")


def try_without_network(folder: Path, rounds: int) -> Reached:
    """Time the start and an answer with a hub that answers and without any network, in turn."""
    # The first of several rounds warms the disk's cache.
    times = _times(folder, rounds + (rounds > 1))
    middle = {key: statistics.median(found[-rounds:]) for key, found in times.items()}
    ratios = {what: middle[what, "without"] / middle[what, "with"] for what in TIMED}
    told = "; ".join(
        f"{what} {middle[what, 'without']:.3f} s without, {middle[what, 'with']:.3f} s with ({ratio - 1:+.0%})"
        for what, ratio in ratios.items()
    )
    return Reached(
        25,
        f"medians of {rounds}: {told}",
        "no more than 10 % slower without a network",
        max(ratios.values()) <= SLACK,
    )


def _times(folder: Path, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of each round, by what was timed and by the way."""
    ways: dict[str, list[str]] = {"with": [], "without": NAMESPACE}
    times: dict[tuple[str, str], list[float]] = {(what, way): [] for what in TIMED for way in ways}
    shutil.copytree(EXPORT, folder / "hub" / SMALLEST.repo)
    with Hub(folder / "hub") as hub:
        with_model = _home_with_a_model(folder / "model", hub.url)
        for number in range(rounds):
            for way in sorted(ways, reverse=bool(number % 2)):
                for what in TIMED:
                    home = folder / f"{way}{number}" / what.replace(" ", "-") / "home"
                    if what in CACHED:
                        shutil.copytree(with_model, home)
                    times[what, way].append(_timed(ways[way], what, home, hub.url))
    return times


def _home_with_a_model(home: Path, endpoint: str) -> Path:
    """A home whose settings want a model that is fetched and prepared, and has answered once."""
    set_value(home / "config.toml", "local.size", SMALLEST.size)
    set_value(home / "config.toml", "routing.reserve_ram_gb", "0")
    subprocess.run(
        [*PROGRAM, "models", "pull", SMALLEST.size],
        env=_environment(home, endpoint),
        stderr=subprocess.DEVNULL,
        check=True,
    )
    to_answer(home, endpoint)  # What it learns of this machine is remembered.
    return home


def _timed(inside: Sequence[str], what: str, home: Path, endpoint: str) -> float:
    """Seconds that something takes; the clock runs inside the namespace, so that making one is not counted."""
    command = [*inside, sys.executable, str(SELF), "--time", what, str(home), endpoint]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _environment(home: Path, endpoint: str) -> dict[str, str]:
    """The program's environment where nothing says that there is no network."""
    return variables(home, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="")


def to_prompt(home: Path, endpoint: str) -> float:
    """Seconds until the chat's prompt is on the screen."""
    return _until(home, endpoint, lambda chat: chat.line == "›")


def to_ready(home: Path, endpoint: str) -> float:
    """Seconds until the model that was fetched earlier is ready to answer in a chat."""
    return _until(home, endpoint, lambda chat: f"{SMALLEST.name} answers · ready" in chat.display)


def _until(home: Path, endpoint: str, condition: Callable[[Terminal], bool]) -> float:
    began = time.monotonic()
    with terminal(home, columns=120, environment=_environment(home, endpoint)) as chat:
        chat.until(lambda: condition(chat), "it does not come so far")
        seconds = chat.chunks[-1][0] - began
        chat.until(lambda: chat.at_prompt, "no prompt")
        chat.press(CTRL_D)
        chat.wait_end()
        return seconds


def to_answer(home: Path, endpoint: str) -> float:
    """Seconds until a question from the command line is answered."""
    home.mkdir(parents=True, exist_ok=True)
    asked = [*PROGRAM, "--greedy", *SHORT, QUESTION]
    began = time.monotonic()
    subprocess.run(
        asked, env=_environment(home, endpoint), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
    )
    return time.monotonic() - began


TIMED: dict[str, Callable[[Path, str], float]] = {
    "prompt": to_prompt,
    "answer": to_answer,
    "prompt with a model": to_prompt,
    "that model ready": to_ready,
    "its answer": to_answer,
}
CACHED = ("prompt with a model", "that model ready", "its answer")
"""Those in a home with a model that was fetched and prepared before."""


if __name__ == "__main__":
    sys.exit(main())
