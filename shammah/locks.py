"""A lock on an open file, which the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
import sys

_FAR = 1 << 30
"""Windows keeps locked bytes from being read: one that is never written is locked, so that the file can be read."""

if sys.platform == "win32":
    import msvcrt

    def locked(descriptor: int) -> bool:
        """Lock the file if it is free; returns at once, and tells whether it is ours now."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def locked(descriptor: int) -> bool:
        """Lock the file if it is free; returns at once, and tells whether it is ours now."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
