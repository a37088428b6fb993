"""Fetches the files of a repository: resumed where they broke off, never longer than listed, checked before use.

Every file is written to NAME.part beside its place and gets its name when its digest is right. Nothing else about a
download is kept, so a process may be killed at any time: the next one reads the part and asks for the rest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2

from shammah.errors import HubError
from shammah.files import sync
from shammah.loader.deadline import within
from shammah.loader.faults import TEMPORARY, from_network, from_status, host_of, portal, silent
from shammah.loader.meter import Meter
from shammah.loader.select import climbs, storable
from shammah.models.protocol import Downloading, ListedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PART = ".part"
CONNECT = 10.0
READ = 8.0
STALL = 20.0
"""Seconds in which `ENOUGH` bytes must come: with the longest read, a stall is told within 30 s of its beginning."""
ENOUGH = 4096
WAITS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the next try, counted from the last time that bytes came: a link that breaks often loses none."""
REDIRECTS = 5
CHUNK = 1 << 20
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
    done = sum(_present(folder / file.path, file.size) for file in files)
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


def sound(path: Path, file: ListedFile) -> bool:
    """Whether the file at `path` is the one that was listed, by size and digest."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = _digest(file)
    with path.open("rb") as content:
        while piece := content.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest() == file.digest


def _digest(file: ListedFile) -> hashlib._Hash:
    """What the listing's digest is made with: sha256, or git's sha1 of a blob for what is not kept in LFS."""
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _present(target: Path, size: int) -> int:
    """Bytes of a file that are on the disk, whole or in part."""
    for path in (target, target.with_name(target.name + PART)):
        if path.is_file():
            return min(path.stat().st_size, size)
    return 0


class _Part:
    """The part of a file that is here."""

    def __init__(self, target: Path, file: ListedFile, meter: Meter) -> None:
        self.file = file
        self.done = 0
        self._target = target
        self._path = target.with_name(target.name + PART)
        self._meter = meter
        self._digest = _digest(file)

    def __enter__(self) -> _Part:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._content = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600), "r+b", buffering=0)
        while piece := self._content.read(CHUNK):
            self._digest.update(piece)
            self.done += len(piece)
        if self.done > self.file.size:
            self._meter.add(self.done - self.file.size)  # No more than the size was counted.
            self.begin_again()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    @property
    def complete(self) -> bool:
        return self.done == self.file.size

    @property
    def sound(self) -> bool:
        return self.complete and self._digest.hexdigest() == self.file.digest

    def take(self, piece: bytes) -> None:
        """Write what came, up to the listed size; what goes beyond is dropped."""
        piece = piece[: self.file.size - self.done]
        self._content.write(piece)
        self._digest.update(piece)
        self.done += len(piece)
        self._meter.add(len(piece))

    def begin_again(self) -> None:
        self._meter.add(-self.done)
        self._content.seek(0)
        self._content.truncate()
        self._digest = _digest(self.file)
        self.done = 0

    def keep(self) -> None:
        """Give it its name, so that it holds even when the power goes."""
        os.fsync(self._content.fileno())
        self._content.close()
        self._path.replace(self._target)
        sync(self._target.parent)

    def discard(self) -> None:
        """Leave nothing of it."""
        self._content.close()
        self._path.unlink()


_BINARY: int = getattr(os, "O_BINARY", 0)


class _Patience:
    """How long to go on trying while too little comes."""

    def __init__(self, host: str, stall: float) -> None:
        self._host = host
        self._stall = stall
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._bytes = 0
        self._tries = 0

    @property
    def left(self) -> float:
        """Seconds."""
        return self._stall - (time.monotonic() - self._since)

    def came(self, count: int) -> None:
        """Bytes came. Raises HubError when they are too few for the time they took."""
        self._bytes += count
        if self._bytes >= ENOUGH:
            self._begin()
        elif self.left <= 0:
            raise self.over()

    def over(self) -> HubError:
        """What to say when it has run out."""
        return silent(self._host, self._stall)

    def wait(self, cause: HubError, wish: float = 0.0) -> None:
        """Wait before the next try, as long as the hub wishes. Raises the cause of the last when that is too long."""
        if self._tries == len(WAITS) or self.left <= max(WAITS[self._tries], wish):
            raise cause
        time.sleep(max(WAITS[self._tries], wish))
        self._tries += 1


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
    with _Part(target, file, meter) as part:
        for _ in range(2):
            _Transfer(client, origin, part, _Patience(origin.host, stall)).run()
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

    def __init__(self, client: httpx2.Client, origin: Origin, part: _Part, patience: _Patience) -> None:
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
