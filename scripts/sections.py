"""Tables of figures: what was measured, the aim, and whether it was held; one page keeps many, each renewed alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from scripts import machine


@dataclass(frozen=True)
class Row:
    """One figure; `held` where there is an aim."""

    what: str
    figure: str
    aim: str = ""
    held: bool | None = None

    def line(self) -> str:
        """The row of a table in Markdown."""
        verdict = {None: "", True: "yes", False: "**no**"}[self.held]
        return f"| {self.what} | {self.figure} | {self.aim} | {verdict} |"


@dataclass(frozen=True)
class Section:
    """A part of the report: what was done, and what came of it."""

    title: str
    how: str
    rows: Sequence[Row]

    def lines(self, load: float) -> list[str]:
        """The section in Markdown; `load` is the machine's before the first figure."""
        when = f"{self.how} Taken on {date.today()}, load of the machine before: {load:.1f}."
        table = ["| what | figure | aim | held |", "|---|---|---|---|", *(row.line() for row in self.rows)]
        return [f"## {self.title}", "", when, "", *table, ""]


def write(path: Path, sections: Sequence[Section], load: float) -> None:
    """Put the sections into the page, over those of the same titles; others stay as they are."""
    kept = _sections(path)
    kept |= {section.title: section.lines(load) for section in sections}
    lines = ["# Speed and memory", "", "Written by `scripts/bench`; do not edit.", ""]
    lines += ["| machine | |", "|---|---|", *(f"| {name} | {text} |" for name, text in machine.describe()), ""]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, *(line for part in kept.values() for line in part)]), encoding="utf-8")


def _sections(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: [*f"## {part}".rstrip("\n").split("\n"), ""] for part in parts}
