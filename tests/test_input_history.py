"""What was typed comes back: over runs, from several chats, out of a damaged file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shammah.locks import locked
from shammah.screen.input_history import KEPT, InputHistory

ROOT = Path(__file__).resolve().parent.parent
TYPIST = """
import sys
from pathlib import Path
from shammah.screen.input_history import InputHistory
history = InputHistory(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    history.store_string(f"{sys.argv[2]} {number} " + "x" * (number * 97 % 5_000))
"""
READER = """
import sys
from pathlib import Path
from shammah.screen.input_history import InputHistory
InputHistory(Path(sys.argv[1])).load_history_strings()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input_history"


def entries(path: Path) -> list[str]:
    """What a new chat is offered, the newest first."""
    return list(InputHistory(path).load_history_strings())


def test_the_newest_entry_comes_first_and_each_only_once(path: Path) -> None:
    history = InputHistory(path)
    for entry in ("one", "two", "one"):
        history.store_string(entry)

    assert entries(path) == ["one", "two"]


def test_without_a_file_there_is_nothing_and_no_trouble(path: Path) -> None:
    assert entries(path) == []


@settings(deadline=None)
@given(st.lists(st.text().filter(str.strip), unique=True))
def test_any_text_comes_back_as_it_was(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = InputHistory(Path(folder) / "input_history")
        for text in texts:
            history.store_string(text)
        assert entries(Path(folder) / "input_history") == texts[::-1]


@pytest.mark.skipif(os.name == "nt", reason="file modes mean little on Windows")
def test_only_the_owner_may_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        InputHistory(path).store_string("a secret")
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_typing_waits_for_no_chat_that_was_stopped_at_work(path: Path) -> None:
    path.write_text("".join(f"{json.dumps(str(number))}\n" for number in range(3 * KEPT)))
    with path.with_name(".input_history.lock").open("ab") as stopped:
        assert locked(stopped.fileno())
        history = InputHistory(path)
        history.store_string("typed meanwhile")
        assert entries(path)[0] == "typed meanwhile"
        assert history.take_trouble() is None
        assert len(path.read_bytes().splitlines()) == 3 * KEPT + 1  # It is cut another time.


def test_several_chats_at_once_lose_and_mix_nothing(path: Path) -> None:
    command = [sys.executable, "-c", TYPIST, str(path)]
    chats = [subprocess.Popen([*command, name, "60"], cwd=ROOT) for name in "abcd"]
    assert [chat.wait(60) for chat in chats] == [0] * 4

    found = [entry.split()[:2] for entry in entries(path)]
    assert sorted(found) == sorted([name, str(number)] for name in "abcd" for number in range(60))


@pytest.mark.parametrize("damage", [b'"half a li', b"\xff\xfe\x00", b"no json", b"{}", b"17", b'""', b""])
def test_a_damaged_line_costs_that_line_only(path: Path, damage: bytes) -> None:
    path.write_bytes(b'"before"\n' + damage + b'\n"after"\n')
    assert entries(path) == ["after", "before"]


def test_a_line_torn_by_a_full_disk_costs_no_later_one(path: Path) -> None:
    path.write_bytes(b'"before"\n"torn')
    history = InputHistory(path)
    history.store_string("first")
    history.store_string("second")

    assert entries(path)[0] == "second"
    assert "before" in entries(path)


def test_a_file_grown_twice_as_long_as_what_is_offered_is_cut(path: Path) -> None:
    path.write_text("".join(json.dumps(str(number)) + "\n" for number in range(2 * KEPT + 1)))

    assert entries(path) == [str(number) for number in range(2 * KEPT, KEPT, -1)]
    assert len(path.read_bytes().splitlines()) == KEPT
    assert sorted(found.name for found in path.parent.iterdir()) == [".input_history.lock", "input_history"]
    assert entries(path)[-1] == str(KEPT + 1)


def test_what_other_chats_append_while_one_cuts_the_file_is_kept(path: Path) -> None:
    path.write_text("".join(json.dumps(str(number)) + "\n" for number in range(2 * KEPT)))
    before = path.stat().st_size
    command = [sys.executable, "-c", TYPIST, str(path)]
    chats = [subprocess.Popen([*command, name, "490"], cwd=ROOT) for name in "abcd"]
    while path.stat().st_size == before and all(chat.poll() is None for chat in chats):
        pass  # No pause: the file is cut while they are at work.
    entries(path)
    assert [chat.wait(60) for chat in chats] == [0] * 4

    found = [entry.split()[:2] for entry in entries(path)]
    assert {(name, str(number)) for name in "abcd" for number in range(490)} <= {(*entry,) for entry in found}


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no process to files of nothing")
def test_a_cut_that_the_disk_refuses_leaves_the_file_as_it_is_and_nothing_beside_it(path: Path) -> None:
    before = "".join(json.dumps(str(number)) + "\n" for number in range(2 * KEPT + 1))
    path.write_text(before)
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-c", READER, str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert path.read_text() == before
    assert {found.name for found in path.parent.iterdir()} <= {".input_history.lock", "input_history"}


def test_a_disk_that_refuses_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = InputHistory(tmp_path / "file" / "input_history")
    history.append_string("kept in this run only")

    trouble = history.take_trouble()
    assert trouble is not None
    assert "cannot be kept" in trouble
    assert history.take_trouble() is None
    assert history.get_strings() == ["kept in this run only"]


def test_without_a_path_nothing_is_kept_beyond_the_run() -> None:
    history = InputHistory(None)
    history.append_string("a secret")

    assert history.get_strings() == ["a secret"]
    assert list(history.load_history_strings()) == []
    assert history.take_trouble() is None
