"""A question to a process beside this one, which may crash or hang without harm: `python -m shammah.worker.trial`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shammah.pipes import command, spawn

COMMAND = command("shammah.worker.trial")
MARK = b"trial: "
"""What a reply's line begins with; drivers print lines of their own to the same pipe."""


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
    with child:
        try:
            said, _ = child.communicate(given, timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            said, _ = child.communicate()
            return Heard(_replies(said), f"it was not done after {limit:g} s")
        heard = Heard(_replies(said), "")
        return Heard(heard.replies, heard.find("error") or _ending(child.returncode))


def _replies(said: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(MARK) for line in said.splitlines(keepends=True) if line.startswith(MARK)]
    # A process that was killed may leave half a line.
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _ending(status: int) -> str:
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"its process was ended by {names.get(-status, f'signal {-status}')}"
    return f"its process ended with status {status}" if status else ""
