"""What this machine takes by itself, and whether a model fits it now: the choice joined to the machine and the disk."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from shammah import files
from shammah.config import Local
from shammah.errors import HubError, ModelError
from shammah.models import catalog, choose, store
from shammah.models.catalog import Model
from shammah.models.machine import Machine, look, measure_bandwidth, memory
from shammah.models.wanted import Automatic, Folder, Source, named, wanted
from shammah.paths import STARTER

_MEASURED = "machine.json"
PROBES = 5
"""Probes after which the best counts for good."""
PROBES_APART = 24 * 3600.0
"""Seconds before a start measures again: a machine may be busy for hours."""
SETUP_SECONDS = 1.5
"""Of a probe at the set-up, longer than another since its answer is kept."""


Probe = Callable[[int], float | None]
"""Measures the bandwidth of the memory with that many processors; None where it could not."""


@dataclass(frozen=True)
class _Kept:
    """The best figure of so many probes, and the seconds since the last one."""

    bandwidth: float | None = None
    probes: int = 0
    age: float = math.inf

    @property
    def settled(self) -> bool:
        """Whether it counts without measuring again now."""
        return self.probes >= PROBES or self.age < PROBES_APART


def machine(models: Path, *, anew: bool = False, probe: Probe = measure_bandwidth) -> Machine:
    """This machine now, with the best figure of all probes: one on each of the first days, and one now where `anew`.

    Other programs can only make a probe's figure lower. What is kept beside the models is therefore never lowered, and
    measured again later: a busy moment does not choose the model for good.
    """
    kept = _kept(models)
    seen = look(models, kept.bandwidth)
    measured = None if kept.settled and not anew else probe(seen.processors)
    if measured is None:
        return seen
    best = max(measured, kept.bandwidth or 0.0)
    _keep(models, best, kept.probes + 1)
    return replace(seen, bandwidth=best)


def machine_anew(models: Path) -> Machine:
    """The same with a new and longer probe."""
    return machine(models, anew=True, probe=partial(measure_bandwidth, seconds=SETUP_SECONDS))


def take(target: Automatic, models: Path, context: int, reserve_gb: float, *, may_fetch: bool) -> Source:
    """The largest model that fits; where nothing may be fetched, the largest of those on the disk.

    Raises:
        ModelError: none fits.
        HubError: none is on the disk, and none may be fetched.
    """
    here = {found.repo for found in store.stored(models) if found.prepared}
    candidates = [model for model in catalog.of_variant(target.variant) if may_fetch or model.repo in here]
    if not candidates:
        raise HubError("No larger model is on this machine yet", hint="Fetch one with shammah models pull NAME")
    seen = machine(models)
    if may_fetch:
        choice = choose.choose(seen, context, reserve_gb, target.variant, here)
        if choice.model is None:
            raise ModelError(choice.why, hint="/model NAME takes a size all the same")
        return _source(choice.model)
    fits = [choose.fit(model, seen, context, reserve_gb, here) for model in candidates]
    fitting = [found.model for found in fits if found.fits]
    return _source(fitting[-1] if fitting else candidates[0])


def check_memory(name: str, folder: Path, context: int, reserve_gb: float) -> None:
    """Refuse a model that does not fit into the memory that is free now.

    Raises:
        ModelError: with the numbers, and the next smaller size.
    """
    try:
        config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        weights = sum(path.stat().st_size for path in folder.iterdir() if ".onnx" in path.name)
    except (OSError, ValueError):
        return  # The worker tells what is wrong with the folder.
    needs = catalog.needs_of_folder(name, weights, config)
    if needs is not None:
        variant = next((model.variant for model in catalog.FAMILY if model.name == name), "instruct")
        choose.check_memory(needs, memory().available, context, reserve_gb, variant)


def check_before_fetch(source: Source, context: int, reserve_gb: float) -> None:
    """Refuse to fetch what could not run here even if nothing else did; one that only waits for memory is fetched.

    Raises:
        ModelError: with the numbers, and the next smaller size.
    """
    found = next((model for model in catalog.FAMILY if model.repo == source.repo), None)
    if found is not None:
        choose.check_memory(found.needs, memory().total, min(context, found.context), reserve_gb, found.variant)


def folder_to_load(name: str, local: Local, models: Path) -> Path:
    """The folder of a model that is on the disk: the one named, else the one that the settings ask for.

    Raises:
        ModelError: it is not on this machine.
    """
    target = named(name) if name else wanted(local)
    if target is None:
        return STARTER
    if isinstance(target, Folder):
        return target.path
    if isinstance(target, Automatic):
        return _largest(target, models) or STARTER
    folder = store.prepared(models, target.repo)
    if folder is None:
        raise ModelError(
            f"{target.name} is not on this machine", hint=f"Fetch it: shammah models pull {name or target.repo}"
        )
    return folder


def _largest(target: Automatic, models: Path) -> Path | None:
    folders = [store.prepared(models, model.repo) for model in catalog.of_variant(target.variant)]
    return next((folder for folder in reversed(folders) if folder), None)


def _source(model: Model) -> Source:
    return Source(model.name, model.repo)


def _kept(models: Path) -> _Kept:
    path = models / _MEASURED
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return _Kept(float(found["bytes_per_s"]), int(found.get("probes", 1)), time.time() - path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return _Kept()


def _keep(models: Path, bandwidth: float, probes: int) -> None:
    text = json.dumps({"bytes_per_s": bandwidth, "probes": probes}) + "\n"
    with contextlib.suppress(OSError):  # Then it is measured again at the next start.
        models.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace(models / _MEASURED, text.encode())
