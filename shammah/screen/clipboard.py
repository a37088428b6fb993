"""Puts text on the clipboard: with the system's own program, else through the terminal."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Sequence

from shammah.errors import UsageError

_PROGRAMS: dict[str, Sequence[Sequence[str]]] = {
    "darwin": [["pbcopy"]],
    "win32": [["clip.exe"]],
    "linux": [["wl-copy"], ["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]],
}
TERMINAL_LIMIT = 100_000
"""Bytes: many terminals ignore a longer OSC 52."""


def copy(text: str, *, through_terminal: bool = True) -> str:
    """Put `text` on the clipboard; returns how it went there. A terminal of lines is no way to it.

    Raises:
        UsageError: no program does it, and the text is too long for the terminal.
    """
    for command in _PROGRAMS.get(sys.platform, []):
        if shutil.which(command[0]) and _run(command, text):
            return command[0]
    if not through_terminal:
        raise UsageError("No program for the clipboard is here", hint="Write the answer to a file with /save PATH")
    payload = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(payload) > TERMINAL_LIMIT:
        raise UsageError(
            "The answer is too long for the terminal's clipboard", hint="Write it to a file with /save PATH"
        )
    sys.stdout.write(f"\x1b]52;c;{payload}\x07")
    sys.stdout.flush()
    return "the terminal"


def _run(command: Sequence[str], text: str) -> bool:
    encoding = "utf-16-le" if sys.platform == "win32" else "utf-8"
    try:
        done = subprocess.run(
            command, input=text.encode(encoding, "replace"), timeout=5, check=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
