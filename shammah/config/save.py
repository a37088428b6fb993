"""Replaces a file whole or not at all, one process at a time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shammah import files
from shammah.errors import ConfigError
from shammah.locks import locked

PATIENCE = 10.0
"""Seconds to wait for another process that is saving; a save takes milliseconds."""

PAUSE = 0.01


@contextmanager
def sole_writer(target: Path) -> Iterator[None]:
    """While this is open, no other process changes `target` this way; its folder is made where it is missing.

    Raises:
        ConfigError: the folder cannot be written, another process holds on too long, or the block met an `OSError`.
    """
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file stays: a lock on a name that is removed and made again would keep nobody out.
        with files.open_private(target.with_name(f".{target.name}.lock"), "ab") as lock:
            _wait(lock.fileno(), target)
            yield
    except OSError as cause:
        raise ConfigError(f"{target} cannot be saved: {cause.strerror or cause}", hint=_hint(cause)) from cause


def replace(target: Path, data: bytes) -> None:
    """Put `data` in the place of `target`, readable by its owner only; after a crash it is the old file or the new one.

    Call it as the sole writer. Raises OSError, and leaves the old file then.
    """
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "The file is read-only")
    files.replace(target, data, alone=True)


def _wait(lock: int, target: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not locked(lock):
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{target} is being saved by another process for {PATIENCE:.0f} s",
                hint="End that process, or try again",
            )
        time.sleep(PAUSE)


def _hint(cause: OSError) -> str:
    match cause.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Free some space on that disk; the old file is as it was"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "Make the file and its folder writable, or set SHAMMAH_HOME to another folder"
        case _:
            return "Check the folder and its disk"
