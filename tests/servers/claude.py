"""A Claude on loopback that speaks as the real one does, and goes wrong on demand. It keeps every byte it receives.

with Claude() as claude:
    claude.faults = [Status(529), Cut(400, "rst")]  # The first requests, one after the other.
    ...  # a client of claude.url
    assert b"secret" not in claude.heard
"""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal, get_args

from tests.servers.loopback import Loopback, Server

KEY = "sk-ant-loopback-0123456789"
MODEL = "claude-sonnet-5-5"
TOO_LONG = 20_000
"""Characters of a conversation that are too many for it."""
PIECES = ("Well", ",", *[" and"] * 30, " so.")

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

How = Literal[
    "end",
    "fin",
    "rst",
    "stall",
    "drip",
    "bad chunk",
    "html",
    "overloaded",
    "api error",
    "json",
    "index",
    "restart",
    "early stop",
    "no reason",
]
HOWS: tuple[How, ...] = get_args(How)


@dataclass(frozen=True)
class Status:
    """Answers with this status and error; `page` in place of the error is what stands between us and Claude."""

    code: int
    message: str = "It did not work"
    headers: Mapping[str, str] = field(default_factory=dict)
    error_code: str = ""
    kind: str = ""
    page: str = ""


@dataclass(frozen=True)
class Page:
    """Answers with the sign-in page of a network, and status 200."""


@dataclass(frozen=True)
class Silence:
    """Takes the request and never answers; with `headers`, begins to answer a byte at a time."""

    headers: bool = False


@dataclass(frozen=True)
class Hangup:
    """Closes the connection in place of an answer."""

    reset: bool = False


@dataclass(frozen=True)
class Cut:
    """Harms the stream after so many bytes of its events.

    Of `how`, the first seven harm at that very byte; the others send a wrong event, at the end of the event before.
    """

    after: int
    how: How


@dataclass(frozen=True)
class Answer:
    """A right answer: its pieces, how it ends, what it is counted at, events before the end, bytes sent at a time."""

    pieces: Sequence[str] = PIECES
    stop_reason: str = "end_turn"
    delay_s: float = 0.0
    usage: Mapping[str, Any] | None = None
    extra: Sequence[bytes] = ()
    at_a_time: int = 0


Play = Status | Page | Silence | Hangup | Cut | Answer


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Claude(Loopback):
    """Serves until it is left; `faults` are played for one request each, then every request gets `answer`."""

    def __init__(self, answer: Play | None = None, *, key: str = KEY, certificate: Path | None = None) -> None:
        """With an empty `key`, any is right."""
        self.answer: Play = answer or Answer()
        self.key = key
        self.faults: list[Play] = []
        self.asked: list[Asked] = []
        self.models: list[dict[str, Any]] = [_model("claude-sonnet-5-5"), _model("claude-haiku-4-5")]
        self.connections = 0
        self.struck = threading.Event()
        self._raw: list[bytes] = []
        self._guard = threading.Lock()
        super().__init__(_Handler, certificate)

    @property
    def heard(self) -> bytes:
        """Every byte that came."""
        with self._guard:
            return b"".join(self._raw)

    @property
    def questions(self) -> list[Asked]:
        """The requests for an answer."""
        return [asked for asked in self.asked if asked.path == "/v1/messages"]

    def forget(self) -> None:
        """Begin to count again."""
        with self._guard:
            self._raw.clear()
            self.asked.clear()

    def strike(self) -> None:
        """Break the running answer off."""
        self.struck.set()

    def hear(self, data: bytes) -> None:
        """Bytes came."""
        with self._guard:
            self._raw.append(data)

    def play(self, asked: Asked) -> Play:
        """What this question gets."""
        with self._guard:
            self.asked.append(asked)
            if asked.path != "/v1/messages" or asked.method != "POST":
                return self.answer
            return self.faults.pop(0) if self.faults else self.answer


def _model(name: str) -> dict[str, Any]:
    made = {"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
    return {**made, "lifecycle": "active", "max_input_tokens": 1_000_000, "max_tokens": 128_000}


def event(data: Mapping[str, Any]) -> bytes:
    """An event as the stream has it."""
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {data['type']}\ndata: {text}\n\n".encode()


def events_of(answer: Answer, request: Mapping[str, Any]) -> list[bytes]:
    """The events of a right answer to this request, in order."""
    limit = int(request.get("max_tokens", len(answer.pieces)))
    pieces = list(answer.pieces)[:limit]
    reason = answer.stop_reason if len(pieces) == len(answer.pieces) else "max_tokens"
    usage = {"input_tokens": len(json.dumps(request)) // 4, "output_tokens": 1, **(answer.usage or {})}
    total = (answer.usage or {}).get("output_tokens", len(pieces))
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request.get("model", MODEL)}
    start = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    return [
        event({"type": "message_start", "message": start}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        event({"type": "ping"}),
        *(_delta(piece) for piece in pieces),
        *answer.extra,
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": total}}),
        event({"type": "message_stop"}),
    ]


def _delta(text: str, index: int = 0) -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}})


def harmed(events: Sequence[bytes], cut: Cut) -> bytes:
    """The stream up to the harm, with the wrong event where one is sent, and all that still comes after it."""
    whole = b"".join(events)
    if cut.how in ("end", "fin", "rst", "stall", "drip", "bad chunk"):
        return whole[: cut.after]
    if cut.how == "html":
        return whole[: cut.after] + b"<html><body>Gateway</body></html>"
    before = whole[: whole.rfind(b"\n\n", 0, cut.after) + 2] if b"\n\n" in whole[: cut.after] else b""
    return before + _wrong(cut.how, events) + whole[len(before) :]


def _wrong(how: How, events: Sequence[bytes]) -> bytes:
    match how:
        case "overloaded":
            return event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        case "api error":
            return event({"type": "error", "error": {"type": "api_error", "message": "Internal server error"}})
        case "json":
            return b'event: content_block_delta\ndata: {"type": "content_block_delta", "ind\n\n'
        case "index":
            return _delta(" lost", 7)
        case "restart":
            return events[0]
        case "early stop":
            return events[-1]
        case _:
            nothing = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 1}}
            return event(nothing) + events[-1]


class _Heard(io.RawIOBase):
    """Reads a connection and keeps what comes."""

    def __init__(self, connection: socket.socket, claude: Claude) -> None:
        self._connection = connection
        self._claude = claude

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._connection.recv_into(buffer)
        self._claude.hear(bytes(buffer[:count]))
        return count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.claude: Claude = self.server.owner
        self.claude.connections += 1
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rfile = io.BufferedReader(_Heard(self.connection, self.claude))

    def log_message(self, *_: object) -> None:
        """Stays quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.loads(content) if content else {}
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, headers, body)
        play = self.claude.play(asked)
        if self.claude.key and headers.get("authorization") != f"Bearer {self.claude.key}":
            play = Status(401, "invalid x-api-key")
        elif isinstance(play, Answer | Cut) and len(json.dumps(body)) > TOO_LONG:
            play = Status(400, "prompt is too long: 210000 tokens > 200000 maximum")
        self._play(play, asked)

    def _play(self, play: Play, asked: Asked) -> None:
        match play:
            case Status():
                self._status(play)
            case Page():
                self._whole(200, b"<html><body>Sign in to this network</body></html>", "text/html")
            case Silence():
                self._silence(play)
            case Hangup():
                self._hang_up(play.reset)
            case _ if asked.path == "/v1/models":
                self._json(200, {"data": self.claude.models, "has_more": False, "first_id": "", "last_id": ""})
            case _ if asked.path == "/v1/messages/count_tokens":
                self._json(200, {"input_tokens": len(json.dumps(asked.body)) // 4})
            case _ if asked.path != "/v1/messages":
                self._status(Status(404, "Not found"))
            case Answer():
                self._stream(play, asked.body)
            case Cut():
                self._harmed(play, asked.body)

    def _status(self, play: Status) -> None:
        if play.page:
            self._whole(play.code, play.page.encode(), "text/html", play.headers)
            return
        error: dict[str, Any] = {"type": play.kind or KINDS.get(play.code, "api_error"), "message": play.message}
        if play.error_code:
            error["details"] = {"error_code": play.error_code}
        self._json(play.code, {"type": "error", "error": error, "request_id": "req_1"}, play.headers)

    def _silence(self, play: Silence) -> None:
        for letter in "HTTP/1.1 200 OK\r\nX-Padding: " + "x" * 10_000 if play.headers else "":
            self.wfile.write(letter.encode())
            if self.claude.over.wait(0.1):
                break
        self.claude.over.wait()
        self.close_connection = True

    def _hang_up(self, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _json(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        self._whole(status, json.dumps(content).encode(), "application/json", headers)

    def _whole(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _stream(self, answer: Answer, request: Mapping[str, Any]) -> None:
        self.claude.struck.clear()
        self._begin()
        for part in _parts(events_of(answer, request), answer.at_a_time):
            if self._wait(answer.delay_s):
                self._hang_up(True)
                return
            self._chunk(part)
        self.wfile.write(b"0\r\n\r\n")

    def _wait(self, seconds: float) -> bool:
        """Wait, and tell whether the answer was struck meanwhile."""
        until = time.monotonic() + seconds
        while not self.claude.struck.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))
        return self.claude.struck.is_set()

    def _harmed(self, cut: Cut, request: Mapping[str, Any]) -> None:
        self._begin()
        self._chunk(harmed(events_of(Answer(), request), cut))
        match cut.how:
            case "fin":
                self._hang_up(False)
            case "rst":
                time.sleep(0.005)  # What was sent should arrive first: a reset throws away what is still on its way.
                self._hang_up(True)
            case "stall":
                self.claude.over.wait()
                self.close_connection = True
            case "drip":
                while not self.claude.over.wait(0.02):
                    self._chunk(b":")
                self.close_connection = True
            case "bad chunk":
                self.wfile.write(b"zz\r\nnothing\r\n")
                self._hang_up(False)
            case _:
                self.wfile.write(b"0\r\n\r\n")


def _parts(events: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Event by event, or so many bytes at a time, through the middle of characters."""
    if not size:
        yield from events
        return
    whole = b"".join(events)
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
