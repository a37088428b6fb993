"""The one place that talks through the SDK: a client that sends what was asked for and nothing else.

Imports the SDK, which takes seconds: itself to be imported in the thread that waits for the network.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import anthropic
import httpx2

from shammah import __version__
from shammah.cloud import faults, known_models
from shammah.cloud.exchange import Broke, Over, Patience, Request, Sent, Told, TornError
from shammah.cloud.stream import Reading
from shammah.network import host_of

if TYPE_CHECKING:
    from anthropic.types import MessageParam

    from shammah.cloud.key import Found, Key

API_VERSION = "2026-10-21"
"""The form of the events that `stream` reads."""
SILENT_LOGGERS = ("anthropic", "httpx2", "httpcore2")
"""At the level debug, which ANTHROPIC_LOG sets, they print the question and the key."""
KEPT_S = 60.0
"""Seconds that a connection is kept for the next question; a new one costs two or three ways there and back."""
DRAIN_S = 1.0
"""Seconds that a stream may take to close after its last event; then its connection is not used again."""


class _Watch:
    """Follows one request on the line: counts what leaves, and limits the wait for the answer's beginning."""

    def __init__(self, tell: Callable[[Told], None], limit: asyncio.Timeout, silence_s: float) -> None:
        self._tell = tell
        self._limit = limit
        self._silence_s = silence_s
        self._head = 0
        self._body = 0

    async def see(self, step: str, info: Mapping[str, Any]) -> None:
        """Take note of a step, by the names of httpx2's extension "trace"."""
        match step:
            case "http11.send_request_headers.started":
                self._head, self._body = _head_size(info["request"]), _body_size(info["request"])
            case "http11.send_request_headers.complete":
                self._tell(Sent(self._head))
            case "http11.send_request_body.complete" | "http11.send_request_body.failed" if self._body:
                # Of a body that broke off, all of it may have left.
                self._tell(Sent(self._body))
            case "http11.receive_response_headers.started":
                self._limit.reschedule(asyncio.get_running_loop().time() + self._silence_s)


_watch: ContextVar[_Watch] = ContextVar("watch")


class Client:
    """A connection to Claude at one address, with one key."""

    def __init__(self, found: Found, base_url: str, patience: Patience) -> None:
        _silence_loggers()
        self._key = found.key
        self._patience = patience
        self._peer = faults.Peer(
            host_of(base_url), patience.silence_s, found.where, lambda text: _hide(text, found.key)
        )
        timeout = httpx2.Timeout(patience.silence_s, connect=patience.connect_s)
        self._anthropic = anthropic.AsyncAnthropic(
            api_key="filled in when it is sent",
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            open_telemetry={"traces": False, "propagation": False},
            http_client=anthropic.DefaultAsyncHttpxClient(
                timeout=timeout,
                limits=httpx2.Limits(max_connections=4, keepalive_expiry=KEPT_S),
                # Elsewhere is not where the person wanted the conversation to go.
                follow_redirects=False,
                event_hooks={"request": [self._only_what_is_needed]},
            ),
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._anthropic.close()

    async def ask(self, request: Request, tell: Callable[[Told], None]) -> None:
        """Ask, and tell what comes; the last is `Over` or `Broke`, also when this is cancelled."""
        try:
            async with self._stream(request, tell) as events:
                await self._read(events, tell)
        except asyncio.CancelledError:
            tell(Broke(faults.stopped()))
            raise
        except Exception as cause:
            # The SDK's exceptions hold the request with its key: none of them leaves this thread.
            tell(Broke(faults.of(cause, self._peer, request.model)))

    async def models(self) -> list[str]:
        """The names of the models that the key may use; free of charge.

        Raises:
            CloudError: they cannot be had.
        """
        try:
            # As it came: the SDK takes a web page for a list of models and stumbles over it.
            response = await self._anthropic.get("/v1/models?limit=1000", cast_to=httpx2.Response)
            faults.refuse_page(response.headers)
            return [model["id"] for model in response.json()["data"] if model.get("lifecycle") != "retired"]
        except Exception as cause:
            fault = faults.of(cause, self._peer, "")
        raise fault.error  # Out here it does not carry the SDK's exception, which holds the key.

    def advice(self, model: str) -> str:
        """What there is to say of a model."""
        return known_models.advice(model)

    @asynccontextmanager
    async def _stream(self, request: Request, tell: Callable[[Told], None]) -> AsyncIterator[AsyncIterator[str]]:
        body = request.body()
        # We say so ourselves; as an exception or on the terminal it would be in the way.
        warnings.filterwarnings("ignore", "The model '", DeprecationWarning)
        async with asyncio.timeout(None) as limit:
            _watch.set(_Watch(tell, limit, self._patience.silence_s))
            stream = await self._anthropic.messages.create(
                model=request.model,
                max_tokens=request.max_tokens,
                system=request.system or anthropic.omit,
                messages=cast("list[MessageParam]", body["messages"]),
                cache_control={"type": "ephemeral"},
                stream=True,
            )
        async with stream:
            faults.refuse_page(stream.response.headers)
            yield self._events(stream.response)

    async def _events(self, response: httpx2.Response) -> AsyncIterator[str]:
        """The JSON of each event; also of those the SDK keeps to itself, since a ping is a sign of life."""
        events = anthropic.AsyncStream.raw_events(response)
        while True:
            async with asyncio.timeout(self._patience.silence_s):
                event = await anext(events, None)
            if event is None:
                return
            if event.data:
                yield event.data

    async def _read(self, events: AsyncIterator[str], tell: Callable[[Told], None]) -> None:
        reading = Reading()
        async for data in events:
            for told in reading.take(data):
                tell(told)
                if isinstance(told, Over):
                    await _drain(events)
                    return
        raise TornError("it ends without its end")

    async def _only_what_is_needed(self, request: httpx2.Request) -> None:
        """The last word on a request's headers.

        Those of the SDK tell of this machine, and ANTHROPIC_CUSTOM_HEADERS may have added to them or changed them.
        """
        content = {"Content-Type": "application/json", "Content-Length": str(len(request.content))}
        request.headers = httpx2.Headers(
            {
                "Host": request.url.netloc.decode("ascii"),
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "Connection": "keep-alive",
                "User-Agent": f"shammah/{__version__}",
                "anthropic-version": API_VERSION,
                "Authorization": f"Bearer {self._key.reveal()}",
                **(content if request.content else {}),
            }
        )
        if watch := _watch.get(None):
            request.extensions = {**request.extensions, "trace": watch.see}


async def _drain(events: AsyncIterator[str]) -> None:
    """Read to the end, so that the connection can serve the next question."""
    try:
        async with asyncio.timeout(DRAIN_S):
            async for _ in events:
                pass
    except Exception:
        # The answer is complete: what the line does after it is of no interest.
        return


def _silence_loggers() -> None:
    for name in SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _hide(text: str, key: Key) -> str:
    return text.replace(key.reveal(), "(the key)")


def _head_size(request: Any) -> int:
    """Bytes of the request line and the headers as HTTP/1.1 writes them."""
    line = len(request.method) + len(request.url.target) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers) + len("\r\n")


def _body_size(request: Any) -> int:
    return sum(int(value) for name, value in request.headers if name.lower() == b"content-length")
