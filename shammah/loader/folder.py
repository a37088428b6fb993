"""A model in a folder of this machine: nothing is fetched, what is prepared from it goes to the other models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shammah.errors import HubError
from shammah.loader import manifest as manifests
from shammah.loader.making import Send, make
from shammah.loader.manifest import Manifest
from shammah.loader.prepare.name import prepared_name
from shammah.loader.seal import digest_of, unbroken
from shammah.loader.select import Selection, select
from shammah.models import store
from shammah.models.protocol import Fetch, ListedFile, Prepared, Preparing


def from_folder(request: Fetch, send: Send) -> Prepared:
    """Prepare the export in the folder `request.repo`; a folder in the runtime's own form is used where it is.

    Raises:
        ShammahError: there is nothing in it that can be run.
        OSError: the disk refuses.
    """
    source = Path(request.repo)
    if not source.is_dir():
        raise HubError(f"There is no folder {source}", hint="Name a folder with a model, or a repository OWNER/NAME")
    there = [ListedFile(path.relative_to(source).as_posix(), path.stat().st_size, "") for path in _files(source)]
    chosen = select(str(source), there, request.file)
    if chosen.form == "genai":
        return Prepared(str(source / chosen.root))
    send(Preparing("reading the folder"))
    manifest = _manifest(request, source, chosen)
    folder = store.folder_for(Path(request.models), f"local/{_plain(source.name)}", manifest.commit)
    out = folder / prepared_name(manifest.source)
    return (
        Prepared(str(out), store.notes(out)) if unbroken(out) else make(request, manifest, folder, lambda: source, send)
    )


def _files(source: Path) -> Iterator[Path]:
    """Files in a folder and in the folders in it; exports lie no deeper."""
    yield from (path for pattern in ("*", "*/*") for path in source.glob(pattern) if path.is_file())


def _manifest(request: Fetch, source: Path, chosen: Selection) -> Manifest:
    """What is in the folder, under the digest of all of it in the place of a commit; only what has changed is read."""
    changed = {file.path: (source / file.path).stat().st_mtime_ns for file in chosen.files}
    known = {
        (file.path, file.size, manifest.changed.get(file.path)): file.digest
        for _, manifest in manifests.all_manifests(Path(request.models))
        if manifest.repo == request.repo
        for file in manifest.files
    }
    files = tuple(
        replace(
            file, digest=known.get((file.path, file.size, changed[file.path])) or digest_of(source / file.path)
        )
        for file in chosen.files
    )  # fmt: skip
    commit = manifests.digest(files)
    return Manifest(request.repo, "", commit, chosen.form, chosen.root, chosen.graph, files, changed)


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
