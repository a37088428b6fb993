"""What commands of the chat do where the system refuses; how they look on a terminal is in test_chat_pty.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shammah.errors import UsageError
from shammah.screen.actions import shell

ROOT = Path(__file__).resolve().parents[1]
UNUSED: Any = None


@pytest.mark.parametrize("command", ["echo " + "x" * 3_000_000, "echo a\0b"], ids=["too long", "zero byte"])
def test_a_command_that_the_system_does_not_take_is_told(command: str) -> None:
    with pytest.raises(UsageError, match="The command cannot be run: ") as told:
        shell(UNUSED, command)
    assert told.value.hint


SAVE = """
import resource, sys
from types import SimpleNamespace
from shammah.errors import UsageError
from shammah.history.opening import memory_store
from shammah.screen.actions import save
from shammah.session import Session

with memory_store() as store:
    chat = SimpleNamespace(session=Session({}, store, ""), store=store, out=SimpleNamespace(note=print))
    if len(sys.argv) > 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        save(chat, "notes.md")
    except UsageError as error:
        print(error)
"""
"""Saves a conversation in this folder, on a disk that takes so many bytes of a file."""


@pytest.mark.skipif(os.name == "nt", reason="no file is bounded on Windows")
def test_what_a_full_disk_left_of_a_saved_conversation_is_removed(tmp_path: Path) -> None:
    def saved(*room: str) -> str:
        command = [sys.executable, "-c", SAVE, *room]
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
        return done.stdout

    assert saved("10") == "notes.md cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []
    assert saved() == "Written to notes.md\n"
    whole = (tmp_path / "notes.md").read_bytes()
    assert saved("10").startswith("notes.md is there already")
    assert (tmp_path / "notes.md").read_bytes() == whole
