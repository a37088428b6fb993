"""What the program chose for a prepared model beside what it could have chosen, each measured in turn in one run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

from scripts.compare_models import Figures, medians
from scripts.sections import Row, Section
from shammah.environment import worker_environment
from shammah.machine import usable_processors
from shammah.worker.generation import SLICE

PROMPT, ANSWER = 128, 64
"""Tokens of the prompt, and of the answer that is timed."""
LONG_PROMPT = 1024
"""Tokens of the prompt that is read in slices."""
LENGTHS = (SLICE, 256, 512, LONG_PROMPT)
GRAPH, CONFIG = "model.onnx", "genai_config.json"


@dataclass(frozen=True)
class Choice:
    """One way to run the model: what differs from the way that the program has."""

    threads: int = field(default_factory=usable_processors)
    session: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    laid_out: bool = False
    """Weights saved in the form that the processor's kernels take, so that loading need not bring them into it."""


OURS = "as the program has it"
CHOICES: Mapping[str, Choice] = {
    OURS: Choice(),
    "1 thread": Choice(threads=1),
    "threads sleep between operations": Choice(session={"session.intra_op.allow_spinning": "0"}),
    "huge pages": Choice(environment={"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "weights saved as the kernels take them": Choice(laid_out=True),
}


def settings(folder: Path, rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    """Both measurements of the prepared model in `folder`; `only` names the choices to try, and "slices"."""
    wanted = {name: one for name, one in CHOICES.items() if not only or name in only}
    if wanted:
        yield choices(folder, rounds, {OURS: CHOICES[OURS], **wanted})
    if not only or "slices" in only:
        yield slices(folder, max(rounds // 2, 1))


def choices(folder: Path, rounds: int, given: Mapping[str, Choice]) -> Section:
    """Each choice, the program's own among them, in fresh processes, `rounds` of each in turn."""
    with tempfile.TemporaryDirectory(prefix="settings-", dir=folder.parent) as scratch:
        folders = {
            name: _changed(folder, choice, Path(scratch) / f"{number}")
            for number, (name, choice) in enumerate(given.items())
        }
        taken = [{name: _measured(folders[name], one) for name, one in given.items()} for _ in range(rounds)]
    rows = [_row(name, taken) for name in given]
    how = (
        f"Medians of {rounds} fresh processes of each kind, taken in turn; {usable_processors()} threads where nothing "
        f"else is said, a prompt of {PROMPT} tokens, then {ANSWER} tokens, greedy. Ratios are medians over the rounds."
    )
    return Section(f"{folder.name}: settings", how, rows)


def _row(name: str, taken: Sequence[Mapping[str, Figures]]) -> Row:
    """The medians of one choice, each with its ratio to the program's own in the same round."""
    one = medians([figures[name] for figures in taken])
    shown = {
        "load_s": f"load {one.load_s:.2f} s", "prefill": f"prefill {one.prefill:.0f}/s",
        "decode": f"decode {one.decode:.1f}/s", "peak_bytes": f"peak {one.peak_bytes / 1e6:,.0f} MB",
    }  # fmt: skip
    if name != OURS:
        for figure in shown:
            ratio = statistics.median(getattr(each[name], figure) / getattr(each[OURS], figure) for each in taken)
            shown[figure] += f" ({ratio:.2f} ×)"
    return Row(name, ", ".join(shown.values()))


def _measured(folder: Path, choice: Choice) -> Figures:
    script = str(ROOT / "scripts" / "measure_decoder.py")
    return Figures(**_run([script, folder, choice.threads, PROMPT, ANSWER, 1], choice.environment))


def _run(command: Sequence[object], environment: Mapping[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT, env={**worker_environment(), **environment}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.strip().splitlines()[-1])


# The folders to load


def _changed(folder: Path, choice: Choice, out: Path) -> Path:
    """A folder with this model that loads as the choice says."""
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).hardlink_to(path)  # The runtime refuses weights behind a link that leaves the folder.
    if choice.laid_out:
        _lay_out(folder, out)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    told = config["model"]["decoder"]["session_options"]
    told |= choice.session
    if choice.laid_out:
        told["graph_optimization_level"] = "ORT_DISABLE_ALL"  # What is saved is the graph that optimisation made.
    (out / CONFIG).unlink()
    (out / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return out


def _lay_out(folder: Path, out: Path) -> None:
    """Save the graph as the runtime has it when it is loaded."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Before the runtime is imported: later is too late.
    import onnxruntime

    for name in (GRAPH, f"{GRAPH}.data"):
        (out / name).unlink()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # That the graph fits this processor only is meant.
    options.optimized_model_filepath = str(out / GRAPH)
    entries = {
        "session.optimized_model_external_initializers_file_name": f"{GRAPH}.data",
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        "session.save_external_prepacked_constant_initializers": "1",
    }
    for key, text in entries.items():
        options.add_session_config_entry(key, text)
    onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])


# Slices


def slices(folder: Path, rounds: int) -> Section:
    """A long prompt read in slices of several lengths, in turn."""
    script = str(ROOT / "scripts" / "measure_slices.py")
    taken = _run([script, folder, usable_processors(), LONG_PROMPT, rounds, *LENGTHS], {})
    speeds = {one["length"]: one["prefill"] for one in taken}
    rows = []
    for one in taken:
        length, speed = one["length"], one["prefill"]
        name = "all at once" if length == LONG_PROMPT else f"{length} tokens"
        figure = f"{speed:.0f}/s, {speed / speeds[SLICE]:.2f} ×, stops within {length / speed:.2f} s"
        own = " (as the program has it)" if length == SLICE else ""
        rows.append(Row(f"{name}{own}", f"{figure}, peak {one['peak_bytes'] / 1e6:,.0f} MB"))
    how = (
        f"A prompt of {LONG_PROMPT:,} tokens read so many at a time: medians of {rounds} rounds with one model, "
        f"taken in turn, {usable_processors()} threads."
    )
    return Section(f"{folder.name}: slices of a prompt", how, rows)
