"""Whether a request is tried again, and after how long: bounded in tries and in time."""

from __future__ import annotations

from shammah.cloud.exchange import Fault, Patience

TRIES = 3
"""At most, with the first; `Patience` has a pause before each further one."""


def pause(fault: Fault, tries: int, passed_s: float, patience: Patience) -> float | None:
    """Seconds until the next try, after so many `tries` in `passed_s`; None where there is to be no further one."""
    if not fault.again or tries >= TRIES:
        return None
    pauses = patience.offline_pauses_s if fault.error.trouble == "offline" else patience.pauses_s
    seconds = pauses[tries - 1] if fault.after_s is None else fault.after_s
    return seconds if passed_s + seconds <= patience.retrying_s else None
