"""The most memory that this process has held; needs the standard library only."""

from __future__ import annotations

import os
import sys


def peak_memory() -> int:
    """Bytes of resident memory at the peak."""
    if os.name == "nt":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024  # Linux counts kilobytes, macOS bytes.
