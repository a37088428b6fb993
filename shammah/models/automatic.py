"""What this machine takes by itself, and whether a model fits it now: the choice joined to the machine and the disk."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from shammah.config import Config, Local
from shammah.errors import HubError, ModelError
from shammah.models import catalog, choose, store
from shammah.models.catalog import Model
from shammah.models.machine import Machine, look, measure_bandwidth, memory
from shammah.models.wanted import Automatic, Folder, Source, named, wanted
from shammah.paths import STARTER

_MEASURED = "machine.json"


@dataclass(frozen=True)
class Entry:
    """One model of the family on this machine; `text` tells what it needs, and whether it fits."""

    name: str
    repo: str
    text: str


def machine(models: Path, *, anew: bool = False) -> Machine:
    """This machine now; the memory's bandwidth is measured once, and `anew` where it may have been busy then.

    What was measured is remembered beside the models; of two figures the higher one was less disturbed.
    """
    before = _remembered(models)
    seen = look(models, before)
    if before is not None and not anew:
        return seen
    bandwidth = max(filter(None, (before, measure_bandwidth(seen.processors))), default=None)
    if bandwidth is not None and bandwidth != before:
        _remember(models, bandwidth)
    return replace(seen, bandwidth=bandwidth)


def machine_anew(models: Path) -> Machine:
    """The same with a new probe: for the set-up, whose figures a busy moment must not spoil for good."""
    return machine(models, anew=True)


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
        choose.check_memory(needs, memory().available, context, reserve_gb)


def check_before_fetch(source: Source, context: int, reserve_gb: float) -> None:
    """Refuse to fetch what could not run here even if nothing else did; one that only waits for memory is fetched.

    Raises:
        ModelError: with the numbers, and the next smaller size.
    """
    found = next((model for model in catalog.FAMILY if model.repo == source.repo), None)
    if found is not None:
        choose.check_memory(found.needs, memory().total, min(context, found.context), reserve_gb, found.variant)


def entries(models: Path, config: Config) -> list[Entry]:
    """Every size of both variants, with what it needs here."""
    here = {found.repo for found in store.stored(models) if found.prepared}
    seen = machine(models)

    def text(model: Model) -> str:
        found = choose.fit(model, seen, config.local.context, config.routing.reserve_ram_gb, here)
        return f"{model.download_text} to fetch · {model.licence} · {found.text}"

    return [Entry(model.name, model.repo, text(model)) for model in catalog.FAMILY]


def folder_to_load(name: str, local: Local, models: Path) -> Path:
    """The folder of a model that is on the disk: the one named, else the one that the settings ask for.

    Raises:
        ModelError: it is not on this machine.
    """
    if name == "starter":
        return STARTER
    target = named(name, variant=local.variant) if name else wanted(local)
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


def _remembered(models: Path) -> float | None:
    try:
        return float(json.loads((models / _MEASURED).read_text(encoding="utf-8"))["bytes_per_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(models: Path, bandwidth: float) -> None:
    with contextlib.suppress(OSError):  # Then it is measured again at the next start.
        models.mkdir(mode=0o700, parents=True, exist_ok=True)
        (models / _MEASURED).write_text(json.dumps({"bytes_per_s": bandwidth}) + "\n", encoding="utf-8")
