"""What lies under the models folder: one folder a repository and commit, with what was prepared from it.

OWNER--NAME@0123456789ab/
    manifest.json             repository, commit, files with sizes and digests
    download/                 the files as fetched; gone once they are prepared
    prepared-SOURCE-rRECIPE/  what the worker loads; complete when prepared.json is there, which is written last
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shammah.errors import ModelError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
"""OWNER/NAME on the hub."""
COMMIT_LETTERS = 12
REMOVED = ".removed-"
"""How the name of a folder begins that is being deleted; it has no @, so nothing finds it any more."""
PREPARED = "prepared.json"


@dataclass(frozen=True)
class Stored:
    """One repository at a commit on this disk; `prepared` is what can be loaded, None while it is not complete."""

    repo: str
    folder: Path
    prepared: Path | None

    @property
    def bytes(self) -> int:
        """What it takes of the disk now."""
        return size(self.folder)


def is_repository(name: str) -> bool:
    """Whether a name has the form OWNER/NAME."""
    return REPOSITORY.fullmatch(name) is not None and ".." not in name


def folder_for(models: Path, repo: str, commit: str) -> Path:
    """Where a repository's commit lies."""
    return models / f"{repo.replace('/', '--')}@{commit[:COMMIT_LETTERS]}"


def stored(models: Path) -> list[Stored]:
    """Everything there is, the newest preparation first; unreadable folders are passed over."""
    try:
        folders = [path for path in models.iterdir() if "@" in path.name and path.is_dir()]
    except OSError:
        return []
    return sorted(map(_stored, folders), key=_newness, reverse=True)


def preparations(folder: Path) -> list[Path]:
    """What can be loaded of a repository's commit, the newest first."""
    try:
        ready = list(folder.glob(f"prepared-*/{PREPARED}"))
    except OSError:
        return []
    return [path.parent for path in sorted(ready, key=_changed, reverse=True)]


def prepared(models: Path, repo: str) -> Path | None:
    """The newest folder of this repository that can be loaded."""
    return next((found.prepared for found in stored(models) if found.repo == repo and found.prepared), None)


def notes(folder: Path) -> list[str]:
    """What the person should know of a prepared model: a sentence each, such as why it runs as downloaded."""
    try:
        found = json.loads((folder / PREPARED).read_text(encoding="utf-8")).get("notes", [])
    except (OSError, ValueError, AttributeError):
        return []
    return [str(note) for note in found] if isinstance(found, list) else []


def remove(models: Path, repo: str) -> int:
    """Delete every commit of a repository; returns the bytes that were freed.

    Raises:
        ModelError: there is none, or the disk refuses.
    """
    found = [one for one in stored(models) if one.repo == repo]
    if not found:
        raise ModelError(f"{repo} is not on this machine", hint="shammah models list shows what is")
    freed = sum(one.bytes for one in found)
    for left in models.glob(f"{REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        for one in found:
            # Windows refuses the new name while a file inside is open; deleting would stop half way.
            shutil.rmtree(one.folder.rename(models / f"{REMOVED}{one.folder.name.replace('@', '-')}"))
    except OSError as cause:
        raise ModelError(f"{repo} cannot be deleted: {cause.strerror}", hint="Close chats that use it") from cause
    return freed


def size(folder: Path) -> int:
    """Bytes that a folder takes of the disk; what another process takes away meanwhile is passed over."""
    taken: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = Path(place, name).stat()
                # A model that runs as downloaded is the same file twice, by a hard link.
                taken[found.st_dev, found.st_ino] = found.st_size
    return sum(taken.values())


def _stored(folder: Path) -> Stored:
    name = folder.name.rpartition("@")[0]
    return Stored(name.replace("--", "/", 1), folder, next(iter(preparations(folder)), None))


def _newness(found: Stored) -> float:
    return _changed(found.prepared / PREPARED if found.prepared else found.folder)


def _changed(path: Path) -> float:
    """When it changed last; long ago where another process has removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
