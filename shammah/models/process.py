"""The loader seen from the chat: a process that is started with one request, listened to, and ended at any moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from shammah.local.process import log_file
from shammah.models.protocol import Failed, Fetch, Prepared, Reply, decode, encode
from shammah.pipes import command, end, spawn


class LoaderProcess:
    """One loader at work on one request."""

    def __init__(self, request: Fetch, environment: Mapping[str, str], log: Path | None) -> None:
        """Start it; raises OSError where the system starts no process."""
        with log_file(log) as errors:
            self._process = spawn(command("shammah.loader"), environment, errors)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It died at once; `replies` tells so.
            self._process.stdin.write(encode(request))
            self._process.stdin.flush()  # Left open: its end tells the loader that the chat is gone.

    def replies(self) -> Iterator[Reply]:
        """What the loader tells, waiting for each; the last is Prepared or Failed, whatever happens to the process."""
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin, self._process.stdout as lines:
            for line in lines:
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

    def kill(self) -> None:
        """End it at once; the next one goes on with what it fetched."""
        end(self._process)
