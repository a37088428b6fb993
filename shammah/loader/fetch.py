"""From a request to a folder that can be loaded: what is on the disk, else list, download, prepare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from shammah.errors import HubError
from shammah.loader import manifest as manifests
from shammah.loader.folder import from_folder
from shammah.loader.making import DOWNLOAD, Send, make, tidy
from shammah.loader.manifest import Manifest
from shammah.loader.part import sound
from shammah.loader.prepare.name import RECIPE
from shammah.loader.seal import sealed_graph, unbroken
from shammah.loader.select import Selection, select
from shammah.models import store
from shammah.models.protocol import Fetch, Listed, Prepared

_SHARES = (("q4", 1.0), ("fp16", 0.5), ("model.onnx", 0.25))
"""Bytes of the prepared model, at most, for each byte of the download; by the graph's name."""


def bring(request: Fetch, token: str, send: Send) -> Prepared:
    """Do what is asked, telling what goes on; `token` is the one to show to the hub, "" for none.

    Raises:
        ShammahError: it cannot be done.
        OSError: the disk refuses.
    """
    if not store.is_repository(request.repo):
        return from_folder(request, send)
    here = next((found for found in _prepared(request) if found.current and found.asked_for), None)
    return _told(here, request) if here else _fetched_or_older(request, token, send)


@dataclass(frozen=True)
class _Found:
    """A prepared folder of the repository, whole and unchanged, made from the graph that is asked for.

    `asked_for`: from the revision that is asked for, too; `current`: by this version's recipe.
    """

    folder: Path
    current: bool
    asked_for: bool


def _prepared(request: Fetch) -> Iterator[_Found]:
    """What of a repository can be loaded, the newest first."""
    for stored in store.stored(Path(request.models)):
        manifest = manifests.read(stored.folder)
        if manifest is None or manifest.repo != request.repo:
            continue
        for folder in store.preparations(stored.folder):
            graph = sealed_graph(folder)
            made = replace(manifest, graph=graph or "")
            if graph and made.wants(made.revision, request.file) and unbroken(folder):
                current = folder.name.endswith(f"-r{RECIPE}")
                yield _Found(folder, current, made.wants(request.revision, request.file))


def _told(found: _Found, request: Fetch, *notes: str) -> Prepared:
    if not request.keep_download:
        tidy(found.folder.parent)
    return Prepared(str(found.folder), [*store.notes(found.folder), *notes])


def _fetched_or_older(request: Fetch, token: str, send: Send) -> Prepared:
    """What is asked for; where the hub cannot give it now, another version that is here: better than none."""
    try:
        return _from_download(request, send) if request.offline else _fetched(request, token, send)
    except HubError as error:
        older = next(_prepared(request), None) if error.retryable or request.offline else None
        if older is None:
            raise
        return _told(older, request, f"This is an older version of {request.repo}, since: {error}.")


def _fetched(request: Fetch, token: str, send: Send) -> Prepared:
    from shammah.loader.download import Origin, download  # Late, as is the listing: offline needs neither.
    from shammah.loader.hub import list_files

    listing = list_files(request.repo, request.revision, request.endpoint, token)
    chosen = select(request.repo, listing.files, request.file)
    manifest = Manifest(
        request.repo, request.revision, listing.commit, chosen.form, chosen.root, chosen.graph, chosen.files
    )  # fmt: skip
    folder = store.folder_for(Path(request.models), request.repo, listing.commit)
    send(Listed(request.repo, listing.commit, list(chosen.files)))
    origin = Origin(request.endpoint, request.repo, listing.commit, token)

    def fetch() -> Path:
        download(origin, chosen.files, folder / DOWNLOAD, send, _room(chosen))
        return folder / DOWNLOAD

    return make(request, manifest, folder, fetch, send)


def _room(chosen: Selection) -> int:
    """Bytes that the prepared model may take beside the download."""
    if chosen.form == "genai":
        return 0
    share = next((share for name, share in _SHARES if name in chosen.graph), 1.0)
    return int(share * chosen.bytes)


def _from_download(request: Fetch, send: Send) -> Prepared:
    """Prepare what was fetched whole before the network was switched off."""
    for folder, manifest in manifests.all_manifests(Path(request.models)):
        files = [(folder / DOWNLOAD / file.path, file) for file in manifest.files]
        right = manifest.repo == request.repo and manifest.wants(manifest.revision, request.file)
        if right and all(sound(path, file) for path, file in files):
            return make(request, manifest, folder, partial(Path, folder, DOWNLOAD), send)
    raise HubError(
        f"{request.repo} is not whole on this machine, and the network may not be used",
        hint="Allow the network (HF_HUB_OFFLINE is set), or choose a model that is here: shammah models list",
    )
