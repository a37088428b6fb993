"""An end to waiting where a library knows none: for a name look-up, or for headers that come a byte at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises; it goes on in its thread, unheard, when it takes longer.

    Raises:
        TimeoutError: it took longer.
    """
    threads = ThreadPoolExecutor(1, "deadline")
    try:
        return threads.submit(work).result(seconds)
    finally:
        threads.shutdown(wait=False)
