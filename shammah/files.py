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


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that is 0600 from the moment it exists."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def replace(target: Path, data: bytes) -> None:
    """Put `data` in the place of `target`, readable by its owner only; after a crash it is the old file or the new one.

    One writer at a time. Raises OSError, and leaves the old file then.
    """
    # One name for all writers, so that what a killed one left is overwritten by the next.
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        with open_private(new, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _rename(new, target)
    except OSError:
        new.unlink(missing_ok=True)
        raise


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
        part.rename(folder)
        sync(folder.parent)
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
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _rename(new: Path, target: Path) -> None:
        # A reader that has the file open keeps Windows from replacing it, for a moment.
        for _ in range(50):
            with suppress(PermissionError):
                new.replace(target)
                return
            time.sleep(0.01)
        new.replace(target)

else:

    def _rename(new: Path, target: Path) -> None:
        new.replace(target)
        # Without it a power cut may take the new name back.
        sync(target.parent)
