"""The thread that waits for Claude: it alone imports the SDK, and what runs in it can be left at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Any, TypeVar

from shammah.cloud.exchange import Broke, Fault, Over, Patience, Request, Told
from shammah.engine import TICK
from shammah.errors import CloudError

if TYPE_CHECKING:
    from shammah.cloud.client import Client
    from shammah.cloud.key import Found

Result = TypeVar("Result")

WINDING_UP_S = 0.5
"""Seconds that closing waits for connections to be closed; the thread ends by itself when it takes longer."""


class Call:
    """A request that runs; leaving it stops it without waiting for that."""

    def __init__(self, future: Future[None], told: queue.SimpleQueue[Told]) -> None:
        self._future = future
        self._told = told
        self._over = False

    def next(self) -> Told | None:
        """What was told next, None when a tick has passed without anything."""
        over = self._future.done()
        try:
            told = self._told.get(timeout=TICK)
        except queue.Empty:
            return Broke(Fault(_closed())) if over else None
        self._over = isinstance(told, Over)
        return told

    def close(self) -> list[Told]:
        """Stop it; returns what was told and not heard yet."""
        if not self._over:  # Else it only sees to it that its connection can be used again.
            self._future.cancel()
        rest = []
        with contextlib.suppress(queue.Empty):
            while True:
                rest.append(self._told.get_nowait())
        return rest


class Link:
    """One address and one key, connected from the first request until it is closed."""

    def __init__(self, found: Found, base_url: str, patience: Patience) -> None:
        self._found = found
        self._base_url = base_url
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._closed = False

    def ask(self, request: Request) -> Call:
        """Begin to ask; returns at once."""
        told: queue.SimpleQueue[Told] = queue.SimpleQueue()

        async def run() -> None:
            try:
                client = await self._connected()
            except Exception as cause:
                told.put(Broke(Fault(_unusable(cause))))
            else:
                await client.ask(request, told.put)

        return Call(self._begin(run), told)

    def models(self) -> list[str]:
        """The models that the key may use. Waits for the answer, in steps that Ctrl-C can end.

        Raises:
            CloudError: they cannot be had.
        """

        async def run() -> list[str]:
            try:
                client = await self._connected()
            except Exception as cause:
                raise _unusable(cause) from None
            return await client.models()

        future = self._begin(run)
        try:
            while True:
                try:
                    return future.result(timeout=TICK)
                except NotYet:
                    continue
        except CancelledError:
            raise _closed() from None
        finally:
            future.cancel()

    def advice(self, model: str) -> str:
        """What there is to say of a model, "" where nothing is, and until the SDK is imported."""
        return self._client.advice(model) if self._client else ""

    def import_ahead(self) -> None:
        """Import the SDK in the background, so that the first question need not wait for it."""

        async def run() -> None:
            with contextlib.suppress(Exception):  # The first question meets it again, and tells it.
                await self._connected()

        self._begin(run)

    def close(self) -> None:
        """Stop what runs and close the connections."""
        self._closed = True
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            if self._client:  # Else the SDK is still being imported, and nothing is open.
                self._thread.join(WINDING_UP_S)

    def _begin(self, run: Callable[[], Coroutine[Any, Any, Result]]) -> Future[Result]:
        if self._closed:
            raise _closed()
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(_Resolver())
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="claude", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._wind_up())
        finally:
            loop.close()

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._client:
            await self._client.close()
        await asyncio.get_running_loop().shutdown_asyncgens()

    async def _connected(self) -> Client:
        """The client, made on first use; blocks this thread, and no other, while the SDK is imported."""
        if self._client is None:
            from shammah.cloud.client import Client

            self._client = Client(self._found, self._base_url, self._patience)
            # Whoever went away during the import is heard here, before anything is sent.
            await asyncio.sleep(0)
        return self._client


def _unusable(cause: Exception) -> CloudError:
    """The SDK cannot be loaded or set up: a package is missing, an address or a proxy has a wrong form."""
    told = re.sub(r"://[^/\s@]*@", "://", str(cause))
    hint = "Check ANTHROPIC_BASE_URL and HTTPS_PROXY; shammah doctor shows what is installed"
    return CloudError(f"Claude cannot be asked from here: {told}", hint=hint)


def _closed() -> CloudError:
    return CloudError("Claude was switched off meanwhile", hint="Ask again")


class _Resolver(ThreadPoolExecutor):
    """Looks up addresses in threads that nobody waits for: a name server that is silent must not hold up the end."""

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*given, **named))
            except BaseException as cause:
                future.set_exception(cause)

        threading.Thread(target=run, daemon=True).start()
        return future
