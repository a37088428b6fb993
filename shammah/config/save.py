"""Replaces a file whole or not at all, one process at a time."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shammah.errors import ConfigError

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
        with _private(target.with_name(f".{target.name}.lock"), "ab") as lock:
            _wait(lock, target)
            yield
    except OSError as cause:
        raise ConfigError(f"{target} cannot be saved: {cause.strerror or cause}", hint=_hint(cause)) from cause


def replace(target: Path, data: bytes) -> None:
    """Put `data` in the place of `target`, readable by its owner only; after a crash it is the old file or the new one.

    Call it as the sole writer. Raises OSError, and leaves the old file then.
    """
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "The file is read-only")
    # One name for all writers, so that what a killed one left is overwritten by the next.
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        with _private(new, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _rename(new, target)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that is 0600 from the moment it exists."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _rename(new: Path, target: Path) -> None:
        # A reader that has the file open keeps Windows from replacing it, for a moment.
        for _ in range(50):
            with suppress(PermissionError):
                new.replace(target)
                return
            time.sleep(PAUSE)
        new.replace(target)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _rename(new: Path, target: Path) -> None:
        new.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            # Without it a power cut may take the new name back.
            os.fsync(folder)
        finally:
            os.close(folder)


def _wait(lock: IO[bytes], target: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _lock(lock):
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
