"""A file of a repository on the disk: the part that is here, and the whole once its digest is right.

A part is written to NAME.part beside its place and gets its name when it is sound. Nothing else about a download is
kept, so a process may be killed at any time: the next one reads the part and goes on behind it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

from shammah.files import SCAN_S, flush, rename
from shammah.loader.meter import Meter
from shammah.models.protocol import ListedFile

PART = ".part"
CHUNK = 1 << 20
_BINARY: int = getattr(os, "O_BINARY", 0)


def sound(path: Path, file: ListedFile) -> bool:
    """Whether the file at `path` is the one that was listed, by size and digest."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    made = digest(file)
    with path.open("rb") as content:
        while piece := content.read(CHUNK):
            made.update(piece)
    return made.hexdigest() == file.digest


def digest(file: ListedFile) -> hashlib._Hash:
    """What the listing's digest is made with: sha256, or git's sha1 of a blob for what is not kept in LFS."""
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def present(target: Path, size: int) -> int:
    """Bytes of a file that are on the disk, whole or in part."""
    for path in (target, target.with_name(target.name + PART)):
        if path.is_file():
            return min(path.stat().st_size, size)
    return 0


class Part:
    """The part of a file that is here; open it with `with`."""

    def __init__(self, target: Path, file: ListedFile, meter: Meter) -> None:
        self.file = file
        self.done = 0
        self._target = target
        self._path = target.with_name(target.name + PART)
        self._meter = meter
        self._digest = digest(file)

    def __enter__(self) -> Part:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._content = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600), "r+b", buffering=0)
        while piece := self._content.read(CHUNK):
            self._digest.update(piece)
            self.done += len(piece)
        if self.done > self.file.size:
            self._meter.add(self.done - self.file.size)  # No more than the size was counted.
            self.begin_again()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    @property
    def complete(self) -> bool:
        """Whether it has the listed size."""
        return self.done == self.file.size

    @property
    def sound(self) -> bool:
        """Whether it is the whole file, and the right one."""
        return self.complete and self._digest.hexdigest() == self.file.digest

    def take(self, piece: bytes) -> None:
        """Write what came, up to the listed size; what goes beyond is dropped."""
        piece = piece[: self.file.size - self.done]
        self._content.write(piece)
        self._digest.update(piece)
        self.done += len(piece)
        self._meter.add(len(piece))

    def begin_again(self) -> None:
        """Drop what is here."""
        self._meter.add(-self.done)
        self._content.seek(0)
        self._content.truncate()
        self._digest = digest(self.file)
        self.done = 0

    def keep(self) -> None:
        """Give it its name, so that it holds even when the power goes."""
        flush(self._content.fileno())
        self._content.close()
        rename(self._path, self._target, SCAN_S)

    def discard(self) -> None:
        """Leave nothing of it."""
        self._content.close()
        self._path.unlink()
