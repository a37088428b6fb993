"""What `shammah models list` shows: a line for each model, and below them once what holds for all."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from shammah.config import Config
from shammah.machine import Memory
from shammah.models import automatic, store
from shammah.models.catalog import FAMILY, FREE, size_text
from shammah.models.choose import PATIENCE, speed_text
from shammah.models.machine import Machine
from shammah.models.names import name_of
from shammah.setup.offer import Offer, offers

HEAD = ("name", "to fetch", "memory", "tokens/s")
STARTER = "inside the package; knows shammah itself only"
HOW_TO_NAME = (
    "shammah models pull 1.5b fetches one, and shammah models use 1.5b answers with it; 1.5b coder is the one for code."
)
_GAP = "  "


def catalogue(models: Path, config: Config, width: int) -> list[str]:
    """The lines: every model with its needs, whether it fits and is here, and what else is on the disk."""
    here = {found.repo: found for found in store.stored(models) if found.prepared}
    seen = automatic.machine(models)
    found = offers(seen, config.local.context, config.routing.reserve_ram_gb, here).offers
    rows = [(_cells(offer), _verdict(offer, here.pop(offer.model.repo, None))) for offer in found]
    others = [f"{repo}{_GAP}{_on_disk(one)}" for repo, one in here.items()]
    return [*_table(rows, width), *others, "", *_below(seen, config, width)]


def _cells(offer: Offer) -> tuple[str, ...]:
    model = offer.model
    fetched = "is here" if offer.here else model.download_text.replace("about ", "~")
    return name_of(model), fetched, size_text(offer.found.peak_bytes), speed_text(offer.found.tokens_per_s)


def _verdict(offer: Offer, on_disk: store.Stored | None) -> str:
    return f"{offer.verdict}, {_on_disk(on_disk)}" if on_disk else offer.verdict


def _on_disk(found: store.Stored) -> str:
    return f"{size_text(found.bytes)} on this disk"


def _table(rows: Sequence[tuple[tuple[str, ...], str]], width: int) -> list[str]:
    """The columns in line; where the verdict does not fit beside them it goes below."""
    widths = [max(map(len, column)) for column in zip(HEAD, *(cells for cells, _ in rows), strict=True)]

    def line(cells: Sequence[str]) -> str:
        name, *numbers = cells
        right = (cell.rjust(wide) for cell, wide in zip(numbers, widths[1:], strict=True))
        return _GAP.join([name.ljust(widths[0]), *right])

    beside = max(len(line(cells) + _GAP + verdict) for cells, verdict in rows) <= width
    told = [("starter".ljust(widths[0]), STARTER), *((line(cells), verdict) for cells, verdict in rows)]
    if beside:
        return [line(HEAD), *(f"{first}{_GAP}{verdict}" for first, verdict in told)]
    return [line(HEAD), *(part for first, verdict in told for part in (first.rstrip(), 2 * _GAP + verdict))]


def _below(machine: Machine, config: Config, width: int) -> list[str]:
    """What the numbers are held against, the licences, and how to name a model."""
    memory = f"Memory: {Memory(machine.memory_total, machine.memory_available)}"
    left = f"{config.routing.reserve_ram_gb:g} GB are left to other programs"
    sentences = (f"{memory}; {left}. A chat wants {PATIENCE:.0f} tokens/s.", _licences(), HOW_TO_NAME)
    return [line for sentence in sentences for line in textwrap.wrap(sentence, width, break_on_hyphens=False)]


def _licences() -> str:
    others = {model.size: model.licence for model in FAMILY if model.licence != FREE}
    exceptions = "".join(f", but {size}, also as coder, under {licence}" for size, licence in others.items())
    return f"Qwen2.5 is under {FREE}{exceptions}."
