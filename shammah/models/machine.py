"""What this machine has for a model: memory within a container's limits, processors, instructions, disk, bandwidth."""

from __future__ import annotations

import ctypes
import itertools
import math
import shutil
import sys
import time
from collections.abc import Sequence
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


def measure_bandwidth(processors: int, seconds: float = 0.6) -> float | None:
    """Bytes per second that the processors read from memory together, in about `seconds`, with up to 256 MiB.

    None where the time was too short to fill enough memory for a true figure. It is read as a model's weights are, each
    thread its own part. The best of three windows counts, so that another program's burst does not choose.
    """
    pieces = _filled(PROBE_BYTES, time.perf_counter() + seconds / 2)
    threads = max(1, min(processors, PROBE_THREADS))
    if len(pieces) * _PIECE < PROBE_LEAST:
        return None
    with ThreadPoolExecutor(threads) as pool:
        windows = [_window(pool, pieces, threads, seconds / 2 / PROBE_WINDOWS) for _ in range(PROBE_WINDOWS)]
    return max(windows)


def _filled(size: int, until: float) -> list[bytes]:
    """Memory that was written to: untouched pages would all be one page of zeros."""
    pieces: list[bytes] = []
    while len(pieces) * _PIECE < size and time.perf_counter() < until:
        pieces.append(b"\x01" * _PIECE)
    return pieces


def _window(pool: ThreadPoolExecutor, pieces: Sequence[bytes], threads: int, seconds: float) -> float:
    began = time.perf_counter()
    counts = list(pool.map(lambda start: _read(pieces[start::threads], began + seconds), range(threads)))
    return sum(counts) / (time.perf_counter() - began)


def _read(pieces: Sequence[bytes], until: float) -> int:
    """Read pieces round and round until the time is over; returns the bytes.

    `ctypes.memmove` lets other threads run, and the landing place, always the same, stays in the processor's cache, so
    that only the reading reaches the memory.
    """
    landing = ctypes.create_string_buffer(_PIECE)
    for count, piece in enumerate(itertools.cycle(pieces), start=1):
        ctypes.memmove(landing, piece, _PIECE)
        if time.perf_counter() >= until:
            return count * _PIECE
    return 0
