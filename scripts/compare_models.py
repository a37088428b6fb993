"""One downloaded export side by side: as it is, prepared, and llama.cpp with the same weights; in turn, in one run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.sections import Row, Section
from shammah.environment import worker_environment
from shammah.loader.prepare.genai import model_files
from shammah.loader.prepare.read import read_export
from shammah.loader.prepare.recipe import prepare
from shammah.loader.prepare.synthesise import synthesise
from shammah.machine import usable_processors
from shammah.models.catalog import FREE, Model, Shape
from shammah.models.choose import tokens_per_s
from shammah.models.machine import look, measure_bandwidth

PROMPT, ANSWER = 512, 64
"""Tokens of the prompt, and of the answer that is timed."""
LLAMA = "llama.cpp Q4_0"


@dataclass(frozen=True)
class Peer:
    """llama.cpp: the Python that has llama-cpp-python, and the model as GGUF in Q4_0."""

    python: str
    model: Path


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds: seconds, tokens per second, bytes."""

    load_s: float
    prefill: float
    decode: float
    peak_bytes: float


def comparison(folder: Path, peer: Peer | None, rounds: int) -> Section:
    """Measure a folder with a hub export, `rounds` fresh processes of each kind in turn."""
    with tempfile.TemporaryDirectory(prefix="compare-", dir=folder.parent) as scratch:
        commands = {
            name: [sys.executable, str(ROOT / "scripts" / "measure_decoder.py"), str(made)]
            for name, made in _forms(folder, Path(scratch)).items()
        }
        if peer:
            commands[LLAMA] = reader(peer)
        for weights in {path for _, *command in commands.values() for path in _weights(Path(command[-1]))}:
            _read(weights)
        # In turn, so that whatever else the machine does falls on all alike.
        taken, probes = [], []
        for _ in range(rounds):
            probes.append(measure_bandwidth(usable_processors()))
            taken.append({name: measured(command) for name, command in commands.items()})
    found = {name: medians([one[name] for one in taken]) for name in commands}
    how = (
        f"Medians of {rounds} fresh processes of each kind, taken in turn; {usable_processors()} threads, "
        f"files in the disk's cache, a prompt of {PROMPT} tokens, then {ANSWER} tokens, greedy."
    )
    rows = [*_rows(found), predicted(folder, found["prepared"].decode, max(filter(None, probes), default=None))]
    return Section(f"{folder.name}: as downloaded, prepared, and llama.cpp", how, rows)


def predicted(folder: Path, decode: float, bandwidth: float | None) -> Row:
    """The speed that `shammah models list` would tell of this export here, against the one that was measured.

    `bandwidth` is the best of several probes, as the chat keeps the best of its starts.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    shape = Shape(
        config["num_hidden_layers"], heads, config["num_key_value_heads"], hidden // heads, hidden,
        config["intermediate_size"], config["vocab_size"], config["tie_word_embeddings"],
    )  # fmt: skip
    model = Model(folder.name, "instruct", shape, FREE, exists=True, listed_bytes=None, one_matrix=shape.shared)
    speed = tokens_per_s(model, look(folder, bandwidth), PROMPT + ANSWER // 2)
    figure = f"{speed:.1f}/s, {speed / decode - 1:+.0%} of the measured".replace("%", " %")
    return Row("predicted decode, by a probe of the memory", figure, "within 30 %", abs(speed / decode - 1) <= 0.3)


def _forms(folder: Path, scratch: Path) -> Mapping[str, Path]:
    """The folders to load: each 4-bit graph as it was downloaded, and prepared from the smallest."""
    forms = {}
    graphs = [name for name in ("model_q4.onnx", "model_q4f16.onnx") if (folder / "onnx" / name).is_file()]
    for name in graphs:
        forms[f"{name} as downloaded"] = _as_downloaded(folder, name, scratch / name)
    out = scratch / "prepared"
    prepare(folder, f"onnx/{graphs[-1]}", out, lambda *_: None, usable_processors())
    return {**forms, "prepared": out}


def _weights(model: Path) -> list[Path]:
    """The large files of a model: those of a folder, or the one file that llama.cpp takes."""
    return [path for path in model.iterdir() if ".onnx" in path.name] if model.is_dir() else [model]


def _read(path: Path) -> None:
    """Bring a file into the disk's cache, so that no kind of process is the first to read it."""
    with path.open("rb", buffering=0) as file:
        while file.read(16 << 20):
            pass


def _as_downloaded(folder: Path, name: str, out: Path) -> Path:
    out.mkdir()
    config, generation = model_files(folder)
    synthesise(read_export(folder / "onnx" / name), config, generation, out)
    (out / name).unlink()  # The copy with faster products; here the file itself is measured.
    (out / name).hardlink_to(folder / "onnx" / name)
    return out


def reader(peer: Peer) -> list[str]:
    """The command that measures llama.cpp, up to the model."""
    return [peer.python, str(ROOT / "scripts" / "measure_llama.py"), str(peer.model)]


def measured(command: Sequence[str], rounds: int = 3) -> Figures:
    """What a fresh process shows over so many rounds: `command` names the script and the model."""
    numbers = [str(number) for number in (usable_processors(), PROMPT, ANSWER, rounds)]
    done = subprocess.run(
        [*command, *numbers], cwd=ROOT, env=worker_environment(), stdout=subprocess.PIPE, check=True, text=True
    )
    return Figures(**json.loads(done.stdout.strip().splitlines()[-1]))


def medians(taken: list[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(**{name: statistics.median(getattr(one, name) for one in taken) for name in vars(taken[0])})


def _rows(found: Mapping[str, Figures]) -> list[Row]:
    rows = [
        Row(
            name,
            f"load {one.load_s:.2f} s, prefill {one.prefill:.0f}/s, decode {one.decode:.1f}/s, "
            f"peak {one.peak_bytes / 1e6:,.0f} MB",
        )
        for name, one in found.items()
    ]
    best = found["prepared"]
    for name, aims in AIMS.items():
        if other := found.get(name):
            rows += [_ratio(name, what, getattr(best, what) / getattr(other, what), aim) for what, aim in aims.items()]
    return rows


AIMS: Mapping[str, Mapping[str, float]] = {
    "model_q4.onnx as downloaded": {"decode": 2.8, "load_s": -0.15, "peak_bytes": -0.55},
    LLAMA: {"decode": 1.0, "prefill": 1.1, "peak_bytes": -1.1},
}
"""Ratios to reach, prepared against each; negative ones are not to be passed."""


def _ratio(against: str, what: str, ratio: float, aim: float) -> Row:
    word = {"decode": "decode", "prefill": "prefill", "load_s": "load", "peak_bytes": "peak memory"}[what]
    held = ratio >= aim if aim > 0 else ratio <= -aim
    bound = "at least" if aim > 0 else "at most"
    return Row(f"prepared against {against}: {word}", f"{ratio:.2f} ×", f"{bound} {abs(aim):g} ×", held)
