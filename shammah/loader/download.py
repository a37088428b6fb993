"""Fetches the files of a repository: resumed where they broke off, never longer than listed, checked before use."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2

from shammah.errors import HubError
from shammah.loader.deadline import within
from shammah.loader.faults import TEMPORARY, from_network, from_status, portal
from shammah.loader.meter import Meter
from shammah.loader.part import Part, present, sound
from shammah.loader.patience import STALL, Patience
from shammah.loader.select import climbs, storable
from shammah.models.protocol import Downloading, ListedFile
from shammah.network import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT = 10.0
READ = 8.0
REDIRECTS = 5
MARGIN = 64 * 2**20
"""Bytes of the disk left to others."""

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Origin:
    """A repository at one commit on a hub, and the token to show there and nowhere else ("": none)."""

    endpoint: str
    repo: str
    commit: str
    token: str = ""

    @property
    def host(self) -> str:
        """Where it is, for people."""
        return host_of(self.endpoint)

    def address(self, path: str) -> str:
        """Where a file is asked for."""
        return f"{self.endpoint.rstrip('/')}/{self.repo}/resolve/{self.commit}/{quote(path)}"


def download(
    origin: Origin,
    files: Sequence[ListedFile],
    folder: Path,
    told: Callable[[Downloading], None],
    room: int = 0,
    *,
    stall: float = STALL,
) -> None:
    """Bring every file into `folder`, under its path; what is there already is checked, and fetched again if wrong.

    `room` is what will be needed on the same disk afterwards, in bytes; `stall` how long to wait for bytes, in seconds.

    Raises:
        HubError: the hub does not give them, gives others, or the disk has not enough room.
        OSError: the disk refuses.
    """
    if strange := [file.path for file in files if climbs(file.path) or not storable(file.path)]:
        raise HubError(f"A file cannot be stored as {strange[0]!r}", hint="Choose another repository")
    total = sum(file.size for file in files)
    done = sum(present(folder / file.path, file.size) for file in files)
    check_room(folder, total - done, room)
    with Meter(done, total, told) as meter, httpx2.Client(timeout=CONNECT) as client:
        for file in files:
            _bring(client, origin, file, folder / file.path, meter, stall)


def check_room(folder: Path, missing: int, later: int) -> None:
    """Refuse before the first byte what the disk has no room for.

    Raises:
        HubError: with the numbers.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free, needed = shutil.disk_usage(place).free, missing + later + MARGIN
    if needed > free:
        raise HubError(
            f"The disk has {_size(free)} free, and {_size(needed)} are needed: {_size(missing)} to fetch, "
            f"{_size(later)} to prepare, {_size(MARGIN)} to spare",
            hint=f"Free {_size(needed - free)}, choose a smaller model, or set SHAMMAH_HOME to a larger disk",
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


class _BrokenOffError(Exception):
    """The transfer broke off, for the reason given; another try goes on from where it is."""

    def __init__(self, reason: HubError, wish: float = 0.0) -> None:
        self.reason = reason
        self.wish = wish


def _bring(client: httpx2.Client, origin: Origin, file: ListedFile, target: Path, meter: Meter, stall: float) -> None:
    if target.exists():
        if sound(target, file):
            return
        meter.add(-min(target.stat().st_size, file.size))
        target.unlink()
    with Part(target, file, meter) as part:
        for _ in range(2):
            _Transfer(client, origin, part, Patience(origin.host, stall)).run()
            if part.sound:
                part.keep()
                return
            part.begin_again()
        part.discard()
    raise HubError(
        f"{file.path} came damaged twice from {origin.host}",
        hint="Try again over another network: something on the way changes what is sent",
        retryable=True,
    )


class _Transfer:
    """Asks for the rest of a part until it is complete."""

    def __init__(self, client: httpx2.Client, origin: Origin, part: Part, patience: Patience) -> None:
        self._client = client
        self._origin = origin
        self._part = part
        self._patience = patience
        self._version = ""
        """The ETag under which the beginning came; only this one's rest is wanted."""

    def run(self) -> None:
        """Raises HubError where the hub refuses, or nothing comes any more."""
        while not self._part.complete:
            try:
                self._ask()
            except _BrokenOffError as interruption:
                self._patience.wait(interruption.reason, interruption.wish)
            except TimeoutError:
                raise self._patience.over() from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as cause:
                reason = from_network(cause, self._origin.host)
                if not reason.retryable:
                    raise reason from cause
                self._patience.wait(reason)

    def _ask(self) -> None:
        headers = {"Accept-Encoding": "identity"}
        if self._part.done:
            headers["Range"] = f"bytes={self._part.done}-"
            if self._version:
                headers["If-Range"] = self._version
        with self._opened(headers) as answer:
            self._accept(answer)
            for piece in answer.iter_raw():
                self._part.take(piece)
                self._patience.came(len(piece))
                if self._part.complete:
                    return
        early = httpx2.RemoteProtocolError("the end came too early", request=answer.request)
        raise _BrokenOffError(from_network(early, self._origin.host))

    @contextmanager
    def _opened(self, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The answer after all redirects; the client shows the token to no other host."""
        token = {"Authorization": f"Bearer {self._origin.token}"} if self._origin.token else {}
        address = self._origin.address(self._part.file.path)
        request = self._client.build_request("GET", address, headers={**headers, **token}, timeout=self._timeout())
        for _ in range(REDIRECTS + 1):
            # A header at a time, or a name look-up, may take longer than any timeout.
            with closing(within(self._patience.left, partial(self._client.send, request, stream=True))) as answer:
                if answer.next_request is None:
                    yield answer
                    return
                request = answer.next_request
        raise httpx2.TooManyRedirects("too many redirects")

    def _timeout(self) -> httpx2.Timeout:
        left = max(0.1, self._patience.left)
        return httpx2.Timeout(min(CONNECT, left), read=min(READ, left))

    def _accept(self, answer: httpx2.Response) -> None:
        """Make sure that what follows is the rest of the file."""
        match answer.status_code:
            case 206:
                self._check_range(answer)
            case 200:
                self._from_the_start(answer)
            case 416:
                self._part.begin_again()
                raise _BrokenOffError(self._wrong("refuses the part that was asked for"))
            case status if status in TEMPORARY:
                wish = answer.headers.get("Retry-After", "")
                raise _BrokenOffError(self._refusal(answer), float(wish) if wish.isdigit() else 0.0)
            case _:
                raise self._refusal(answer)
        self._check_form(answer)
        tag = answer.headers.get("ETag", "")
        self._version = "" if tag.startswith("W/") else tag

    def _check_range(self, answer: httpx2.Response) -> None:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        size = self._part.file.size
        if not found or int(found[1]) != self._part.done or found[3] not in ("*", str(size)):
            raise _BrokenOffError(self._wrong("sends another part than was asked for"))

    def _from_the_start(self, answer: httpx2.Response) -> None:
        if self._part.done and self._version:
            # Another copy of the same file, perhaps: the digest tells in the end, and the part is worth keeping.
            self._version = ""
            raise _BrokenOffError(self._wrong("does not send the rest of a file"))
        self._part.begin_again()
        announced = answer.headers.get("Content-Length", "")
        if announced and announced != str(self._part.file.size):
            raise self._wrong(f"announces {announced} bytes where {self._part.file.size} were listed,")

    def _check_form(self, answer: httpx2.Response) -> None:
        if "html" in answer.headers.get("Content-Type", ""):
            raise portal(self._origin.host)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._wrong("sends packed what was asked for as it is,")

    def _wrong(self, what: str) -> HubError:
        message = f"{self._origin.host} {what} for {self._part.file.path}"
        return HubError(message, hint="Try again later, or check HF_ENDPOINT", retryable=True)

    def _refusal(self, answer: httpx2.Response) -> HubError:
        what = f"{self._part.file.path} in {self._origin.repo}"
        return from_status(answer.status_code, answer.headers, what, answer.url.netloc.decode("ascii"))
