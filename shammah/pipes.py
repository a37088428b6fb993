"""Processes of this package that talk over their standard input and output, one JSON object a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
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
    """What starts a module of this package as a program."""
    return sys.executable, "-m", module


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
        env=dict(environment),
        # A group of its own, so that the terminal's Ctrl-C and Ctrl-Z reach the chat only.
        start_new_session=os.name != "nt",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def private_stdin() -> BinaryIO:
    """Standard input for a thread that reads it to its end; the interpreter cannot end while one holds its own."""
    return os.fdopen(os.dup(0), "rb")


def private_stdout() -> BinaryIO:
    """Keep standard output for replies; whatever a library prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies
