"""Puts files on the disk so that neither a crash nor another program meets half of one."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PART = ".part-"
"""How the name of an unfinished folder begins."""
LEFT_S = 3600.0
"""Seconds after which an unfinished file has nobody who works on it, also where a file server's clock is behind."""
READ_S, SCAN_S = 0.5, 10.0
"""Seconds that Windows may refuse a new name: while another program reads a small file, or scans a fresh large one."""


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that is 0600 from the moment it exists."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def replace(target: Path, data: bytes, *, alone: bool = False) -> None:
    """Put `data` in the place of `target`, readable by its owner only; after a crash it is the old file or the new one.

    Of several writers the last one wins; `alone` says that there are no others now, so that what a killed one left
    goes at once. Raises OSError, and leaves the old file then.
    """
    begun = f".{target.name}.new-"
    new = target.with_name(begun + os.urandom(4).hex())
    try:
        with open_private(new, "xb") as file:
            file.write(data)
            file.flush()
            flush(file.fileno())
        rename(new, target)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # A folder that may be written and not read.
        _clear(target.parent, begun, alone)


def _clear(folder: Path, begun: str, alone: bool) -> None:
    """Remove what killed writers left behind under names that begin so."""
    for path in folder.iterdir():
        with suppress(OSError):  # Another writer clears too, or is at work on it.
            if path.name.startswith(begun) and (alone or time.time() - path.stat().st_mtime > LEFT_S):
                path.unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes its name when all went well, and is removed when not.

    What a killed process left behind under either name is removed first.
    """
    part = folder.with_name(PART + folder.name)
    for left in (part, folder):
        if left.exists():
            shutil.rmtree(left)
    part.mkdir(mode=0o700, parents=True)
    try:
        yield part
        for path in sorted(part.rglob("*"), reverse=True):
            sync(path)
        sync(part)
        rename(part, folder, SCAN_S)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder, even when the power goes."""
    if path.is_dir() and os.name == "nt":
        return  # Windows keeps names by itself, and opens no folders.
    # Windows syncs only what is open for writing.
    writable = os.access(path, os.W_OK) and not path.is_dir()
    if os.name == "nt" and not writable:
        return
    descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "darwin":
    import fcntl

    def flush(descriptor: int) -> None:
        """Have the disk keep what was written to an open file."""
        # An ordinary fsync leaves it in the drive's own memory; some file systems know no other.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)

else:

    def flush(descriptor: int) -> None:
        """Have the disk keep what was written to an open file."""
        os.fsync(descriptor)


def rename(new: Path, target: Path, patience_s: float = READ_S) -> None:
    """Give a file, or a folder, the name of the target; it keeps it even when the power goes."""
    # Windows refuses while a reader has the target open, or a virus scanner a file that has just been written.
    until = time.monotonic() + (patience_s if os.name == "nt" else 0.0)
    while time.monotonic() < until:
        with suppress(PermissionError):
            new.replace(target)
            break
        time.sleep(0.01)
    else:
        new.replace(target)
    # Without it a power cut may take the new name back.
    sync(target.parent)
