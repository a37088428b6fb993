"""What a contest found, kept in a small file beside the model for as long as nothing that decides it changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shammah.files import replace
from shammah.worker.providers import Provider, installed

FILE = "providers.json"
EDGE = 65_536
"""Bytes at each end of a large file that its digest takes in."""
_DRIVERS = ((Path("/proc/driver/nvidia"), "version"), (Path("/usr/share/vulkan/icd.d"), "*.json"))


@dataclass(frozen=True)
class Memory:
    """All that the outcome depends on: another model, package, device, driver or setting makes a new contest."""

    model: str
    packages: dict[str, str]
    devices: list[str]
    system: list[str]
    threads: int
    backend: str

    @staticmethod
    def of(folder: Path, providers: Sequence[Provider], threads: int, backend: str) -> Memory:
        """What an outcome on this machine as it is now would depend on."""
        devices = [f"{provider.name}: {provider.device}" for provider in providers]
        return Memory(digest(folder), installed(), devices, list(_system()), threads, backend)


def digest(folder: Path) -> str:
    """A name for the model's graph and weights: sizes, and both ends of each file, so that 8 GB take no minute."""
    told = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.name == "genai_config.json" or ".onnx" in path.name):
        size = path.stat().st_size
        told.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            told.update(file.read(EDGE))
            file.seek(max(size - EDGE, 0))
            told.update(file.read(EDGE))
    return told.hexdigest()


def recall(folder: Path, memory: Memory | None) -> dict[str, str] | None:
    """The `winner` and `why` that were kept, where all is as it was; None compares nothing."""
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = {"winner": str(kept["winner"]), "why": str(kept["why"])}
        return found if memory is None or kept["memory"] == asdict(memory) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(folder: Path, memory: Memory, winner: str, why: str) -> None:
    """Keep an outcome; a folder that cannot be written to costs a contest each time and nothing else."""
    text = json.dumps({"winner": winner, "why": why, "memory": asdict(memory)}, indent=1)
    with contextlib.suppress(OSError):
        replace(folder / FILE, text.encode())


def forget(folder: Path) -> None:
    """Let the next load of this model take a contest again."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)


def _system() -> Iterator[str]:
    """What tells a graphics driver's version: its own files on Linux, the system's version elsewhere."""
    yield platform.platform()
    for folder, pattern in _DRIVERS:
        for path in sorted(folder.glob(pattern)):
            with contextlib.suppress(OSError):
                yield f"{path} {path.stat().st_size} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
