"""One of several loaders works in a folder: a lock that the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from shammah.locks import locked

NAME = "lock"


class Lock:
    """The right to write into a folder; freed by `with`, or by the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder cannot be made or written to."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        """Take it if it is free; returns at once, and tells whether it is held now."""
        if not locked(self._descriptor):
            return False
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, str(os.getpid()).encode("ascii"))
        return True

    def holder(self) -> str:
        """The number of the process that took it last, "" where that is not known."""
        return self._path.read_text(encoding="ascii", errors="replace").strip()[:20]

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
