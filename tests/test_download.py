"""Files come over a bad line whole or not at all, over a real connection to a hub on loopback that goes wrong."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shammah.errors import HubError
from shammah.loader.download import Origin, download
from shammah.loader.faults import from_disk
from shammah.loader.hub import list_files
from shammah.loader.lock import Lock
from shammah.models.protocol import Downloading, ListedFile
from tests.servers.hub import (
    Announces,
    Cut,
    Drip,
    Fault,
    Flip,
    Hub,
    Longer,
    NoRange,
    Packed,
    Page,
    Sends,
    Silence,
    Status,
    Tagged,
    deaf,
)

REPO = "owner/a-model"
WEIGHTS = "onnx/model_q4f16.onnx"
CONFIG = "config.json"
SIZE = 1_000_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(made(tmp_path / "hub")) as running:
        yield running


def made(folder: Path) -> Path:
    """A folder of repositories with one in it: a large file and a small one."""
    repo = folder / REPO
    (repo / "onnx").mkdir(parents=True)
    (repo / WEIGHTS).write_bytes(random.Random(1).randbytes(SIZE))
    (repo / CONFIG).write_text('{"model_type": "qwen2"}')
    return folder


def fetch(hub: Hub, folder: Path, *, token: str = "", stall: float = 20.0, room: int = 0) -> list[Downloading]:
    """Download the whole repository; returns what was told."""
    commit = hub.commit(REPO)
    files = [
        ListedFile(entry["path"], entry["size"], entry.get("lfs", entry)["oid"])
        for entry in hub.tree(REPO)
    ]  # fmt: skip
    told: list[Downloading] = []
    download(Origin(hub.url, REPO, commit, token), files, folder, told.append, room, stall=stall)
    return told


def failed(hub: Hub, folder: Path, stall: float = 20.0) -> HubError:
    with pytest.raises(HubError) as caught:
        fetch(hub, folder, stall=stall)
    assert caught.value.hint
    return caught.value


def whole(hub: Hub, folder: Path) -> bool:
    """Whether the folder holds the repository and nothing else."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    wanted = {name: path.read_bytes() for name, path in hub.files(REPO)}
    return names == sorted(wanted) and all((folder / name).read_bytes() == content for name, content in wanted.items())


def test_every_file_comes_under_its_own_path(hub: Hub, tmp_path: Path) -> None:
    told = fetch(hub, tmp_path / "here")
    total = SIZE + 23
    assert whole(hub, tmp_path / "here")
    assert (told[-1].done, told[-1].total) == (total, total)
    assert all(before.done <= after.done for before, after in itertools.pairwise(told))
    assert hub.sent("resolve", "cdn") == total


def test_what_the_library_lists_is_what_comes(hub: Hub, tmp_path: Path) -> None:
    listing = list_files(REPO, "main", hub.url)
    download(Origin(hub.url, REPO, listing.commit), listing.files, tmp_path / "here", lambda _: None)
    assert whole(hub, tmp_path / "here")


def test_what_is_here_and_right_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "here")
    hub.forget()
    told = fetch(hub, tmp_path / "here")
    assert hub.asked == []
    assert told[-1].done == told[-1].total


def test_a_part_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "here" / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((hub.folder / REPO / WEIGHTS).read_bytes()[: SIZE - 10])
    told = fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    assert hub.sent("cdn") == 10
    assert told[0].done >= SIZE - 10


@pytest.mark.parametrize("content", [b"x" * (SIZE - 5), b"x" * SIZE, b"x" * (SIZE + 5)])
def test_a_part_that_is_wrong_is_thrown_away(hub: Hub, tmp_path: Path, content: bytes) -> None:
    part = tmp_path / "here" / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after", [20_000, 65_536, 400_000])
def test_a_line_that_breaks_again_and_again_brings_the_file(
    hub: Hub, tmp_path: Path, after: int, *, reset: bool
) -> None:
    hub.faults["cdn"] = [Cut(after, reset)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    if not reset:  # A reset takes with it what was not read yet.
        assert hub.sent("cdn") == SIZE


def test_a_server_that_knows_no_ranges_brings_the_file_when_the_line_holds(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [NoRange(), Cut(300_000, times=2)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")


def test_a_server_whose_etag_changes_is_still_asked_for_the_rest(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Cut(300_000), Tagged('"first"', times=1)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    assert hub.sent("cdn") < 1.5 * SIZE


@pytest.mark.parametrize("place", [0, 8 * 500_000 + 3, 8 * SIZE - 1])
def test_a_bit_that_is_flipped_on_the_way_is_found_and_mended(hub: Hub, tmp_path: Path, place: int) -> None:
    hub.faults["cdn"] = [Flip(place, times=1)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    assert hub.sent("cdn") == 2 * SIZE


def test_a_bit_that_is_flipped_in_a_small_file_is_found_too(hub: Hub, tmp_path: Path) -> None:
    hub.faults["resolve"] = [Flip(9, path=CONFIG, times=1)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")


def test_a_file_that_is_damaged_twice_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Flip(77)]
    assert "damaged twice" in str(failed(hub, tmp_path / "here"))
    assert hub.sent("cdn") == 2 * SIZE
    assert [path.name for path in tmp_path.glob("here/onnx/*")] == []


def test_a_file_that_changed_on_the_disk_is_fetched_again_alone(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "here")
    damaged = tmp_path / "here" / WEIGHTS
    content = bytearray(damaged.read_bytes())
    content[1234] ^= 4
    damaged.write_bytes(content)
    hub.forget()
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    assert hub.sent("resolve", "cdn") == SIZE


def test_a_body_that_goes_on_is_cut_at_the_listed_size(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Longer(50_000_000)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")
    assert hub.sent("cdn") < 12 * SIZE


@pytest.mark.parametrize("length", [SIZE - 1, SIZE + 1, 10**12, 0])
def test_a_length_that_is_not_the_listed_one_is_refused(hub: Hub, tmp_path: Path, length: int) -> None:
    hub.faults["cdn"] = [Announces(length)]
    assert f"announces {length} bytes where {SIZE} were listed" in str(failed(hub, tmp_path / "here"))


def test_a_packed_body_is_refused_unopened(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Packed(64 << 20)]
    failed(hub, tmp_path / "here")
    assert sum(path.stat().st_size for path in tmp_path.glob("here/**/*") if path.is_file()) < SIZE


def test_a_sign_in_page_is_no_file(hub: Hub, tmp_path: Path) -> None:
    hub.faults["resolve"] = [Page()]
    assert failed(hub, tmp_path / "here").retryable


STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 418, 429, 451, 500, 502, 503, 504, 511)
LATER = (408, 429, 500, 502, 503, 504, 511)


def test_each_status_of_a_file_is_a_sentence_that_says_whether_to_try_again(tmp_path: Path) -> None:
    folder = made(tmp_path / "hub")
    cases: list[tuple[Any, int]] = [(route, status) for route in ("resolve", "cdn") for status in STATUSES]

    def told(case: tuple[Any, int]) -> HubError:
        route, status = case
        with Hub(folder) as hub:
            hub.faults[route] = [Status(status)]
            return failed(hub, tmp_path / f"{route}{status}", stall=3.0)

    # Those that may pass are tried again for a while, so all are tried at once.
    with ThreadPoolExecutor(len(cases)) as threads:
        for (_, status), error in zip(cases, threads.map(told, cases), strict=True):
            assert f"status {status}" in str(error)
            assert error.retryable == (status in LATER), status


def test_a_status_that_passes_is_waited_out(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Status(503, times=2), Cut(400_000, times=1)]
    fetch(hub, tmp_path / "here")
    assert whole(hub, tmp_path / "here")


def test_a_hub_that_wishes_a_long_wait_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.faults["resolve"] = [Status(429, {"Retry-After": "86400"})]
    assert "for 86400 s" in str(failed(hub, tmp_path / "here"))


@pytest.mark.parametrize("route", ["resolve", "cdn"])
@pytest.mark.parametrize("fault", [Silence(), Drip(0.2), Drip(0.2, headers=True)])
def test_a_transfer_that_stands_still_is_ended(hub: Hub, tmp_path: Path, route: Any, fault: Fault) -> None:
    hub.faults[route] = [fault]
    error = failed(hub, tmp_path / "here", stall=0.6)
    assert error.retryable
    assert "next to nothing" in str(error) or "does not answer" in str(error)


def test_a_host_that_takes_no_call_is_left(hub: Hub, tmp_path: Path) -> None:
    with deaf() as port:
        hub.faults["resolve"] = [Sends(f"http://127.0.0.1:{port}/x")]
        assert failed(hub, tmp_path / "here", stall=0.6).retryable


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "javascript:1", "//[x", "http://a b/"]
)
def test_a_redirect_to_what_is_no_web_address_is_refused(hub: Hub, tmp_path: Path, location: str) -> None:
    hub.faults["resolve"] = [Sends(location)]
    failed(hub, tmp_path / "here", stall=1.0)
    assert not list(tmp_path.glob("here/**/*.onnx"))


def test_redirects_without_end_are_left(hub: Hub, tmp_path: Path) -> None:
    hub.faults["resolve"] = [Sends(f"{hub.url}/{REPO}/resolve/main/{CONFIG}")]
    assert "without end" in str(failed(hub, tmp_path / "here"))
    assert len(hub.asked) == 6


def test_the_token_is_shown_to_the_hub_and_not_where_it_sends_to(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    fetch(hub, tmp_path / "here", token="hf_secret")
    shown = {(asked.route, asked.headers.get("Authorization")) for asked in hub.asked}
    assert shown == {("resolve", "Bearer hf_secret"), ("cdn", None)}


@pytest.mark.parametrize("path", ["../out", "/out", "C:\\out", "a/../../out", "aux", "x.part"])
def test_a_path_that_leads_elsewhere_is_never_written(hub: Hub, tmp_path: Path, path: str) -> None:
    origin = Origin(hub.url, REPO, hub.commit(REPO))
    with pytest.raises(HubError, match="cannot be stored"):
        download(origin, [ListedFile(path, 1, "f" * 40)], tmp_path / "in" / "here", lambda _: None)
    assert hub.asked == []
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("tag", ["../../x", "W/../x", '"' + "x" * 5000 + '"', ""])
def test_an_etag_is_never_a_name(hub: Hub, tmp_path: Path, tag: str) -> None:
    hub.faults["cdn"] = [Tagged(tag), Cut(600_000, times=1)]
    fetch(hub, tmp_path / "a" / "b" / "here")
    assert whole(hub, tmp_path / "a" / "b" / "here")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["here"]


def test_a_disk_without_room_is_told_with_the_numbers_before_the_first_byte(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"1\.0 MB to fetch, 9000000\.00 GB to prepare") as caught:
        fetch(hub, tmp_path / "here", room=9 * 10**15)
    assert hub.asked == []
    assert not caught.value.retryable
    assert not (tmp_path / "here").exists()


def test_a_full_disk_and_a_forbidden_folder_are_told_apart(tmp_path: Path) -> None:
    assert "is full" in str(from_disk(OSError(errno.ENOSPC, "No space left"), tmp_path))
    assert "cannot be written" in str(from_disk(PermissionError(errno.EACCES, "Permission denied"), tmp_path))


# The lock

HOLDS = """
import sys, time
from pathlib import Path
from shammah.loader.lock import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.take(), flush=True)
time.sleep(600)
"""


def test_a_folder_has_one_holder_and_is_free_when_it_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    other = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, cwd=root)
    with ExitStack() as ends:
        ends.callback(other.wait)
        ends.callback(other.kill)
        assert other.stdout is not None
        with other.stdout as says, Lock(tmp_path) as lock:
            assert says.readline().strip() == b"True"
            assert not lock.take()
            assert lock.holder() == str(other.pid)
            other.kill()
            other.wait()
            assert lock.take()
            assert lock.holder() == str(os.getpid())


def test_a_lock_that_is_left_is_free(tmp_path: Path) -> None:
    with Lock(tmp_path) as first:
        assert first.take()
    with Lock(tmp_path) as second:
        assert second.take()


def test_the_digest_of_the_hub_is_gits(hub: Hub) -> None:
    entry = next(entry for entry in hub.tree(REPO) if entry["path"] == CONFIG)
    content = (hub.folder / REPO / CONFIG).read_bytes()
    assert entry["oid"] == hashlib.sha1(b"blob 23\0" + content).hexdigest()
