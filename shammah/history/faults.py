"""SQLite's errors, turned into ones that a person can act on."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from shammah.errors import HistoryError


class HistoryBusy(HistoryError):  # noqa: N818 - a state, like its parent's other causes
    """Another shammah is writing, and the wait for it was too long."""


_NOT_SAVED = "The chat goes on; what is said now is not saved"
_CAUSES = {
    sqlite3.SQLITE_FULL: ("The disk is full", f"Free some space. {_NOT_SAVED}"),
    sqlite3.SQLITE_IOERR: ("The disk refuses", f"Check its space and health. {_NOT_SAVED}"),
    sqlite3.SQLITE_READONLY: ("The file is read-only", f"Make it writable. {_NOT_SAVED}"),
    sqlite3.SQLITE_CANTOPEN: ("Its folder is not writable", "Make the folder writable, or set SHAMMAH_HOME to another"),
    sqlite3.SQLITE_NOTADB: ("This is no database", "Move the file away, and the history starts anew"),
    sqlite3.SQLITE_CORRUPT: ("The file is damaged", "Keep a copy of it and move it away, and the history starts anew"),
    sqlite3.SQLITE_CONSTRAINT: ("The conversation was removed meanwhile", "Start a new one with /new"),
}


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that a person can act on."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # A closed store or a wrong thread: a mistake in the program, not in its surroundings.
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise HistoryBusy(
                f"Another program is holding the history {path}", hint="Close the other shammah, or try again"
            ) from error
        raise trouble(code, path, str(error)) from error


def trouble(code: int, path: Path, detail: str = "") -> HistoryError:
    """The error for one of SQLite's result codes."""
    cause, hint = _CAUSES.get(code, (f"SQLite says: {detail}", f"See whether the file is readable. {_NOT_SAVED}"))
    return HistoryError(f"{cause}: the history {path} cannot be used", hint=hint)


def unreachable(path: Path, error: OSError) -> HistoryError:
    """The error for a file that the system does not let us open."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            return HistoryError(f"{path} is a folder, not a history", hint="Move that folder away")
    hint = "Make the folder writable, or set SHAMMAH_HOME to another"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space"
    return HistoryError(f"The history {path} cannot be opened: {error.strerror}", hint=hint)
