"""Files that go with a question: read as text, and put behind it with their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shammah.decoding import text_of
from shammah.errors import UsageError
from shammah.secret_signs import secret_by_name, secret_in

LIMIT = 2_000_000
"""Bytes: no model here can read more, and a mistyped path should not fill the memory."""
NO_PATH = (OSError, ValueError, RuntimeError)
"""What a path that a person typed may raise: too long a name, say, a zero byte in it, the ~name of nobody here."""
_AT_PATH = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(\S+))')

_LIKE_A_PATH = re.compile(r"[/\\]|\.\w{1,5}$")


@dataclass(frozen=True)
class Attachment:
    """A file's name as the user gave it, and its text; `secret` says why it must not leave, "" if it may."""

    name: str
    text: str
    secret: str = ""

    @property
    def shown(self) -> str:
        """Its name and length, and why the question stays here with it."""
        stays = f", which keeps the question on this machine: {self.secret}" if self.secret else ""
        return f"{self.name} ({len(self.text):,} characters{stays})"


def named_files(question: str) -> list[Attachment]:
    """Read the files that a question names as @path; an @word that is no existing file is just a word."""
    return [read_file(name) for name in _names(question) if _exists(name)]


def named_in_vain(question: str) -> list[str]:
    """What a question names as @path and looks like one, by a folder or an ending, though no such file is there."""
    return [name for name in _names(question) if _LIKE_A_PATH.search(name) and not _exists(name)]


def read_file(name: str) -> Attachment:
    """Read a text file.

    Raises:
        UsageError: it is missing, no file, too large, or no text.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            raise UsageError(f"{name} is a folder", hint="Name a file in it")
        size = path.stat().st_size
        if size > LIMIT:
            raise _too_large(name, f"{size:,}")
        with path.open("rb") as file:
            text = text_of(read_within_limit(file, name))
    except UnicodeDecodeError as cause:
        raise UsageError(f"{name} is no text", hint="Convert it to text in UTF-8 first") from cause
    except NO_PATH as cause:
        raise UsageError(f"{name} cannot be read: {reason(cause)}", hint="Check the path") from cause
    return Attachment(name, text, secret_by_name(name) or secret_in(text, path.name))


def read_within_limit(file: BinaryIO, name: str) -> bytes:
    """All that a file holds; a device or a pipe tells no size, and may have no end.

    Raises:
        UsageError: it is too large.
    """
    data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise _too_large(name, f"more than {LIMIT:,}")
    return data


def reason(cause: Exception) -> str:
    """What is wrong, in the words of the system where it has some."""
    return getattr(cause, "strerror", None) or str(cause)


def is_pipe(name: str) -> bool:
    """Whether reading it waits for another program, for ever where none writes to it."""
    try:
        return Path(name).expanduser().is_fifo()
    except NO_PATH:
        return False


def with_files(question: str, files: Sequence[Attachment]) -> str:
    """The question, and below it each file between fences that its text does not contain."""
    parts = [question] if question.strip() else []
    for file in files:
        longest = max((len(run) for run in re.findall("`{3,}", file.text)), default=2)
        fence = "`" * (longest + 1)
        parts.append(f"File {file.name}:\n{fence}\n{file.text.rstrip()}\n{fence}")
    return "\n\n".join(parts)


def secret_of(question: str, files: Sequence[Attachment] = ()) -> str:
    """Why a question with these files is secret: a file by its name or text, or what was pasted or piped in."""
    return next((file.secret for file in files if file.secret), "") or secret_in(question, "the question")


def _names(question: str) -> list[str]:
    """Every @word of a question, once."""
    names = [quoted or plain.rstrip(".,;:!?)") for quoted, plain in _AT_PATH.findall(question)]
    return list(dict.fromkeys(name for name in names if name))


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except NO_PATH:
        return False


def _too_large(name: str, size: str) -> UsageError:
    return UsageError(f"{name} has {size} bytes; at most {LIMIT:,} go with a question", hint="Send a part of it")
