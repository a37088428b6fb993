#!/usr/bin/env python3
"""Promises 6, 7, 8, 9, 10, 12 and 13: a download over bad lines, from bad hubs, onto full disks.

    python scripts/trial_download.py                    # 100 kills, 400 flipped bits, every status on every route
    python scripts/trial_download.py --short            # a fifth of that, in under two minutes
    python scripts/trial_download.py --count 3 --only 6 8 --json result.json

Files come from a hub on loopback (tests/servers/hub.py) through the real loader. The keys of promise 9 are shown by
trial_chat, the memory of promise 12 by trial_memory. Exit status 1 when a promise is missed. Needs the test extra.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

SELF = Path(__file__).resolve()
ROOT = SELF.parent.parent
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from scripts.apart import mounted
from scripts.promise import Reached, tell
from shammah.environment import loader_environment
from shammah.errors import HubError
from shammah.loader.download import Origin, download
from shammah.loader.faults import from_disk
from shammah.loader.fetch import bring
from shammah.loader.hub import list_files
from shammah.models.protocol import Downloading, Failed, Fetch, ListedFile, Prepared, Reply, decode, encode
from tests.servers.hub import (
    Cut,
    Drip,
    Fault,
    Flip,
    Hub,
    Lies,
    Longer,
    Pace,
    Packed,
    Page,
    Route,
    Sends,
    Silence,
    Status,
    Tagged,
    deaf,
)
from tests.servers.loopback import closed_port

REPO = "owner/a-model"
WEIGHTS = "model.onnx.data"
MB = 1_000_000
SMALL = 10_000
"""Bytes of each file beside the weights."""
ALL = 4 * SMALL
SHORT = 20
STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 418, 429, 451, 500, 502, 503, 504, 511)
LISTINGS: tuple[Route, ...] = ("info", "tree")
FILES: tuple[Route, ...] = ("resolve", "cdn")
NOWHERE = "http://nowhere.invalid"


def main() -> int:
    """Run the trials, print a line for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count", type=int, default=100, help="kills; twice as many flipped bits on the way and on disk"
    )
    parser.add_argument("--short", action="store_const", const=SHORT, dest="count", help=f"--count {SHORT}")
    parser.add_argument("--only", type=int, nargs="+", choices=TRIALS, help="these promises")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--on-small-disk", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.on_small_disk:
        print(json.dumps(on_small_disk(given.on_small_disk)))
        return 0
    return tell(_trials(given.only or TRIALS, given.count), given.json)


def _trials(promises: Iterable[int], count: int) -> Iterator[Reached]:
    for number in promises:
        with tempfile.TemporaryDirectory(prefix="trial-download-") as folder:
            yield TRIALS[number](Path(folder), count)


# What every trial uses


def repository(folder: Path, size: int) -> Path:
    """A folder for a hub with one repository in the runtime's own form, which needs no preparation."""
    repo = folder / "hub" / REPO
    repo.mkdir(parents=True)
    for name in ("genai_config.json", "tokenizer.json", "config.json"):
        (repo / name).write_text("{}".ljust(SMALL))
    (repo / "model.onnx").write_bytes(b"graph".ljust(SMALL))
    (repo / WEIGHTS).write_bytes(random.Random(size).randbytes(size))
    return folder / "hub"


def listing(hub: Hub) -> list[ListedFile]:
    """The files as the hub lists them."""
    return [ListedFile(each["path"], each["size"], each.get("lfs", each)["oid"]) for each in hub.tree(REPO)]


def fetch(hub: Hub, folder: Path) -> None:
    """Download the whole repository."""
    download(Origin(hub.url, REPO, hub.commit(REPO)), listing(hub), folder, lambda _: None)


def equal(hub: Hub, folder: Path) -> bool:
    """Whether a folder holds what the hub has, and no part of it."""
    same = (folder / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()
    return same and not list(folder.rglob("*.part"))


def loader(request: Fetch) -> Iterator[tuple[subprocess.Popen[bytes], Reply]]:
    """Start a loader; what it tells, each with the process."""
    command = [sys.executable, "-m", "shammah.loader"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=loader_environment(), cwd=ROOT
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(encode(request))
        process.stdin.flush()
        for line in process.stdout:
            yield process, decode(line)


# 6: kill -9 costs next to nothing


def try_kills(folder: Path, count: int) -> Reached:
    """Kill the loader again and again in one download; the hub counts the bytes."""
    size, rate = count * MB, 8 * MB
    chance = random.Random(6)
    with Hub(repository(folder, size)) as hub:
        hub.faults["cdn"] = [Pace(rate)]
        request = Fetch(REPO, str(folder / "models"), endpoint=hub.url)
        for number in range(1, count + 1):
            _kill_at(request, int(size * (number - chance.random()) / (count + 1)))
        hub.faults.clear()
        last = [reply for _, reply in loader(request)][-1]
        assert isinstance(last, Prepared), last
        sent = hub.sent("resolve", "cdn")
        whole = equal(hub, Path(last.folder))
        orphans = list((folder / "models").rglob("*.part*"))
    share = sent / (size + ALL)
    return Reached(
        6,
        f"{count} kills in one download of {size / MB:.0f} MB: {share:.1%} of the bytes, "
        f"digest {'equal' if whole else 'DIFFERENT'}, {len(orphans)} orphans",
        "at most 105 % of the bytes, digest equal, no orphan, with 100 kills",
        share <= 1.05 and whole and not orphans,
    )


def _kill_at(request: Fetch, done: int) -> None:
    for process, reply in loader(request):
        if isinstance(reply, Downloading) and reply.done >= done:
            process.kill()


# 7: bad links finish


def try_bad_links(folder: Path, count: int) -> Reached:
    """Cut the connection every so many bytes, with a FIN and with a RST."""
    size = 45 * MB if count >= 100 else 25 * MB
    worst, finished = 0.0, 0
    cases = [(after, reset) for after in (65536, MB, 9 * MB, 12 * MB) for reset in (False, True)]
    with Hub(repository(folder, size)) as hub:
        for number, (after, reset) in enumerate(cases):
            hub.forget()
            hub.faults["cdn"] = [Cut(after, reset)]
            fetch(hub, folder / str(number))
            finished += equal(hub, folder / str(number))
            worst = max(worst, hub.sent("resolve", "cdn") / (size + ALL))
    return Reached(
        7,
        f"{finished} of {len(cases)} finished, cut every 64 KB, 1, 9, 12 MB of {size / MB:.0f} by FIN and RST; "
        f"at most {worst:.1%} of the bytes",
        "all finish, at most 105 % of the bytes",
        finished == len(cases) and worst <= 1.05,
    )


# 8: corruption never reaches the runtime


def try_flips(folder: Path, count: int) -> Reached:
    """Flip a bit on the way, in a download on the disk, and in a prepared folder; each must be found and mended."""
    places = [random.Random(8).randrange(8 * MB) for _ in range(2 * count)]
    with Hub(repository(folder, MB)) as hub:
        on_the_way = sum(_mended_on_the_way(hub, folder / "way", place) for place in places)
        on_disk = sum(
            (_mended_download if number % 2 else _mended_prepared)(hub, folder / f"disk{number % 2}", place)
            for number, place in enumerate(places)
        )
    return Reached(
        8,
        f"{on_the_way + on_disk} of {2 * len(places)} flipped bits found before load and mended by fetching that file: "
        f"{on_the_way} on the way, {on_disk} on the disk",
        "400 of 400",
        on_the_way + on_disk == 2 * len(places),
    )


def _mended_on_the_way(hub: Hub, folder: Path, place: int) -> bool:
    hub.forget()
    hub.faults["cdn"] = [Flip(place, path=WEIGHTS, times=1)]
    fetch(hub, folder)
    whole = equal(hub, folder) and hub.sent("cdn", path=WEIGHTS) == 2 * MB
    shutil.rmtree(folder)
    return whole


def _mended_download(hub: Hub, folder: Path, place: int) -> bool:
    """The prepared folder is missing and the download is damaged."""
    hub.faults.clear()
    request = Fetch(REPO, str(folder / "models"), endpoint=hub.url, keep_download=True)
    made = Path(bring(request, "", _nothing).folder)
    shutil.rmtree(made)
    _flip(made.parent / "download" / WEIGHTS, place)
    hub.forget()
    bring(request, "", _nothing)
    return equal(hub, made) and hub.sent("resolve", "cdn") == MB


def _mended_prepared(hub: Hub, folder: Path, place: int) -> bool:
    hub.faults.clear()
    request = Fetch(REPO, str(folder / "models"), endpoint=hub.url)
    made = Path(bring(request, "", _nothing).folder)
    _flip(made / WEIGHTS, place)
    bring(request, "", _nothing)
    return equal(hub, made)


def _nothing(_reply: Reply) -> None:
    """Nobody listens."""


def _flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


# 9: no endless wait


def try_silence(folder: Path, _count: int) -> Reached:
    """A black hole, or a byte in eight seconds, on each route, and a host that takes no call; all at once."""
    faults = [Silence(), Drip(8.0), Drip(8.0, headers=True)]
    cases = [(route, fault) for route in LISTINGS + FILES for fault in faults]
    repos = repository(folder, MB)

    def shown(number: int) -> float | None:
        with Hub(repos) as hub:
            hub.faults[cases[number][0]] = [cases[number][1]]
            return _seconds_to_failure(hub.url, folder / f"models{number}")

    with ThreadPoolExecutor(len(cases) + 1) as threads, deaf() as port:
        told = [threads.submit(shown, number) for number in range(len(cases))]
        told.append(threads.submit(_seconds_to_failure, f"http://127.0.0.1:{port}", folder / "deaf"))
        seconds = [each.result() for each in told]
    known = [each for each in seconds if each is not None]
    return Reached(
        9,
        f"{len(known)} of {len(seconds)} silences told, the last after {max(known, default=0):.0f} s",
        "shown within 30 s",
        len(known) == len(seconds) and max(known) <= 30,
    )


def _seconds_to_failure(endpoint: str, models: Path) -> float | None:
    """From the start of the loader to the sentence that tells it; None where no such sentence comes."""
    began = time.monotonic()
    last = [reply for _, reply in loader(Fetch(REPO, str(models), endpoint=endpoint))][-1]
    told = isinstance(last, Failed) and last.retryable and bool(last.hint)
    return time.monotonic() - began if told else None


# 10: each failure says what is true and what to do


def try_failures(folder: Path, _count: int) -> Reached:
    """Every status on every route, a sign-in page, no address, no TLS, no server."""
    repos = repository(folder, MB)
    right = [*_files_say(repos, folder), *_listings_say(repos)]
    return Reached(
        10,
        f"{sum(right)} of {len(right)}: 16 statuses on 4 routes, a sign-in page, no TLS, no address, a refusal",
        "all mapped, no traceback",
        all(right),
    )


def _files_say(repos: Path, folder: Path) -> list[bool]:
    def says(case: tuple[Route, int]) -> bool:
        route, status = case
        with Hub(repos) as hub:
            hub.faults[route] = [Status(status)]
            return _says(lambda: fetch(hub, folder / f"{route}{status}"), f"status {status}")

    cases = [(route, status) for route in FILES for status in STATUSES]
    with ThreadPoolExecutor(len(cases)) as threads:
        return list(threads.map(says, cases))


def _listings_say(repos: Path) -> Iterator[bool]:
    with Hub(repos) as hub:
        for route in LISTINGS:
            yield from (_listing_says(hub, route, Status(status), f"status {status}") for status in STATUSES)
        yield _listing_says(hub, "info", Page(), "web page")
        hub.faults.clear()
        yield _says(lambda: list_files(REPO, "main", hub.url.replace("http", "https")), "TLS")
    yield _says(lambda: list_files(REPO, "main", NOWHERE), "No address is known for nowhere.invalid")
    place = f"127.0.0.1:{closed_port()}"
    yield _says(lambda: list_files(REPO, "main", f"http://{place}"), f"{place} refuses the connection")


def _listing_says(hub: Hub, route: Route, fault: Fault, words: str) -> bool:
    hub.faults = {route: [fault]}
    return _says(lambda: list_files(REPO, "main", hub.url), words)


def _says(work: Callable[[], object], words: str) -> bool:
    """Whether it fails with a sentence that holds these words, and a next step."""
    try:
        work()
    except HubError as error:
        return words in str(error) and bool(error.hint)
    return False


# 12: the disk is checked first


def try_small_disk(folder: Path, _count: int) -> Reached:
    """On a disk of 96 MB: a model that does not fit, and a disk that fills up on the way."""
    disk = folder / "disk"
    disk.mkdir()
    made = mounted(f'mount -t tmpfs -o size=96m none "{disk}"')
    command = [*made, sys.executable, str(SELF), "--on-small-disk", str(disk)]
    aim = "refused before the first byte with the numbers"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as cause:
        print(f"  no small disk here: {getattr(cause, 'stderr', cause)}", file=sys.stderr)
        found = {"refused": _too_large_for_any_disk(folder)}
    else:
        found = json.loads(done.stdout)
    words = "; ".join(f"{what}: {'yes' if held else 'NO'}" for what, held in found.items())
    return Reached(12, f"the disk only: {words}", aim, all(found.values()))


def on_small_disk(disk: Path) -> dict[str, bool]:
    """Runs where `disk` is a file system of 96 MB."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as hubs:
        large = hubs.enter_context(Hub(repository(Path(made) / "large", 40 * MB)))
        message = _failure(Fetch(REPO, str(disk / "models"), endpoint=large.url))
        refused = "are needed" in message and "40.0 MB to fetch" in message and large.sent("resolve", "cdn") == 0
        empty = not list(disk.rglob("*.part"))
        return {"refused before byte 1 with the numbers": refused and empty, **_filled(Path(made), disk, hubs)}


def _filled(made: Path, disk: Path, hubs: ExitStack) -> dict[str, bool]:
    """Another program fills the disk while the download runs; then it is emptied."""
    hub = hubs.enter_context(Hub(repository(made / "small", 16 * MB)))
    hub.faults["cdn"] = [Pace(16 * MB)]
    other, request = disk / "other", Fetch(REPO, str(disk / "models"), endpoint=hub.url)

    def fill(reply: Reply) -> None:
        if isinstance(reply, Downloading) and reply.done > MB and not other.exists():
            _fill(other)

    try:
        bring(request, "", fill)
        told = False
    except OSError as cause:
        told = "is full" in str(from_disk(cause, disk))
    other.unlink(missing_ok=True)
    sent = hub.sent("cdn", path=WEIGHTS)
    made_whole = equal(hub, Path(bring(request, "", _nothing).folder))
    return {
        "full on the way told": told,
        "gone on with after that": made_whole and hub.sent("cdn", path=WEIGHTS) - sent < 16 * MB,
    }


def _fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
    except OSError:
        return


def _too_large_for_any_disk(folder: Path) -> bool:
    with Hub(repository(folder / "large", MB)) as hub:
        files = [{**entry, "size": 10**15} for entry in hub.tree(REPO)]
        for entry in files:
            entry.pop("lfs", None)
        hub.faults["tree"] = [Lies(files)]
        return "are needed" in _failure(Fetch(REPO, str(folder / "m"), endpoint=hub.url)) and not hub.sent("cdn")


def _failure(request: Fetch) -> str:
    last = [reply for _, reply in loader(request)][-1]
    return last.message if isinstance(last, Failed) else ""


# 13: a hostile hub


def try_hostile(folder: Path, _count: int) -> Reached:
    """Names, versions, commits and addresses that lead elsewhere; bodies that do not end."""
    repos = repository(folder, MB)
    outside = written = 0
    cases = list(_attacks())
    for number, (route, fault) in enumerate(cases):
        place = folder / f"case{number}"
        models = place / "a" / "b" / "models"
        models.mkdir(parents=True)
        with Hub(repos) as hub:
            hub.faults[route] = [fault]
            with suppress(HubError):
                bring(Fetch(REPO, str(models), endpoint=hub.url), "", _nothing)
        files = [path for path in place.rglob("*") if path.is_file()]
        outside += len([path for path in files if not path.is_relative_to(models)])
        written = max(written, *(path.stat().st_size for path in files), 0)
        shutil.rmtree(place)
    outside += len(list(Path(tempfile.gettempdir()).glob("shammah-attack*")))
    over = written - MB
    return Reached(
        13,
        f"{len(cases)} attacks: {outside} files outside, at most {max(over, 0)} bytes more than declared",
        "0 files outside, at most the declared size + 1 MiB",
        outside == 0 and over <= 1 << 20,
    )


def _attacks() -> Iterator[tuple[Route, Fault]]:
    temporary = tempfile.gettempdir()
    names = [
        "../out",
        "../../../out",
        "a/../../../out",
        f"{temporary}/shammah-attack",
        "C:\\out",
        "..\\..\\out",
        "a\0b",
        "nul",
    ]
    entry = {"type": "file", "size": 10, "oid": "f" * 40}
    for name in names:
        needed = [{**entry, "path": path} for path in ("genai_config.json", "model.onnx", name)]
        yield "tree", Lies(needed)
        yield "info", Lies({"id": REPO, "sha": name, "siblings": []})
        yield "cdn", Tagged(name.replace("\0", ""))
        yield "resolve", Tagged(name.replace("\0", ""))
    for location in ("file:///etc/passwd", f"file://{temporary}/x", "ftp://127.0.0.1/x", "/../../out"):
        yield "resolve", Sends(location)
        yield "info", Sends(location)
    for route in FILES:
        yield route, Longer(40 * MB)
    for route in LISTINGS + FILES:
        yield route, Packed(64 << 20)


TRIALS: dict[int, Callable[[Path, int], Reached]] = {
    6: try_kills,
    7: try_bad_links,
    8: try_flips,
    9: try_silence,
    10: try_failures,
    12: try_small_disk,
    13: try_hostile,
}


if __name__ == "__main__":
    sys.exit(main())
