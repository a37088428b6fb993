"""What goes over the pipes between the chat process and the loader process: one JSON object a line.

Request   Fetch, the first line of standard input; the loader ends when standard input is closed
Replies   Listed, Downloading, Preparing, then exactly one of Prepared, Failed
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shammah.pipes import Lines


@dataclass(frozen=True)
class Fetch:
    """Bring a model to the state in which the worker can load it.

    `repo` is a repository OWNER/NAME on the hub, or the path of a folder on disk with a hub export; `file` the graph in
    it, "" for the best there is. `models` is the folder that everything goes into. `offline` forbids the network.
    """

    repo: str
    models: str
    file: str = ""
    revision: str = "main"
    endpoint: str = "https://huggingface.co"
    offline: bool = False
    keep_download: bool = False
    threads: int = 0


@dataclass(frozen=True)
class ListedFile:
    """One file of a repository: path in it, bytes, and the sha256 (large files) or git's sha1 (small ones)."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Listed:
    """What will be fetched, told before the first byte."""

    repo: str
    commit: str
    files: list[ListedFile]


@dataclass(frozen=True)
class Downloading:
    """`done` of `total` bytes are here, at `rate` bytes per second; `watching`: another chat's loader fetches them."""

    done: int
    total: int
    rate: float = 0.0
    watching: bool = False


@dataclass(frozen=True)
class Preparing:
    """The download is rewritten for this machine: which step, and how much of the whole is done (0 to 1)."""

    step: str
    share: float = 0.0


@dataclass(frozen=True)
class Prepared:
    """The worker can load `folder`; `notes` are sentences that the person should read."""

    folder: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failed:
    """It cannot be done: what is wrong, what to do next, and whether trying again later may help."""

    message: str
    hint: str
    retryable: bool = False


Reply = Listed | Downloading | Preparing | Prepared | Failed

_LINES = Lines(
    "loader",
    (Fetch, Listed, Downloading, Preparing, Prepared, Failed),
    {"files": lambda files: [ListedFile(**file) for file in files]},
)


def encode(message: Fetch | Reply) -> bytes:
    """The message as one line."""
    return _LINES.encode(message)


def decode(line: bytes) -> Any:
    """The message in a line.

    Raises:
        ValueError: the line is no message of this protocol.
    """
    return _LINES.decode(line)
