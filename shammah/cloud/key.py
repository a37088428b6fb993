"""The key for Claude: found, kept for its owner only, and never shown.

An exception carries the frames it went through, and a traceback can show their variables; so no error is raised here
through a frame that holds the plain text.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal, NoReturn, TypeVar

from shammah.config.lines import key_lines
from shammah.config.save import replace, sole_writer
from shammah.config.source import Source, decode, read_bytes
from shammah.config.text import toml_text
from shammah.errors import ConfigError
from shammah.message import Notice
from shammah.paths import Home

Where = Literal["environment", "credentials.toml", "keyring"]

ENTRY = "anthropic_api_key"
"""The name of the key in credentials.toml, and the user's name in the keyring."""
SERVICE = "shammah"
"""The service under which the keyring holds it: `keyring set shammah anthropic_api_key`."""
KEYRING_PATIENCE_S = 10.0
"""Seconds for the system to ask the person to unlock the keyring."""

ANOTHER_KEY: dict[Where, str] = {
    "environment": "put another key into ANTHROPIC_API_KEY or unset it, and start again",
    "credentials.toml": "run shammah setup to give another key than the one in credentials.toml",
    "keyring": "run shammah setup to give another key than the one in the keyring",
}
"""How a person gives another key, by where the one that was used lies."""

_AROUND = " \t\r\n\v\f" + "\u00a0\u200b\ufeff" + "\"'`“”‘’"
"""What a paste may put around a key."""
_COPY = "Copy the key again from the console"
_COPY_THERE: dict[Where, str] = {
    "environment": f"{_COPY} into ANTHROPIC_API_KEY, and start again",
    "credentials.toml": f"{_COPY} into credentials.toml",
    "keyring": f"{_COPY} with keyring set {SERVICE} {ENTRY}, and start again",
}
"""What to do about a text that is no key; the set-up asks for none while such a one lies there."""

T = TypeVar("T")


class Key:
    """A secret. Nothing shows it but `reveal`; it can be compared, and neither written nor sent to another process."""

    __slots__ = ("_plain",)

    def __init__(self, text: str) -> None:
        """Take a key as it was pasted, without the blanks and quotes around it; ConfigError for one that cannot be."""
        plain = text.strip(_AROUND)
        wrong = _wrong(plain)
        if wrong:
            del text, plain
            raise ConfigError(f"The key {wrong}", hint=_COPY)
        self._plain = plain

    def reveal(self) -> str:
        """The plain text, for the one place that sends it."""
        return self._plain

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __format__(self, _wanted: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._plain == other._plain

    def __hash__(self) -> int:
        return hash(self._plain)

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, _memo: object) -> Key:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled")


@dataclass(frozen=True)
class Found:
    """A key, where it was found, and what its owner should know about that place."""

    key: Key
    where: Where
    notice: Notice | None = None


def find(environment_key: str, folder: Path) -> Found | None:
    """The key in ANTHROPIC_API_KEY, else in credentials.toml of the folder, else in the system's keyring.

    Raises:
        ConfigError: one of them holds what is no key, or credentials.toml cannot be read or is no TOML.
    """
    given = _taken(environment_key, "in ANTHROPIC_API_KEY", "environment")
    del environment_key
    if given:
        return Found(_good(given), "environment")
    path = Home(folder).credentials
    notice = _closed_to_others(path)
    if stored := _without_its_frames(lambda: _stored(path)):
        return Found(_good(stored), "credentials.toml", notice)
    if kept := _in_keyring():
        return Found(_good(kept), "keyring")
    return None


def save(folder: Path, key: Key) -> None:
    """Keep the key in credentials.toml, readable by its owner only; other entries stay.

    Raises:
        ConfigError: the file is broken or cannot be written; it is left as it was.
    """
    _without_its_frames(lambda: _write(Home(folder).credentials, key))


def _wrong(plain: str) -> str:
    """What keeps a text from being a key, in words that show nothing of it; HTTP headers carry these only."""
    if not plain:
        return "is empty"
    at = next((place for place, letter in enumerate(plain, 1) if not "!" <= letter <= "~"), 0)
    if not at:
        return ""
    kind = "a blank" if plain[at - 1] == " " else "a character that no key has"
    return f"holds {kind}, character {at} of {len(plain)}"


def _taken(text: str, place: str, where: Where) -> Key | ConfigError | None:
    """The key in a text, None where that is blank; an error is returned, for `_good` to raise without the text."""
    plain = text.strip(_AROUND)
    if not plain:
        return None
    wrong = _wrong(plain)
    return ConfigError(f"The key {place} {wrong}", hint=_COPY_THERE[where]) if wrong else Key(plain)


def _good(taken: Key | ConfigError) -> Key:
    if isinstance(taken, ConfigError):
        raise taken
    return taken


def _without_its_frames(work: Callable[[], T]) -> T:
    """Do the work; a ConfigError of it is made anew, since the frames of the old one hold the text of the file."""
    try:
        return work()
    except ConfigError as error:
        anew = ConfigError(str(error), hint=error.hint)
    raise anew


# credentials.toml


def _stored(path: Path) -> Key | ConfigError | None:
    data = read_bytes(path)
    source = decode(data or b"", path.name)
    value = source.parse().get(ENTRY, "")
    place = f"in {ENTRY}{source.place(ENTRY)}"
    if not isinstance(value, str):
        return ConfigError(f"The key {place} is no text", hint="Put it in quotes")
    return _taken(value, place, "credentials.toml")


def _closed_to_others(path: Path) -> Notice | None:
    """Take away others' rights to the file, and tell of them. On Windows it has the rights of its folder."""
    try:
        mode = path.stat().st_mode
        # What is no plain file (a link to /dev/null, say) is told when it is read.
        if os.name == "nt" or not stat.S_ISREG(mode) or not mode & 0o077:
            return None
        path.chmod(0o600)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Notice(f"Others can read {path}, and that cannot be changed: {error.strerror}", f"chmod 600 {path}")
    return Notice(
        f"Others could read {path}; now only you can", "If others use this machine, make a new key for shammah setup"
    )


def _write(path: Path, key: Key) -> None:
    # A link is followed, so that a file kept elsewhere is changed there and the link stays.
    target = Path(os.path.realpath(path))
    with sole_writer(target):
        old = decode(read_bytes(target) or b"", path.name)
        replace(target, _with_key(old, key).encode())


def _with_key(source: Source, key: Key) -> str:
    """The text with the key in a first line, where no table can hold it."""
    before = source.parse()
    lines = source.text.split("\n")
    if at := key_lines(source.text).get((ENTRY,)):
        del lines[at - 1]
    new = Source("\n".join([f"{ENTRY} = {toml_text(key.reveal())}", *lines]), source.name)
    if _parsed(new) != before | {ENTRY: key.reveal()}:
        raise ConfigError(
            f"{source.name} cannot be changed here without touching more than the key", hint="Edit the file by hand"
        )
    return new.text


def _parsed(source: Source) -> object:
    try:
        return source.parse()
    except ConfigError:
        return None


# The keyring


def _in_keyring() -> Key | ConfigError | None:
    """The key in the system's keyring; None where the package keyring or a keyring is not there, or stays locked."""
    answers: SimpleQueue[Key | ConfigError | None] = SimpleQueue()
    # A thread, since a keyring that is locked waits for a person who may not be there.
    Thread(target=lambda: answers.put(_asked()), name="keyring", daemon=True).start()
    try:
        return answers.get(timeout=KEYRING_PATIENCE_S)
    except Empty:
        return None


def _asked() -> Key | ConfigError | None:
    try:
        text = importlib.import_module("keyring").get_password(SERVICE, ENTRY)
    except Exception:  # Each backend raises errors of its own kind; this is the edge of a thread.
        return None
    return _taken(text, "in the keyring", "keyring") if isinstance(text, str) else None
