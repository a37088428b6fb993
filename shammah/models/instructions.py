"""The instruction sets of this processor that speed 4-bit products up, by one name on every system."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

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


@cache
def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The instruction sets that speed 4-bit products up, as `FLAGS` names them; None where the system does not tell."""
    if os.name == "nt":
        return _windows_instructions()
    words = _mac_flags() if sys.platform == "darwin" else linux_flags(_read(cpuinfo))
    return None if words is None else frozenset(FLAGS[word] for word in words if word in FLAGS)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


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
