"""The loader seen from the chat: a process that is started with one request, listened to, and ended at any moment."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from shammah.engine import TICK
from shammah.errors import HubError
from shammah.local.process import log_file
from shammah.models.protocol import Failed, Fetch, Prepared, Reply, decode, encode
from shammah.pipes import command, end, spawn


class LoaderProcess:
    """One loader at work on one request."""

    def __init__(self, request: Fetch, environment: Mapping[str, str], log: Path | None) -> None:
        """Start it; raises HubError where the system starts no process."""
        try:
            with log_file(log) as errors:
                self._process = spawn(command("shammah.loader"), environment, errors)
        except OSError as cause:
            raise HubError(f"The loader cannot be started: {cause}", hint="Run shammah doctor") from cause
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It died at once; `replies` tells so.
            self._process.stdin.write(encode(request))
            self._process.stdin.flush()  # Left open: its end tells the loader that the chat is gone.

    def replies(self) -> Generator[Reply]:
        """What the loader tells, waiting for each; the last is Prepared or Failed, whatever happens to the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin:
            for line in self._lines():
                try:
                    reply: Reply = decode(line)
                except ValueError:
                    break  # A torn line: the loader died while it wrote.
                yield reply
                if isinstance(reply, Prepared | Failed):
                    self._process.wait()
                    return
        self._process.kill()
        status = self._process.wait()
        yield Failed(f"The loader ended with status {status}", "Try again; what was fetched is kept", retryable=True)

    def _lines(self) -> Iterator[bytes]:
        """What it writes. Waited for in turns: on Windows, Ctrl-C does not end the read of a pipe."""
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="loader replies").start()
        while True:
            try:
                line = lines.get(timeout=TICK)
            except queue.Empty:
                continue
            if not line:
                return
            yield line

    def _read(self, lines: queue.SimpleQueue[bytes]) -> None:
        """Runs in a thread of its own; the end of what the loader writes is an empty line."""
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                lines.put(line)
        lines.put(b"")

    def kill(self) -> None:
        """End it at once; the next one goes on with what it fetched."""
        end(self._process)
