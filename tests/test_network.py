"""Promises 21 and 25 in short: nothing is sent, nothing is written elsewhere, no network is missed."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

if sys.platform == "win32":
    pytest.skip("the trial drives a terminal of POSIX", allow_module_level=True)

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "trial_network.py"
SENDS = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    sender.connect(("192.0.2.1", 9))
    sender.send(b"hello")
except OSError:
    pass
"""
LOOKS_UP = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 53))
except OSError:
    pass
"""
WRITES = "import os, pathlib; pathlib.Path(os.environ['HOME'], 'elsewhere').write_text('left')"
STAYS_HERE = """
import os, pathlib, socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).send(b"to myself")
pathlib.Path(os.environ["SHAMMAH_HOME"]).mkdir()
pathlib.Path(os.environ["SHAMMAH_HOME"], "own").write_text("kept")
"""


def _trial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trial_network", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


trial = _trial()


@pytest.fixture(params=["strace", "namespace"])
def watch(request: pytest.FixtureRequest) -> Callable[..., object]:
    """Each way to watch that is exact, where this system has it."""
    if request.param == "strace" and trial.best_watch() != "strace":
        pytest.skip("strace is not installed here, or may not watch")
    if request.param == "namespace" and not trial.namespaces_work():
        pytest.skip("this system gives no network namespace (unshare --net)")
    return {"strace": trial.under_strace, "namespace": trial.in_namespace}[request.param]  # type: ignore[no-any-return]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for one session."""
    for name in ("user", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def _watched(watch: Callable[..., object], place: Path, code: str) -> object:
    return watch((sys.executable, "-c", code), place, lambda command: trial.one_shot()(command, place))


def test_a_packet_that_leaves_is_seen(watch, place):
    assert _watched(watch, place, SENDS).packets


def test_a_look_up_is_seen(watch, place):
    seen = _watched(watch, place, LOOKS_UP + SENDS)
    assert seen.lookups or seen.packets


def test_what_stays_on_this_machine_is_no_packet(place):
    if trial.best_watch() != "strace":
        pytest.skip("strace is not installed here, or may not watch")
    seen = _watched(trial.under_strace, place, STAYS_HERE)
    assert (seen.packets, seen.lookups, seen.files) == ([], [], set())


def test_a_file_outside_is_seen_by_the_watch_and_by_what_is_left(place):
    if trial.best_watch() != "strace":
        pytest.skip("strace is not installed here, or may not watch")
    seen = _watched(trial.under_strace, place, WRITES)
    assert any(path.endswith("elsewhere") for path in seen.files)
    assert trial.left_outside(place) == {"user/elsewhere"}


def test_polling_sees_a_connection_beyond_loopback(place, monkeypatch):
    monkeypatch.setattr(trial, "_loopback", lambda _address: False)  # No address beyond it can be reached in a test.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket, time; s = socket.create_connection(('127.0.0.1', {port})); time.sleep(2)"
        seen = _watched(trial.while_polling, place, code)
    assert seen.packets


def test_ipv6_and_split_lines_of_strace_are_read():
    lines = (
        "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "
        '"2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH (Network is unreachable)\n'
        '7 openat(AT_FDCWD, "/etc/resolv.conf", O_RDONLY|O_CLOEXEC) = 3\n'
        "8 <... openat resumed>) = 3\n"
        '8 rename("/elsewhere/a", "/elsewhere/b" <unfinished ...>\n'
        '8 openat(AT_FDCWD, "/missing", O_RDWR) = -1 ENOENT (No such file or directory)\n'
    )
    seen = trial.read_calls(lines, Path("/place"))
    assert (len(seen.packets), len(seen.lookups), seen.files) == (1, 1, {"/elsewhere/a", "/elsewhere/b"})


def test_a_chat_and_a_question_send_nothing_and_write_only_in_their_folders(tmp_path):
    assert trial.try_silence(tmp_path, 2, trial.best_watch()).held


def test_a_question_is_answered_without_a_network(tmp_path):
    if not trial.namespaces_work():
        pytest.skip("this system gives no network namespace (unshare --net)")
    result = trial.try_without_network(tmp_path, 1)
    assert result.number == 25 and "without" in result.figure
