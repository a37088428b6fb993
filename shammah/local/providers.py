"""Where models can run on this machine, asked of a process of its own: the chat imports no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shammah.local.trial import ask

LIMIT = 40.0
"""Seconds that drivers may take to name their devices, the process that asks them among them."""


def provider_rows(folder: Path, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each execution provider with what can be said of it, and what was measured for the model in `folder`."""
    heard = ask({"kind": "report", "folder": str(folder)}, LIMIT, environment)
    rows = heard.find("rows")
    if rows is None:
        return [("providers", f"not known: {heard.trouble}")]
    return [(str(name), str(text)) for name, text in rows]
