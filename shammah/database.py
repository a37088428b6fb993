"""A SQLite file of ours that several running programs share: made for its owner only, written by one at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 10.0
"""Seconds to wait for another shammah that is writing; a commit takes milliseconds."""


@dataclass(frozen=True)
class Marks:
    """What a file says of itself: whether anything is in it, whose it is, and in which format."""

    used: bool
    application: int
    format: int


def create_private(path: Path) -> None:
    """Make the file, and its folder, where they are missing; nobody but the owner can read them. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives the files beside it (-wal, -shm) the mode of this one. On Windows they have the rights of the folder,
    # which Python makes for its owner only (3.11.10, 3.12.4 and later); one that was there before may let others in.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def use_log(database: sqlite3.Connection) -> None:
    """Have changes written to a log beside the file, so that reading never waits for writing."""
    # Of several programs that create the file at once, SQLite turns all but one away without waiting.
    patience = time.monotonic() + PATIENCE_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.02)
        else:
            return


def marks(database: sqlite3.Connection) -> Marks:
    """What the file says of itself."""
    # First, since another chat may be making the tables just now: they are there together with their marks.
    used = database.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None
    application = database.execute("PRAGMA application_id").fetchone()[0]
    return Marks(used, application, database.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A time in which nobody else writes: all that is changed in it is kept, or nothing."""
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException:
        # SQLite has ended the transaction by itself after some failures, a full disk among them.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
