"""What is known of a repository's folder: manifest.json, written before the first byte is fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shammah.files import replace
from shammah.models.protocol import ListedFile

NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Which files were chosen from which commit. `root` is the folder in it that holds config.json.

    `repo` is OWNER/NAME, or the path of a folder on this machine; for this, `changed` holds the times of its files'
    last changes (ns), so that they are read again only after a change.
    """

    repo: str
    revision: str
    commit: str
    form: str
    root: str
    graph: str
    files: tuple[ListedFile, ...]
    changed: dict[str, int] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The digest of all files together, which addresses what is prepared from them."""
        return digest(self.files)

    def wants(self, revision: str, file: str) -> bool:
        """Whether this is what a request for a revision and a graph asks for; "" means any."""
        known = revision == self.revision or (len(revision) >= 7 and self.commit.startswith(revision))
        return known and file in ("", self.graph, f"{self.root}/{self.graph}", self.graph.removeprefix("onnx/"))


def digest(files: Iterable[ListedFile]) -> str:
    """sha256 over paths and digests."""
    lines = sorted(f"{file.digest} {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder, None where there is none that can be read."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files = tuple(ListedFile(**file) for file in found.pop("files"))
        return Manifest(**found, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(folder: Path, manifest: Manifest) -> None:
    """Put it into the folder, whole or not at all."""
    replace(folder / NAME, json.dumps(asdict(manifest), indent=1).encode())


def all_manifests(models: Path) -> Iterator[tuple[Path, Manifest]]:
    """Every folder under `models` that has one."""
    try:
        folders = sorted(path for path in models.iterdir() if "@" in path.name)
    except OSError:
        return
    for folder in folders:
        if manifest := read(folder):
            yield folder, manifest
