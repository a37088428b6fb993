"""Folders that appear whole or not at all, and files in two places at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part-"
"""How the name of an unfinished folder begins."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes its name when all went well, and is removed when not.

    What a killed process left behind under either name is removed first.
    """
    part = folder.with_name(PART + folder.name)
    for left in (part, folder):
        if left.exists():
            shutil.rmtree(left)
    part.mkdir(parents=True)
    try:
        yield part
        for path in sorted(part.rglob("*"), reverse=True):
            _sync(path)
        _sync(part)
        part.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder."""
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


def link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
