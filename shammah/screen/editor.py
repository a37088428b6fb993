"""A text in the person's own editor."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shammah.errors import UsageError

USUAL = [f"/usr/bin/{name}" for name in ("editor", "nano", "pico", "vi", "emacs")]
"""What to try, in turn, where the person has named none."""


def edited(text: str, editors: Sequence[str]) -> str | None:
    """What the person makes of a text; None where they gave it up, as the editor's exit status tells.

    Args:
        text: What the editor opens on.
        editors: Commands; the first that can be run is.

    Raises:
        UsageError: no editor could be run, or there is no room for its file.
    """
    try:
        # Where an editor of Windows still holds the file, it stays.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "question.md"
            path.write_text(text, encoding="utf-8", errors="replace")  # A terminal may give what is no UTF-8.
            for command in editors:
                with contextlib.suppress(OSError, ValueError):
                    ended = subprocess.run([*_words(command), str(path)], check=False).returncode
                    return None if ended else path.read_text(encoding="utf-8-sig", errors="replace").rstrip("\n")
    except OSError as cause:
        hint = "Free some space where temporary files are kept"
        raise UsageError(f"The editor gets no file: {cause.strerror}", hint=hint) from cause
    raise UsageError("No editor could be run", hint="Name one in VISUAL or EDITOR")


def _words(command: str) -> list[str]:
    """The program and its arguments. A path may hold blanks, and that of Windows backslashes."""
    if shutil.which(command):
        return [command]
    posix = os.name != "nt"
    program, *arguments = shlex.split(command, posix=posix)
    if not posix:  # It leaves the quotes.
        program, *arguments = (word.strip('"') for word in (program, *arguments))
    return [shutil.which(program) or program, *arguments]
