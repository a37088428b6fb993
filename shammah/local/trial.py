"""A question to a process beside this one, which may crash or hang without harm: `python -m shammah.worker.trial`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shammah.pipes import command, end, spawn

COMMAND = command("shammah.worker.trial")
MARK = b"trial: "
"""What a reply's line begins with; drivers print lines of their own to the same pipe."""
_ENDING = 1.0
"""Seconds for the pipe to end after the process."""


@dataclass(frozen=True)
class Heard:
    """What the process said, in order; `trouble` tells how it failed, "" where it did all it was asked."""

    replies: list[dict[str, Any]]
    trouble: str

    def find(self, name: str) -> Any:
        """The last value said under this name, None where it was never said."""
        return next((reply[name] for reply in reversed(self.replies) if name in reply), None)


def ask(
    task: Mapping[str, object], limit: float, environment: Mapping[str, str], program: Sequence[str] = COMMAND
) -> Heard:
    """Give the task to a new process and wait `limit` seconds at most; whatever it does, this returns."""
    given = json.dumps({**task, "limit": limit}).encode("ascii") + b"\n"
    try:
        child = spawn(program, environment, subprocess.DEVNULL)
    except OSError as cause:
        return Heard([], f"its process could not be started: {cause}")
    try:
        said, _ = child.communicate(given, timeout=limit)
    except subprocess.TimeoutExpired:
        return Heard(_replies(_ended(child)), f"it was not done after {limit:g} s")
    heard = Heard(_replies(said), "")
    return Heard(heard.replies, heard.find("error") or _ending(child.returncode))


def _ended(child: subprocess.Popen[bytes]) -> bytes:
    """What it said until now, when it is ended with all that it started."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    end(child)
    try:
        return child.communicate(timeout=_ENDING)[0]
    except subprocess.TimeoutExpired as late:  # What it started is out of reach and keeps the pipe.
        if child.stdout is not None and os.name != "nt":  # On Windows a thread reads it, and closing waits for that.
            child.stdout.close()
        return late.output or b""


def _replies(said: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(MARK) for line in said.splitlines(keepends=True) if line.startswith(MARK)]
    # A process that was killed may leave half a line.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _ending(status: int) -> str:
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"its process was ended by {names.get(-status, f'signal {-status}')}"
    return f"its process ended with status {status}" if status else ""
