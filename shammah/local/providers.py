"""Where models can run on this machine, asked of a process of its own: the chat imports no runtime."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shammah.pipes import command

LIMIT = 30.0
"""Seconds that drivers may take to name their devices."""
_MARK = b"trial: "


def provider_rows(folder: Path, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each execution provider with what can be said of it, and what was measured for the model in `folder`."""
    task = json.dumps({"kind": "report", "folder": str(folder), "limit": LIMIT}).encode("ascii") + b"\n"
    program = command("shammah.worker.trial")
    try:
        done = subprocess.run(
            program, input=task, capture_output=True, env=dict(environment), timeout=2 * LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        return [("providers", f"not known: {cause}")]
    for line in done.stdout.splitlines():
        if line.startswith(_MARK) and "rows" in (reply := json.loads(line.removeprefix(_MARK))):
            return [(str(name), str(text)) for name, text in reply["rows"]]
    return [("providers", f"not known: the process that asks ended with status {done.returncode}")]
