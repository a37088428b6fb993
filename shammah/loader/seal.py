"""What a prepared folder held when it was made, so that a file that has changed since is found before it is loaded.

A file whose size and time of change are as they were is trusted; once a day every byte is read again, since a medium
that decays changes no times.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from shammah.files import replace

TRUST = 24 * 3600.0
"""Seconds until files that look unchanged are read again."""
CHUNK = 1 << 20


def seal(folder: Path, graph: str) -> None:
    """Remember what the folder holds, and the graph that it was made from."""
    files = [_described(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
    _write(folder, {"graph": graph, "checked": time.time(), "files": files})


def sealed_graph(folder: Path) -> str | None:
    """The graph that a folder was made from; None where the folder is not sealed."""
    found = _read(folder)
    return str(found["graph"]) if found else None


def unbroken(folder: Path) -> bool:
    """Whether everything is as it was sealed. A folder without a seal is none that this program finished."""
    found = _read(folder)
    if found is None:
        return False
    stale = not 0 <= time.time() - found["checked"] < TRUST
    if not all(_unchanged(folder, file, look=stale) for file in found["files"]):
        return False
    if stale:
        with suppress(OSError):  # It costs another look at the next start.
            _write(folder, {**found, "checked": time.time()})
    return True


def unseal(folder: Path) -> None:
    """Forget a folder that is about to be deleted."""
    _path(folder).unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.seal")


def _described(folder: Path, path: Path) -> dict[str, Any]:
    found = path.stat()
    name = path.relative_to(folder).as_posix()
    return {"path": name, "size": found.st_size, "changed": found.st_mtime_ns, "digest": digest_of(path)}


def _unchanged(folder: Path, file: dict[str, Any], *, look: bool) -> bool:
    path = folder / file["path"]
    try:
        found = path.stat()
        same = found.st_size == file["size"]
        touched = found.st_mtime_ns != file["changed"]
        return same and (not (touched or look) or digest_of(path) == file["digest"])
    except OSError:
        return False


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(_path(folder).read_text(encoding="utf-8"))
        keys: Iterable[str] = ("graph", "checked", "files")
        return found if all(key in found for key in keys) else None
    except (OSError, ValueError, TypeError):
        return None


def _write(folder: Path, content: dict[str, Any]) -> None:
    replace(_path(folder), json.dumps(content, indent=1).encode())
