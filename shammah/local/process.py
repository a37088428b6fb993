"""The worker as an operating-system process: started, written to, listened to, ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shammah.local.protocol import Reply, Request, decode, encode
from shammah.machine import processor_seconds
from shammah.pipes import command, end, spawn

LOG_LIMIT = 1_000_000
"""Bytes: a larger log is begun anew."""
_ENDING = 1.0
"""Seconds that a process whose output has ended gets to end itself."""


@dataclass(frozen=True)
class Ended:
    """The process is gone; `status` as subprocess tells it (negative: the signal)."""

    status: int


class WorkerProcess:
    """One worker."""

    def __init__(self, environment: Mapping[str, str], log: Path | None) -> None:
        with log_file(log) as errors:
            self._process = spawn(command("shammah.worker"), environment, errors)
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True, name="worker requests").start()

    def listen(self, receive: Callable[[Reply | Ended], None]) -> None:
        """From now on call `receive`, in a thread of its own, for each reply and, last, for `Ended`."""
        threading.Thread(target=self._listen, args=(receive,), daemon=True, name="worker replies").start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def send(self, request: Request) -> None:
        """Hand a request over; returns at once, also where the worker hangs. That it is gone is told by `Ended`."""
        self._requests.put(request)

    def kill(self) -> None:
        """End the process at once; it holds nothing that must be saved."""
        end(self._process)
        self._requests.put(None)

    def _write(self) -> None:
        """Runs in a thread of its own: the pipe to a worker that hangs takes some 64 kB, and no more."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:
            while request := self._requests.get():
                pipe.write(encode(request))
                pipe.flush()

    def _listen(self, receive: Callable[[Reply | Ended], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as replies:
            for line in replies:
                try:
                    receive(decode(line))
                except ValueError:
                    break  # A torn line: the worker died while it wrote.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_ENDING)  # Its own status tells the cause; a signal from here would hide it.
        self._process.kill()
        self._requests.put(None)
        receive(Ended(self._process.wait()))


@contextlib.contextmanager
def log_file(path: Path | None) -> Iterator[int]:
    """A descriptor for what a process writes to standard error: the log at `path`, or nowhere."""
    if path is None:
        yield subprocess.DEVNULL
        return
    try:
        for folder in (path.parent.parent, path.parent):  # The home may be made here; mkdir's parents get no mode.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = os.O_TRUNC if path.exists() and path.stat().st_size > LOG_LIMIT else os.O_APPEND
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | fresh, 0o600)
        os.lseek(descriptor, 0, os.SEEK_END)  # On Windows a process does not inherit that it appends.
    except OSError:  # A home that cannot be written to must not keep the model from answering.
        yield subprocess.DEVNULL
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Pulse:
    """Tells a worker that computes in silence from one that hangs.

    A silent worker is looked at after half of `patience` seconds, and taken to hang when its processor time is the same
    half of them after that look. What passed before it proves nothing: the chat itself may have been suspended.
    """

    def __init__(self, pid: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._half = patience / 2
        self._clock = clock
        self.heard()

    def heard(self) -> None:
        """The worker said something."""
        self._since = self._clock()
        self._used: float | None = None

    def stopped(self) -> bool:
        """Whether the worker hangs."""
        now = self._clock()
        if now - self._since < self._half:
            return False
        used = processor_seconds(self._pid)
        if self._used is None:
            self._since, self._used = now, used
            return False
        if used > self._used:
            self.heard()  # Still at work.
            return False
        return True
