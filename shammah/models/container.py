"""What control groups allow this process: the tightest limits of a container, of systemd, of whoever set some."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60
"""A limit from here on is none: version 1 of control groups writes 2**63 less a page."""


@dataclass(frozen=True)
class Container:
    """What control groups allow this process: bytes in all, bytes still free, processors; None where nothing says."""

    total: int | None = None
    available: int | None = None
    processors: float | None = None


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
