"""The whole preparation of a download: read, rewritten, checked, and put where the worker loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from shammah.errors import ModelError
from shammah.files import whole_folder
from shammah.loader.prepare.check import FAILURES, Deviation, bounds, deviation
from shammah.loader.prepare.genai import CONFIG, Names, genai_config, model_files, write_json
from shammah.loader.prepare.graph import build
from shammah.loader.prepare.map import find
from shammah.loader.prepare.name import RECIPE
from shammah.loader.prepare.read import Export, read_export
from shammah.loader.prepare.shape import read_shape
from shammah.loader.prepare.synthesise import synthesise
from shammah.loader.prepare.understood import NotUnderstood
from shammah.loader.prepare.weights import WeightFile
from shammah.models.store import PREPARED

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files of the download that the worker reads; the last is in newer repositories only."""

ROUNDED = "The weights of this download were rounded to 4 bits, to be fast; its answers may be a little worse for it."

Told = Callable[[str, float], None]
"""Takes the step and the share of the whole that is done."""


@dataclass(frozen=True)
class Report:
    """What was prepared: a folder that the worker loads, and sentences that the person should read."""

    folder: Path
    form: Literal["rewritten", "as downloaded"]
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def prepare(source: Path, graph: str, out: Path, told: Told, threads: int) -> Report:
    """Make `out` from the export `graph` in `source`; nothing is left of it unless it is whole.

    Raises:
        ModelError: the files cannot be used, not even as they were downloaded, or there is no room.
    """
    try:
        with whole_folder(out) as part:
            report = _prepare(source, graph, part, told, threads)
            write_json(part / PREPARED, {"recipe": RECIPE, **asdict(report), "folder": out.name})
    except OSError as cause:
        raise ModelError(
            f"The model cannot be prepared in {out.parent}: {cause.strerror or cause}",
            hint="Free some disk space, and see that the folder can be written",
        ) from cause
    told("ready", 1.0)
    return Report(out, report.form, report.notes, report.figures)


def _prepare(source: Path, graph: str, part: Path, told: Told, threads: int) -> Report:
    told("reading", 0.0)
    export = read_export(source / graph)
    config, generation = model_files(source)
    report, why = None, ""
    try:
        report = _rewrite(export, config, generation, part, told, threads)
    except NotUnderstood as unknown:
        why = str(unknown)
    if report is None:
        # Only now: the error held the session that failed, and Windows deletes no file that is in use.
        shutil.rmtree(part)
        part.mkdir()
        synthesise(export, config, generation, part)
        report = Report(part, "as downloaded", [f"This model runs as it was downloaded, which is slower. {why}"])
    _put_beside(source, generation, part)
    return report


def _rewrite(
    export: Export, config: dict[str, Any], generation: dict[str, Any], part: Path, told: Told, threads: int
) -> Report:
    """Write the better graph and compare it with the download."""
    shape = read_shape(config)
    found = find(export, shape)
    with WeightFile(part / "model.onnx.data") as weights:
        model = build(found.decoder, weights, lambda share: told("rewriting", 0.6 * share))
    (part / "model.onnx").write_bytes(model.SerializeToString())
    settings = genai_config(shape, Names(), part / "model.onnx", True, config, generation)
    write_json(part / CONFIG, settings)
    try:
        far = deviation(export, found, part / "model.onnx", threads, lambda share: told("checking", 0.6 + 0.35 * share))
    except FAILURES as cause:
        raise NotUnderstood(f"The rewritten graph does not run: {str(cause).splitlines()[0]}") from cause
    if not far.within(bounds(found)):
        raise NotUnderstood(f"The rewritten graph gives other answers: {_in_words(far)}.")
    return Report(part, "rewritten", [] if found.decoder.in_blocks else [ROUNDED], asdict(far))


def _in_words(far: Deviation) -> str:
    return (
        f"the same next word in {far.agreement:.0%} of places, "
        f"divergence {far.divergence:.3f}, largest difference {far.difference:.2f}"
    )


def _put_beside(source: Path, generation: dict[str, Any], part: Path) -> None:
    """What the worker reads beside the graph; it stops where generation_config.json says."""
    for name in BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, part / name)
    if generation.get("eos_token_id") is None:
        end = json.loads((part / CONFIG).read_text(encoding="utf-8"))["model"]["eos_token_id"]
        (part / "generation_config.json").unlink(missing_ok=True)
        write_json(part / "generation_config.json", generation | {"eos_token_id": end})
