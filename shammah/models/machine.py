"""What this machine has for a model: memory within a container's limits, processors, instructions, disk, bandwidth."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import posixpath
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shammah import machine as system

FLAGS = {
    # Linux, /proc/cpuinfo
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    # macOS, `sysctl hw.optional`
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.neon": "neon",
    "hw.optional.arm.advsimd": "neon",
    "hw.optional.arm.feat_dotprod": "dotprod",
    "hw.optional.arm.feat_i8mm": "i8mm",
}
"""Names of instruction sets that matter to 4-bit products, by what each system calls them in lower case."""

WINDOWS_FEATURES = {40: "avx2", 41: "avx512", 19: "neon", 43: "dotprod"}
"""The same by the numbers of IsProcessorFeaturePresent (winnt.h), which tells nothing of VNNI and i8mm."""

PROBE_BYTES = 256 << 20
"""Read by the bandwidth probe: the size of a small model, more than most caches hold."""
PROBE_LEAST = 64 << 20
"""A probe that got less than this would measure a cache."""
PROBE_THREADS = 8
"""These fill the memory lines of most machines; more would wait for the interpreter."""
PROBE_WINDOWS = 3
_PIECE = 512 << 10

UNLIMITED = 1 << 60
"""A limit from here on is none: version 1 of control groups writes 2**63 less a page."""


@dataclass(frozen=True)
class Container:
    """What control groups allow this process: bytes in all, bytes still free, processors; None where nothing says."""

    total: int | None = None
    available: int | None = None
    processors: float | None = None


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
    found, limits = memory(), container()
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


def container(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Container:
    """The tightest limits of the control groups that this process is in; nothing where the system has none.

    Args:
        own: The file that names this process's groups, one `number:controllers:path` a line.
        root: Where the groups are mounted, in version 1 with a folder for each controller.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return Container()
    folders = list(itertools.chain.from_iterable(_folders(line, root) for line in lines))
    limits = [(limit, folder) for folder in folders for limit in _limits(folder)]
    free = (limit - min(limit, _held(folder)) for limit, folder in limits)
    shares = (share for folder in folders if (share := _processors(folder)) is not None)
    total = min((limit for limit, _ in limits), default=None)
    return Container(total, min(free, default=None), min(shares, default=None))


def _folders(line: str, root: Path) -> Iterator[Path]:
    """The folders of the group that a line names, and of those above it, whose limits hold as well."""
    controllers, _, group = line.partition(":")[2].partition(":")
    # Version 2 has one tree, also beside version 1; inside a container the path may be one of outside, and is absent.
    trees = (
        [root / name for name in (controllers, *controllers.split(","))] if controllers else [root, root / "unified"]
    )
    inner = Path(posixpath.normpath("/" + group).lstrip("/"))
    for tree in dict.fromkeys(trees):
        yield from (tree / part for part in (inner, *inner.parents))


def _limits(folder: Path) -> Iterator[int]:
    """A group's limits of memory. Above `memory.high` the system slows a program to a crawl, which is a limit too."""
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        limit = _number(folder / name)
        if limit is not None and limit < UNLIMITED:
            yield limit


def _held(folder: Path) -> int:
    """Bytes that a group uses and cannot give back: cached files can be dropped."""
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    names = ("active_file", "inactive_file")
    cached = sum(int(counts.get(f"total_{name}", counts.get(name, "0"))) for name in names)
    return max(0, used - cached)


def _processors(folder: Path) -> float | None:
    """Processors' worth of time that a group may use."""
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    quota = quota or _text(folder / "cpu.cfs_quota_us")
    period = period or _text(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """A small file's text; "" where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The instruction sets that speed 4-bit products up, as `FLAGS` names them; None where the system does not tell."""
    if os.name == "nt":
        return _windows_instructions()
    words = _mac_flags() if sys.platform == "darwin" else linux_flags(_text(cpuinfo))
    return None if words is None else frozenset(FLAGS[word] for word in words if word in FLAGS)


def linux_flags(cpuinfo: str) -> set[str] | None:
    """The flags of the first processor in /proc/cpuinfo; None where there are none."""
    for line in cpuinfo.splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(words.split())
    return None


def mac_flags(sysctl: str) -> set[str] | None:
    """The features that `sysctl hw.optional` says are there, in lower case; None where it says nothing."""
    pairs = [line.partition(":") for line in sysctl.lower().splitlines()]
    return {name.strip() for name, _, value in pairs if value.strip() == "1"} or None


def _mac_flags() -> set[str] | None:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "hw.optional"], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return mac_flags(done.stdout)


def _windows_instructions() -> frozenset[str] | None:
    kernel = getattr(ctypes, "windll", None)
    if kernel is None:
        return None
    present = kernel.kernel32.IsProcessorFeaturePresent
    return frozenset(name for number, name in WINDOWS_FEATURES.items() if present(number))


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
