"""A model whose answers end only where they are stopped: time enough to do something to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from shammah.paths import STARTER


def endless_model(folder: Path) -> Path:
    """Copy the starter, without stop ids and drawing its tokens widely."""
    shutil.copytree(STARTER, folder)
    path = folder / "generation_config.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    never = {"eos_token_id": 10**9, "do_sample": True, "temperature": 5.0, "top_k": 1000}
    path.write_text(json.dumps({**given, **never}), encoding="utf-8")
    return folder
