"""A hub on loopback that speaks as the real one does, and goes wrong on demand.

It serves what lies under a folder as OWNER/NAME/..., by four routes: "info" and "tree" tell what a repository holds,
"resolve" gives small files and sends to "cdn" for large ones, which is another host ("localhost" beside "127.0.0.1").

    with Hub(folder) as hub:
        hub.faults["cdn"] = [Cut(65536, reset=True)]
        ...  # a client of hub.url
        assert hub.sent("cdn") < 1.05 * size
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.loopback import Loopback, Server

Route = Literal["info", "tree", "resolve", "cdn"]
PIECE = 16 * 1024
LARGE = 1_000_000
"""Bytes from which a file lies on the other host."""

_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)")
_FILE = re.compile(r"(?P<cdn>/cdn)?/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Fault:
    """Something that goes wrong; `times` says how often (None: always), `path` for which file alone ("": all)."""

    times: int | None = field(default=None, kw_only=True)
    path: str = field(default="", kw_only=True)


@dataclass
class Status(Fault):
    """Answers with this status."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Page(Fault):
    """Answers with the sign-in page of a network, and status 200."""


@dataclass
class Silence(Fault):
    """Takes the request and never answers."""


@dataclass
class Drip(Fault):
    """One byte of the body (with `headers`, of the headers too) every so many seconds."""

    seconds: float = 8.0
    headers: bool = False


@dataclass
class Pace(Fault):
    """No more than so many bytes a second."""

    rate: float


@dataclass
class Cut(Fault):
    """Ends the connection after so many bytes of a body, with a FIN or a RST."""

    after: int
    reset: bool = False


@dataclass
class NoRange(Fault):
    """Knows no Range: sends the whole file whatever is asked for."""


@dataclass
class Flip(Fault):
    """Turns the bit over at this place of the file."""

    bit: int


@dataclass
class Longer(Fault):
    """Goes on for so many bytes after the end of the file, without having told a length."""

    extra: int


@dataclass
class Announces(Fault):
    """Tells a wrong length, and sends as much."""

    length: int


@dataclass
class Packed(Fault):
    """Sends a body packed with gzip that opens to so many zero bytes."""

    size: int


@dataclass
class Sends(Fault):
    """Sends on to another address."""

    location: str


@dataclass
class Tagged(Fault):
    """Gives this ETag."""

    tag: str


@dataclass
class Lies(Fault):
    """Answers with this JSON instead of its own."""

    content: Any


@dataclass(frozen=True)
class Asked:
    """One request as it came, and what it got."""

    route: str
    method: str
    path: str
    headers: Mapping[str, str]


class Hub(Loopback):
    """Serves until it is left; `faults` may be set for each route at any time."""

    def __init__(self, folder: Path, *, certificate: Path | None = None) -> None:
        self.folder = folder
        self.token = ""
        """What it wants to be shown, if anything."""
        self.faults: dict[Route, list[Fault]] = {}
        self.asked: list[Asked] = []
        self._sent: dict[str, int] = {}
        self._guard = threading.Lock()
        super().__init__(_Handler, certificate)

    def sent(self, *routes: Route, path: str = "") -> int:
        """Bytes of bodies handed to the system for these routes (none: all), for paths that end so."""
        with self._guard:
            return sum(
                count
                for name, count in self._sent.items()
                if (not routes or name.partition(" ")[0] in routes) and name.endswith(path)
            )

    def forget(self) -> None:
        """Begin to count again."""
        with self._guard:
            self._sent.clear()
            self.asked.clear()

    def commit(self, repo: str) -> str:
        """The commit of a repository: another one when a name, a size or a time of its files changes."""
        names = [f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in self.files(repo)]
        return hashlib.sha1("\n".join(names).encode()).hexdigest()

    def files(self, repo: str) -> list[tuple[str, Path]]:
        """Paths in the repository, and where they lie."""
        folder = self.folder / repo
        return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())

    def tree(self, repo: str) -> list[dict[str, Any]]:
        """The listing as the hub gives it."""
        return [self._entry(name, path) for name, path in self.files(repo)]

    def is_large(self, path: Path) -> bool:
        """Whether a file lies on the other host: all graphs do, too."""
        return path.stat().st_size >= LARGE or ".onnx" in path.name

    def _entry(self, name: str, path: Path) -> dict[str, Any]:
        size = path.stat().st_size
        entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": digest(path, git=True)}
        if self.is_large(path):
            entry["lfs"] = {"oid": digest(path, git=False), "size": size, "pointerSize": 134}
        return entry

    def fault(self, route: Route, kind: type[Fault], path: str) -> Any:
        """The fault of a kind that applies now; counts it."""
        with self._guard:
            for fault in self.faults.get(route, []):
                if isinstance(fault, kind) and fault.times != 0 and fault.path in path:
                    fault.times = fault.times - 1 if fault.times else fault.times
                    return fault
        return None

    def note(self, asked: Asked) -> None:
        """Write a request down."""
        with self._guard:
            self.asked.append(asked)

    def count(self, route: str, path: str, count: int) -> None:
        """Bytes have been sent."""
        with self._guard:
            name = f"{route} {path}"
            self._sent[name] = self._sent.get(name, 0) + count


def digest(path: Path, *, git: bool) -> str:
    """The digest that the hub lists: of the git blob, or sha256."""
    return _digest(path, path.stat().st_mtime_ns, path.stat().st_size, git)


@lru_cache(maxsize=4096)
def _digest(path: Path, _changed: int, size: int, git: bool) -> str:
    made = hashlib.sha1(b"blob %d\0" % size) if git else hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            made.update(piece)
    return made.hexdigest()


class _GoneError(Exception):
    """The connection was ended on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        # A small buffer, so that bytes counted as sent are bytes that arrive.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, *_: object) -> None:
        """Stays quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.hub: Hub = self.server.owner
        address = unquote(urlsplit(self.path).path)
        try:
            if found := _API.fullmatch(address):
                self._api(found["what"], found["repo"], found["revision"])
            elif found := _FILE.fullmatch(address):
                self._file(found)
            else:
                self._begin("other", address)
                self._answer(404)
        except _GoneError:
            self.close_connection = True

    # What every route shares

    def _begin(self, route: Any, path: str) -> None:
        self.route: Route = route
        self.name = path
        headers = {name.title(): value for name, value in self.headers.items()}
        self.hub.note(Asked(route, self.command, self.path, headers))
        if self._fault(Silence):
            self.hub.over.wait()
            raise _GoneError
        drip = self._fault(Drip)
        self.drip: Drip | None = drip
        self.pace: Pace | None = self._fault(Pace)
        if drip and drip.headers:
            self._send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", count=False)
            raise _GoneError
        if self._fault(Page):
            self._answer(200, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})
            raise _GoneError
        if status := self._fault(Status):
            self._answer(status.code, b"", status.headers)
            raise _GoneError
        if sends := self._fault(Sends):
            self._answer(302, b"", {"Location": sends.location})
            raise _GoneError
        if packed := self._fault(Packed):
            self._packed(packed.size)

    def _fault(self, kind: type[Fault]) -> Any:
        return self.hub.fault(self.route, kind, self.name)

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self._send(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes, *, count: bool = True) -> None:
        for start in range(0, len(body), self._piece()):
            piece = body[start : start + self._piece()]
            began = time.monotonic()
            self.wfile.write(piece)
            if count:
                self.hub.count(self.route, self.name, len(piece))
            self._slow_down(len(piece), time.monotonic() - began)

    def _piece(self) -> int:
        return 1 if self.drip else PIECE

    def _slow_down(self, count: int, took: float) -> None:
        if self.drip and self.hub.over.wait(self.drip.seconds):
            raise _GoneError
        if self.pace:
            time.sleep(max(0.0, count / self.pace.rate - took))

    def _packed(self, size: int) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        zeros = bytes(1 << 20)
        body = b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()
        self._answer(200, body, {"Content-Encoding": "gzip", "Content-Type": "application/json"})
        raise _GoneError

    # Listings

    def _api(self, what: str, repo: str, revision: str) -> None:
        self._begin("info" if what == "revision" else "tree", repo)
        if not self._allowed(repo, revision):
            return
        if lies := self._fault(Lies):
            content = lies.content
        elif what == "revision":
            names = [{"rfilename": name} for name, _ in self.hub.files(repo)]
            content = {"id": repo, "modelId": repo, "sha": self.hub.commit(repo), "siblings": names, "tags": []}
        else:
            content = self.hub.tree(repo)
            if "recursive" not in parse_qs(urlsplit(self.path).query):
                content = [entry for entry in content if "/" not in entry["path"]]
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _allowed(self, repo: str, revision: str) -> bool:
        shown = self.headers.get("Authorization", "")
        if not (self.hub.folder / repo).is_dir() or (self.hub.token and not shown):
            # The hub does not tell apart what is private and what is not there.
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            return False
        if self.hub.token and shown != f"Bearer {self.hub.token}":
            self._answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return False
        if revision not in ("main", self.hub.commit(repo)):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return False
        return True

    # Files

    def _file(self, found: re.Match[str]) -> None:
        self._begin("cdn" if found["cdn"] else "resolve", found["path"])
        # The other host wants no token: the address that the hub gives out is signed.
        if not found["cdn"] and not self._allowed(found["repo"], found["revision"]):
            return
        path = self.hub.folder / found["repo"] / found["path"]
        if not path.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif self.hub.is_large(path) and not found["cdn"]:
            self._send_on(found, path)
        else:
            self._give(found["repo"], path)

    def _send_on(self, found: re.Match[str], path: Path) -> None:
        place = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn{urlsplit(self.path).path}"
        known = {
            "Location": place,
            "X-Linked-Size": str(path.stat().st_size),
            "X-Linked-Etag": f'"{digest(path, git=False)}"',
            "X-Repo-Commit": self.hub.commit(found["repo"]),
        }
        self._answer(302, b"", known)

    def _give(self, repo: str, path: Path) -> None:
        size = path.stat().st_size
        tagged = self._fault(Tagged)
        tag = tagged.tag if tagged else f'"{digest(path, git=not self.hub.is_large(path))}"'
        headers = {"ETag": tag, "X-Repo-Commit": self.hub.commit(repo), "Accept-Ranges": "bytes"}
        start = 0 if self._fault(NoRange) else self._start(tag, size)
        if start >= size > 0:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        longer, announces = self._fault(Longer), self._fault(Announces)
        length = announces.length if announces else size - start
        if longer:
            headers["Connection"] = "close"
            self.close_connection = True
        else:
            headers["Content-Length"] = str(length)
        self._head(206 if start else 200, headers)
        if self.command == "HEAD":
            return
        self._body(path, start, length + (longer.extra if longer else 0))

    def _start(self, tag: str, size: int) -> int:
        """The first byte that is asked for; the whole file where its version is another."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not found or self.headers.get("If-Range", tag) != tag:
            return 0
        return min(int(found[1]), size)

    def _body(self, path: Path, start: int, length: int) -> None:
        cut: Cut | None = self._fault(Cut)
        flip: Flip | None = self._fault(Flip)
        left = min(length, cut.after) if cut else length
        for place, piece in _pieces(path, start, left):
            self._send(_flipped(piece, flip.bit - 8 * place) if flip else piece)
        if cut and cut.after < length:
            self._break_off(reset=cut.reset)

    def _break_off(self, *, reset: bool) -> None:
        if reset:
            # A reset takes with it what the receiver has not read yet; on a real line it comes after some silence.
            self.wfile.flush()
            time.sleep(0.02)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        raise _GoneError


def _pieces(path: Path, start: int, length: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of a file with their places; zeros after its end."""
    with path.open("rb") as content:
        content.seek(start)
        for place in range(start, start + length, PIECE):
            wanted = min(PIECE, start + length - place)
            yield place, content.read(wanted).ljust(wanted, b"\0")


def _flipped(piece: bytes, bit: int) -> bytes:
    if not 0 <= bit < 8 * len(piece):
        return piece
    changed = bytearray(piece)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


@contextmanager
def deaf() -> Iterator[int]:
    """A port that takes no connection: calls to it wait."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # The queue is filled, so that the system lets further calls wait.
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
