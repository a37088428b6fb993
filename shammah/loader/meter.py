"""How far a download is: counts bytes, and tells it a few times a second also while nothing comes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from shammah.models.protocol import Downloading

INTERVAL = 0.2
WINDOW = 5.0
"""Seconds that the rate is taken over."""


class Meter:
    """Tells `Downloading` while it is entered, and once more when it is left."""

    def __init__(self, done: int, total: int, told: Callable[[Downloading], None], *, watching: bool = False) -> None:
        self.done = done
        self._total = total
        self._told = told
        self._watching = watching
        self._seen: deque[tuple[float, int]] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="meter")

    def add(self, count: int) -> None:
        """So many bytes are here; a negative count takes back what turned out wrong."""
        self.done += count

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while True:
            over = self._over.wait(INTERVAL if self._seen else 0)
            self._told(Downloading(self.done, self._total, self._rate(time.monotonic()), self._watching))
            if over:
                return

    def _rate(self, now: float) -> float:
        """Bytes per second of late."""
        self._seen.append((now, self.done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        then, done = self._seen[0]
        return max(0.0, (self.done - done) / (now - then)) if now > then else 0.0
