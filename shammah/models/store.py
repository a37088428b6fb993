"""What lies under the models folder: one folder a repository and commit, with what was prepared from it.

OWNER--NAME@0123456789ab/
    manifest.json             repository, commit, files with sizes and digests
    download/                 the files as fetched; gone once they are prepared
    prepared-SOURCE-rRECIPE/  what the worker loads; complete when prepared.json is there, which is written last
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
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
        return sum(_sizes(self.folder))


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
    return sorted((_stored(folder) for folder in folders), key=lambda found: -_age(found))


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


def _stored(folder: Path) -> Stored:
    name = folder.name.rpartition("@")[0]
    ready = [path.parent for path in folder.glob(f"prepared-*/{PREPARED}")]
    newest = max(ready, key=lambda path: (path / PREPARED).stat().st_mtime, default=None)
    return Stored(name.replace("--", "/", 1), folder, newest)


def _sizes(folder: Path) -> Iterator[int]:
    counted: set[tuple[int, int]] = set()
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except OSError:
            continue  # A loader at work renames its parts.
        # A model that runs as downloaded is the same file twice, by a hard link.
        if path.is_file() and (found.st_dev, found.st_ino) not in counted:
            counted.add((found.st_dev, found.st_ino))
            yield found.st_size


def _age(found: Stored) -> float:
    try:
        return ((found.prepared or found.folder) / PREPARED if found.prepared else found.folder).stat().st_mtime
    except OSError:
        return 0.0
