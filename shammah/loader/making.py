"""Makes a prepared folder: one loader at a time fetches and prepares, the others watch and take what it made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shammah.errors import HubError
from shammah.files import PART, link, whole_folder
from shammah.loader import manifest as manifests
from shammah.loader.lock import Lock
from shammah.loader.manifest import Manifest
from shammah.loader.meter import Meter
from shammah.loader.prepare.name import prepared_name
from shammah.loader.seal import seal, unbroken, unseal
from shammah.machine import usable_processors
from shammah.models import store
from shammah.models.protocol import Fetch, Prepared, Preparing, Reply

DOWNLOAD = "download"
WATCH = 0.3
UNMOVED = 600.0
"""Seconds after which a loader that holds the lock and moves nothing is taken to hang; a check may take minutes."""

Send = Callable[[Reply], None]


def make(request: Fetch, manifest: Manifest, folder: Path, fetch: Callable[[], Path], send: Send) -> Prepared:
    """Fetch and prepare into `folder`, unless that has been done; `fetch` returns where the files are.

    Raises:
        ShammahError: it cannot be done.
        OSError: the disk refuses.
    """
    out = folder / prepared_name(manifest.source)
    with Lock(folder) as lock:
        _wait(lock, folder, manifest, send)
        if not unbroken(out):
            _clear(folder, out)
            manifests.write(folder, manifest)
            _prepare(request, manifest, fetch() / manifest.root, out, send)
            seal(out, manifest.graph)
        if not request.keep_download:
            shutil.rmtree(folder / DOWNLOAD, ignore_errors=True)
    return Prepared(str(out), store.notes(out))


def tidy(folder: Path) -> None:
    """Delete a download that nobody needs any more and nobody works on."""
    if (folder / DOWNLOAD).is_dir():
        with suppress(OSError), Lock(folder) as lock:  # What the disk refuses now is for a later start.
            if lock.take():
                shutil.rmtree(folder / DOWNLOAD, ignore_errors=True)


def _wait(lock: Lock, folder: Path, manifest: Manifest, send: Send) -> None:
    """Until the folder is ours; raises HubError where its holder does nothing any more."""
    if lock.take():
        return
    total = sum(file.size for file in manifest.files)
    amount, since = -1, time.monotonic()
    with Meter(0, total, send, watching=True) as meter:
        while not lock.take():
            now = store.size(folder)
            meter.add(min(store.size(folder / DOWNLOAD), total) - meter.done)
            if now != amount:
                amount, since = now, time.monotonic()
            elif time.monotonic() - since > UNMOVED:
                hint = f"End the process {lock.holder()}, or wait"
                raise HubError(f"Another chat fetches {manifest.repo} and gets nowhere", hint=hint, retryable=True)
            time.sleep(WATCH)


def _clear(folder: Path, out: Path) -> None:
    """Remove what is damaged, and what a killed loader left behind."""
    unseal(out)
    for path in (out, *folder.glob(f"{PART}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _prepare(request: Fetch, manifest: Manifest, source: Path, out: Path, send: Send) -> None:
    if manifest.form == "genai":
        _link(source, manifest, out)
        return
    from shammah.loader.prepare.recipe import prepare

    threads = request.threads or usable_processors()
    prepare(source, manifest.graph, out, lambda step, share: send(Preparing(step, share)), threads)


def _link(source: Path, manifest: Manifest, out: Path) -> None:
    """A genai folder is used as it is: the same files under the name of a prepared folder."""
    note = f"{manifest.repo} runs as downloaded: it is in the runtime's own form."
    with whole_folder(out) as part:
        for file in manifest.files:
            name = Path(file.path).name
            link(source / name, part / name)
        (part / store.PREPARED).write_text(json.dumps({"form": "as downloaded", "notes": [note]}), encoding="utf-8")
