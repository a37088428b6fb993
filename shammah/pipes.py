"""Processes of this package that talk over their standard input and output, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO


class Lines:
    """Messages as lines: dataclasses of these `kinds`, whose `parts` are the fields that are no plain JSON.

    `name` is that of the protocol, for the error.
    """

    def __init__(self, name: str, kinds: Iterable[type[Any]], parts: Mapping[str, Callable[[Any], Any]]) -> None:
        self._name = name
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._parts = parts

    def encode(self, message: Any) -> bytes:
        """The message as one line; ASCII only, so that any text survives any pipe."""
        return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode("ascii") + b"\n"

    def decode(self, line: bytes) -> Any:
        """The message in a line.

        Raises:
            ValueError: the line is no message of this protocol.
        """
        try:
            fields = json.loads(line)
            kind = self._kinds[fields.pop("kind")]
            return kind(**{name: self._parts.get(name, _as_it_is)(value) for name, value in fields.items()})
        except (KeyError, TypeError, AttributeError) as cause:
            raise ValueError(f"not a message of the {self._name} protocol: {line[:80]!r}") from cause


def _as_it_is(value: Any) -> Any:
    return value


def command(module: str) -> tuple[str, ...]:
    """What starts a module of this package as a program; to be started with `spawn`."""
    return _python(), "-m", module


def _python() -> str:
    """The Python that runs here, itself: in a virtual environment on Windows, `sys.executable` starts another.

    The process number of such a starter tells neither the processor time nor the memory of the program.
    """
    real: str = getattr(sys, "_base_executable", "")
    return real if os.name == "nt" and real else sys.executable


def _environment_of_python() -> dict[str, str]:
    """What has that Python find the packages of this one, as multiprocessing does it."""
    return {} if _python() == sys.executable else {"__PYVENV_LAUNCHER__": sys.executable}


def spawn(program: Sequence[str], environment: Mapping[str, str], errors: int) -> subprocess.Popen[bytes]:
    """Start a program as a process with pipes to its input and output.

    Raises:
        OSError: the system starts no process.
    """
    return subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**environment, **_environment_of_python()},
        # A group of its own, so that the terminal's Ctrl-C and Ctrl-Z reach the chat only.
        start_new_session=os.name != "nt",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, and wait until it is gone, as long as that takes no more than a moment."""
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def listen(decode: Callable[[bytes], Any], receive: Callable[[Any], None]) -> None:
    """Hand each message on standard input to `receive`, in a thread of its own; this process ends with its input."""
    # The interpreter cannot end while a thread holds its own standard input.
    lines = os.fdopen(os.dup(0), "rb")
    # On Windows a library that looks at standard input as it loads waits for a read that is under way there, for ever.
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def run() -> None:
        with contextlib.suppress(ValueError):  # A torn line: the parent died while it wrote.
            for line in lines:
                receive(decode(line))
        os._exit(0)  # The parent is gone; the main thread may be deep in a library.

    threading.Thread(target=run, daemon=True, name="requests").start()


def sender(encode: Callable[[Any], bytes]) -> Callable[[Any], None]:
    """What writes messages to standard output, from any thread; this process ends where nobody reads them any more."""
    replies, turn = private_stdout(), threading.Lock()

    def send(message: Any) -> None:
        try:
            with turn:
                replies.write(encode(message))
                replies.flush()
        except OSError:
            os._exit(0)

    return send


def private_stdout() -> BinaryIO:
    """Keep standard output for replies; whatever a library prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies
