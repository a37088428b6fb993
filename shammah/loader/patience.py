"""How long to go on trying while too little of a download comes."""

from __future__ import annotations

import time

from shammah.errors import HubError
from shammah.loader.faults import silent

STALL = 20.0
"""Seconds in which `ENOUGH` bytes must come: with the longest read, a stall is told within 30 s of its beginning."""
ENOUGH = 4096
WAITS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the next try, counted from the last time that bytes came: a link that breaks often loses none."""


class Patience:
    """The seconds that are left, and the tries; both begin anew whenever enough comes."""

    def __init__(self, host: str, stall: float) -> None:
        self._host = host
        self._stall = stall
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._bytes = 0
        self._tries = 0

    @property
    def left(self) -> float:
        """Seconds."""
        return self._stall - (time.monotonic() - self._since)

    def came(self, count: int) -> None:
        """Bytes came. Raises HubError when they are too few for the time they took."""
        self._bytes += count
        if self._bytes >= ENOUGH:
            self._begin()
        elif self.left <= 0:
            raise self.over()

    def over(self) -> HubError:
        """What to say when it has run out."""
        return silent(self._host, self._stall)

    def wait(self, cause: HubError, wish: float = 0.0) -> None:
        """Wait before the next try, as long as the hub wishes. Raises the cause of the last when that is too long."""
        if self._tries == len(WAITS) or self.left <= max(WAITS[self._tries], wish):
            raise cause
        time.sleep(max(WAITS[self._tries], wish))
        self._tries += 1
