"""What this machine has for a model: memory within a container's limits, processors, instructions, disk, bandwidth."""

from __future__ import annotations

import ctypes
import itertools
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shammah import machine as system
from shammah.models.container import UNLIMITED, Container, container
from shammah.models.instructions import instructions

PROBE_BYTES = 256 << 20
"""Read by the bandwidth probe: the size of a small model, more than most caches hold."""
PROBE_LEAST = 64 << 20
"""A probe that got less than this would measure a cache."""
PROBE_THREADS = 8
"""These fill the memory lines of most machines; more would wait for the interpreter."""
PROBE_WINDOWS = 3
SHORT_SECONDS = 0.003
"""Less than a thread's turn on most systems, and enough to start all threads."""
REST_SECONDS = 0.01
_PIECE = 512 << 10


@dataclass(frozen=True)
class Machine:
    """What a choice of model depends on. Bytes, and bytes per second; None where it is not known."""

    memory_total: int
    memory_available: int
    processors: int
    instructions: frozenset[str] | None = None
    disk_free: int | None = None
    bandwidth: float | None = None


def look(folder: Path, bandwidth: float | None = None) -> Machine:
    """This machine now, with the disk that `folder` is or will be on; `bandwidth` as an earlier probe told it."""
    limits = container()
    found = memory(limits)
    return Machine(
        memory_total=found.total,
        memory_available=found.available,
        processors=min(system.usable_processors(), math.ceil(limits.processors or 1 << 20)),
        instructions=instructions(),
        disk_free=disk_free(folder),
        bandwidth=bandwidth,
    )


def memory(limits: Container | None = None) -> system.Memory:
    """The memory that a new program can have: the machine's, less where a container or `ulimit -v` allows less."""
    found = system.memory()
    limits = limits or container()
    ceiling = _address_limit()
    totals = [found.total, limits.total, ceiling]
    free = [found.available, limits.available, ceiling]
    return system.Memory(min(one for one in totals if one is not None), min(one for one in free if one is not None))


def _address_limit() -> int | None:
    """Bytes of addresses a process may have; a worker inherits it. Windows has no such limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return limit if 0 <= limit < UNLIMITED else None


def disk_free(folder: Path) -> int | None:
    """Bytes free on the disk of a folder that may not exist yet; None where the system does not tell."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def measure_bandwidth(processors: int, seconds: float = 0.8) -> float | None:
    """Bytes per second that the processors read from memory together, in about `seconds`, with up to 256 MiB.

    None where the time was too short to fill enough memory for a true figure. It is read as a model's weights are, each
    thread its own part. The best window counts, so that another program's burst does not choose: long ones, and short
    ones with rests, since the system lets threads that have rested run at once, on a busy machine too.
    """
    pieces = _filled(PROBE_BYTES, time.perf_counter() + seconds / 2)
    threads = max(1, min(processors, PROBE_THREADS))
    if len(pieces) * _PIECE < PROBE_LEAST:
        return None
    readers = [_Reader(pieces[start::threads]) for start in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        found = [_window(pool, readers, seconds / 4 / PROBE_WINDOWS) for _ in range(PROBE_WINDOWS)]
        found += _short_windows(pool, readers, time.perf_counter() + seconds / 4)
    return max(found)


def _filled(size: int, until: float) -> list[bytes]:
    """Memory that was written to: untouched pages would all be one page of zeros."""
    pieces: list[bytes] = []
    while len(pieces) * _PIECE < size and time.perf_counter() < until:
        pieces.append(b"\x01" * _PIECE)
    return pieces


def _short_windows(pool: ThreadPoolExecutor, readers: Sequence[_Reader], until: float) -> Iterator[float]:
    while time.perf_counter() < until:
        time.sleep(REST_SECONDS)
        yield _window(pool, readers, SHORT_SECONDS)


def _window(pool: ThreadPoolExecutor, readers: Sequence[_Reader], seconds: float) -> float:
    began = time.perf_counter()
    counts: list[int] = list(pool.map(lambda reader: reader.read(began + seconds), readers))
    return sum(counts) / (time.perf_counter() - began)


class _Reader:
    """Reads its pieces round and round; the next window goes on where the last one ended, outside the caches."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = itertools.cycle(pieces)
        self._landing = ctypes.create_string_buffer(_PIECE)

    def read(self, until: float) -> int:
        """Read until the time is over; returns the bytes.

        `ctypes.memmove` lets other threads run, and the landing place, always the same, stays in the processor's cache,
        so that only the reading reaches the memory.
        """
        for count, piece in enumerate(self._pieces, start=1):
            ctypes.memmove(self._landing, piece, _PIECE)
            if time.perf_counter() >= until:
                return count * _PIECE
        return 0
