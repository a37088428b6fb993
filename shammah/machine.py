"""What the machine has and what a process uses of it. psutil is imported late: it takes a tenth of the chat's start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Bytes of memory: all there is, and what is free for a new program."""

    total: int
    available: int

    def __str__(self) -> str:
        return f"{self.available / 1e9:.1f} of {self.total / 1e9:.1f} GB free"


def memory() -> Memory:
    """The machine's memory now."""
    import psutil

    found = psutil.virtual_memory()
    return Memory(found.total, found.available)


def processors() -> tuple[int | None, int | None]:
    """Physical and logical processors, where the system tells."""
    import psutil

    return psutil.cpu_count(logical=False), psutil.cpu_count()


def usable_processors() -> int:
    """Physical processors that this process may use; a second thread on one core slows a model down."""
    import psutil

    physical, logical = processors()
    count = physical or logical or 1
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else count
    return max(1, min(count, allowed))


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 where there is no such process."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def memory_of(pid: int) -> int | None:
    """Bytes of memory that a process holds, on Windows the most it held; None where there is no such process."""
    import psutil

    try:
        found = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return int(getattr(found, "peak_wset", found.rss))
