"""The machine that figures come from, described well enough to compare them with another's."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

LIBRARIES = ("prompt-toolkit", "onnxruntime", "onnxruntime-genai", "tokenizers", "numpy", "jinja2", "tomli", "psutil")


def describe() -> list[tuple[str, str]]:
    """Rows of a name and a text: processor, memory, system, Python, libraries."""
    return [
        ("processor", f"{_processor()}, {_count()}"),
        ("memory", f"{psutil.virtual_memory().total / 1e9:.1f} GB"),
        ("system", f"{platform.system()} {platform.release()} on {platform.machine()}"),
        ("Python", platform.python_version()),
        ("libraries", ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)),
    ]


def in_a_line() -> str:
    """The machine in few words."""
    gigabytes = psutil.virtual_memory().total / 1e9
    return f"{_processor()}, {_count()}, {gigabytes:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def busy() -> float:
    """How many processes wanted a processor in the last minute; figures taken while others work say little."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows keeps no such count.
        return 0.0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _count() -> str:
    return f"{psutil.cpu_count(logical=False) or '?'} physical and {psutil.cpu_count()} logical processors"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
