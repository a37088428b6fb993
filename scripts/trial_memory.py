#!/usr/bin/env python3
"""Promise 12, the memory: a model too large is refused before it is fetched and before it is loaded; the peak is right.

    python scripts/trial_memory.py                                  # refusals, with the small export of the tests
    python scripts/trial_memory.py --export FOLDER --json FILE      # and the peak of a larger one, as downloaded

The machine is made small by the files in which a container's limits stand, in a mount namespace of its own; where that
is not allowed, by the memory to be left to other programs. Models come from a hub on loopback. Exit status 1 when the
promise is missed. POSIX only; needs the test extra.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil

from scripts.apart import mounted
from scripts.promise import Reached, heed_signals, tell
from shammah.config import set_value
from shammah.models import catalog, store
from tests.servers.hub import Hub
from tests.terminal import PATIENCE, terminal, variables

EXPORT = ROOT / "tests" / "data" / "tiny_export"
PROGRAM = (sys.executable, "-m", "shammah")
SLACK = 0.15
MB = 1_000_000
SMALL_MACHINE = 700 * MB
"""Bytes of memory: enough for the program and the starter, too few for the smallest of the family."""
CONTEXT = 4096
WORTH = 100 * MB
"""Bytes of weights from which on the peak is the model's; below, that of Python and the libraries is measured."""
NUMBERS = ("of memory, and", "are free")


def main() -> int:
    """Run the trial, print a line for each result, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, nargs="+", default=[], help="folders with larger exports, as downloaded")
    parser.add_argument("--only", type=int, nargs="+", choices=(12,), help="this promise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    heed_signals()
    with tempfile.TemporaryDirectory(prefix="trial-memory-") as folder:
        return tell(_trials(Path(folder), given.export), given.json)


def _trials(folder: Path, exports: Sequence[Path]) -> Iterator[Reached]:
    yield try_refusals(folder / "small")
    if exports:
        yield try_peaks(folder / "peaks", [EXPORT, *(path.resolve() for path in exports)])
    else:
        print("left out  the peak: name an export of a real size with --export", flush=True)


# A small machine


@dataclass(frozen=True)
class Place:
    """A home on a small machine: the words before a command that run it there, and what they simulate."""

    home: Path
    words: list[str]
    kind: str


def small(folder: Path, memory: int, reserve_gb: float = 0.1) -> Place:
    """A machine of so many bytes; where none can be made, this one with next to nothing beside the reserve."""
    home = folder / "home"
    home.mkdir(parents=True)
    words = container(folder / "groups", memory)
    works = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    if not works:
        words, reserve_gb = [], (psutil.virtual_memory().total - memory) / 1e9 + reserve_gb
    set_value(home / "config.toml", "routing.reserve_ram_gb", f"{reserve_gb:.2f}")
    return Place(home, words, f"a container of {memory / MB:.0f} MB" if works else "a reserve for other programs")


def container(groups: Path, memory: int) -> list[str]:
    """The words that put the files of a container's limits where the system's own are."""
    groups.mkdir()
    for name, content in (("memory.max", memory), ("memory.current", 0), ("memory.stat", "inactive_file 0")):
        (groups / name).write_text(f"{content}\n")
    return mounted(f'mount --bind "{groups}" /sys/fs/cgroup')


# Refused with the numbers


def try_refusals(folder: Path) -> Reached:
    """Ask for models that do not fit, in every way that one can be asked for."""
    found = _not_fetched(folder)
    told, kind = _loaded(folder / "loaded")
    found["a model on the disk, before it is loaded"] = said(told) and "models use starter" in told
    words = "; ".join(f"{what}: {'yes' if held else 'NO'}" for what, held in found.items())
    return Reached(
        12,
        f"memory, in {kind}, refused with the numbers before the first byte: {words}",
        "refused before byte 1 and before the load, with the numbers",
        all(found.values()),
    )


def _not_fetched(folder: Path) -> dict[str, bool]:
    """Each way to ask for a model that is still to be fetched, and whether it was refused before the first byte."""
    for size in ("0.5b", "14b"):
        shutil.copytree(EXPORT, folder / "hub" / catalog.find(size).repo)
    ways: dict[str, Callable[[Hub], str]] = {
        "auto": lambda hub: _in_a_chat(folder / "auto", hub, "auto"),
        "a size by name": lambda hub: _in_a_chat(folder / "named", hub, "14b"),
        "models pull": lambda hub: _pulled(folder / "pulled", hub),
    }
    found = {}
    with Hub(folder / "hub") as hub:
        for what, asks in ways.items():
            hub.forget()
            told = asks(hub)
            found[what] = said(told) and not hub.sent("resolve", "cdn")
            if not found[what]:
                print(f"  {what}: {hub.sent('resolve', 'cdn'):,} bytes were sent; it said: {told}", file=sys.stderr)
    return found


def said(told: str) -> bool:
    """Whether both numbers were told: what is needed, and what is free."""
    return all(words in " ".join(told.split()) for words in NUMBERS)


def _in_a_chat(folder: Path, hub: Hub, size: str) -> str:
    """What a chat says that wants this size."""
    place = small(folder, SMALL_MACHINE)
    set_value(place.home / "config.toml", "local.size", size)
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": ""}
    command = (*place.words, *PROGRAM)
    with terminal(place.home, command=command, columns=200, environment=environment) as chat:
        chat.until(lambda: chat.at_prompt, "no prompt")
        end = time.monotonic() + PATIENCE
        while not (said(told := chat.display) or hub.sent("resolve", "cdn") or time.monotonic() > end):
            chat.ask("/why")
            chat.ask("/status")
        return told


def _pulled(folder: Path, hub: Hub) -> str:
    """What `models pull` says to a size that can never be loaded here."""
    place = small(folder, SMALL_MACHINE)
    environment = variables(place.home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="")
    command = [*place.words, *PROGRAM, "models", "pull", "14b"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr


def _loaded(folder: Path) -> tuple[str, str]:
    """What is said of a prepared model that does not fit, and by what the machine was made small."""
    made = prepared(folder / "whole", EXPORT)
    place = small(folder, SMALL_MACHINE, reserve_gb=0.65)
    command = [*place.words, *PROGRAM, "-m", str(made), "what is the answer?"]
    done = subprocess.run(command, env=variables(place.home), capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else "", place.kind


# The peak


@dataclass(frozen=True)
class Peak:
    """A model's memory in bytes: of its files, as predicted, and at the most that its worker held."""

    name: str
    weights: int
    predicted: int
    measured: int

    @property
    def off(self) -> float:
        """By how much of the measured the prediction is off."""
        return self.predicted / self.measured - 1

    def __str__(self) -> str:
        numbers = f"predicted {self.predicted / MB:,.0f}, measured {self.measured / MB:,.0f} MB ({self.off:+.0%})"
        return f"{self.name}, {self.weights / MB:,.0f} MB of files: {numbers}"


def try_peaks(folder: Path, exports: Sequence[Path]) -> Reached:
    """Prepare each export, answer a long question with it, and compare the memory with what was predicted."""
    peaks = [_peak(folder / str(number), export) for number, export in enumerate(exports)]
    counted = [peak for peak in peaks if peak.weights >= WORTH]
    return Reached(
        12,
        f"peak memory with {CONTEXT} tokens of cache: {'; '.join(map(str, peaks))}",
        f"predicted within {SLACK:.0%} of the measured, for models of {WORTH / MB:.0f} MB and more",
        bool(counted) and all(abs(peak.off) <= SLACK for peak in counted),
    )


def _peak(folder: Path, export: Path) -> Peak:
    made = prepared(folder, export)
    weights = sum(path.stat().st_size for path in made.iterdir() if ".onnx" in path.name)
    config = json.loads((made / "genai_config.json").read_text(encoding="utf-8"))
    needs = catalog.needs_of_folder(export.name, weights, config)
    assert needs is not None, f"nothing is known of {made}"
    return Peak(export.name, weights, needs.peak(CONTEXT), _measured(folder / "home", made))


def prepared(folder: Path, export: Path) -> Path:
    """What the program makes of an export, as a person has it made."""
    home = folder / "home"
    home.mkdir(parents=True)
    subprocess.run(
        [*PROGRAM, "models", "pull", str(export)], env=variables(home), stderr=subprocess.DEVNULL, check=True
    )
    return next(found.prepared for found in store.stored(home / "models") if found.prepared)


def _measured(home: Path, model: Path) -> int:
    """The most bytes that the worker held while it loaded the model and read and answered a long question."""
    set_value(home / "config.toml", "local.context", str(CONTEXT))
    text = " ".join(str(number) for number in range(CONTEXT // 5))
    command = [*PROGRAM, "-m", str(model), "--max-tokens", "16"]
    asked = subprocess.Popen(command, env=variables(home), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert asked.stdin is not None
    asked.stdin.write(f"What comes next? {text}")
    asked.stdin.close()
    most = max(_watched(asked), default=0)
    assert asked.returncode == 0 and most, f"{model} did not answer"
    return most


def _watched(asked: subprocess.Popen[str]) -> Iterator[int]:
    """Bytes that the program's worker holds, again and again until the program ends."""
    program = psutil.Process(asked.pid)
    while asked.poll() is None:
        with contextlib.suppress(psutil.Error):  # It has just ended.
            workers = [child for child in program.children(recursive=True) if "shammah.worker" in child.cmdline()]
            yield from map(held, workers)
        time.sleep(0.01)


def held(process: psutil.Process) -> int:
    """The most bytes that a process has held where the system tells, else those that it holds now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return int(process.memory_info().rss)
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    sys.exit(main())
