"""Opens the file of the history: creates it for its owner only, migrates it, leaves what is foreign alone."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from shammah.database import PATIENCE_S, create_private, marks, transaction, use_log
from shammah.errors import HistoryError
from shammah.history.faults import told_plainly, trouble, unreachable
from shammah.history.store import Store

# Small columns stand before the long texts: SQLite reads a row from its start, and a long text fills many pages.
# Turns that were removed never give their number to new ones (AUTOINCREMENT), so no index can confuse the two.
_FORMATS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE conversations (
            id TEXT PRIMARY KEY, created TEXT NOT NULL, updated TEXT NOT NULL,
            title TEXT NOT NULL, system TEXT NOT NULL)""",
        "CREATE INDEX conversations_updated ON conversations (updated)",
        """CREATE TABLE turns (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE,
            position INTEGER NOT NULL, undone INTEGER NOT NULL DEFAULT 0,
            started TEXT NOT NULL, finished TEXT, reason TEXT NOT NULL DEFAULT '',
            prompt_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            first_token_s REAL NOT NULL DEFAULT 0, total_s REAL NOT NULL DEFAULT 0,
            tokens_per_s REAL NOT NULL DEFAULT 0, sent_bytes INTEGER NOT NULL DEFAULT 0, cost_usd REAL,
            engine TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '', why TEXT NOT NULL DEFAULT '',
            error TEXT NOT NULL DEFAULT '', question TEXT NOT NULL, answer TEXT NOT NULL DEFAULT '',
            UNIQUE (conversation, position))""",
        # A growing answer is rows here, joined when it is finished: a commit of a 1 MB answer takes 0.2 ms,
        # against 5 ms for lengthening the row in place, which writes the whole text again each time.
        """CREATE TABLE pieces (
            turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
            start INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (turn, start))""",
        """CREATE VIEW readable_turns AS
            SELECT turns.*, answer || coalesce((SELECT group_concat(text, '') FROM (
                SELECT text FROM pieces WHERE turn = turns.id ORDER BY start)), '') AS whole_answer FROM turns""",
    ),
    (
        "ALTER TABLE turns ADD COLUMN private TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE turns ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE turns ADD COLUMN before TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE turns ADD COLUMN retries INTEGER",
        # What was sent and spent is added up from here: the columns above stand behind the long texts.
        """CREATE INDEX turns_sent ON turns (conversation, started, sent_bytes, cost_usd, estimated)
            WHERE sent_bytes > 0""",
    ),
    (
        # Not a column of conversations: an older chat that still runs gives a new one as many values as it knows.
        """CREATE TABLE private_conversations (
            conversation TEXT PRIMARY KEY REFERENCES conversations ON DELETE CASCADE, why TEXT NOT NULL)""",
        # Until then a turn told in these words that its conversation was private.
        """INSERT INTO private_conversations
            SELECT DISTINCT conversation, private FROM turns WHERE private = 'you keep this conversation private'""",
    ),
)
"""What leads from each format of the file to the next; `PRAGMA user_version` counts the steps taken."""

_MAGIC = b"SQLite format 3\0"
_APPLICATION = int.from_bytes(b"sham")
"""Marks a SQLite file as ours, so that no other program's database is taken for a history."""


def open_store(path: Path) -> Store:
    """Open the history, or create it readable by its owner only.

    Raises HistoryError for a file that is damaged, foreign, newer or out of reach, and leaves it as it is.
    """
    try:
        create_private(path)
        _refuse_strange(path)
    except OSError as error:
        raise unreachable(path, error) from error
    with told_plainly(path):
        _refuse_unknown(path)
        connection = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return Store(connection, path)


def memory_store() -> Store:
    """A history that nothing is kept of: it lives in memory and is gone with the process."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    path = Path(":memory:")
    _configure(connection)
    _migrate(connection, path)
    return Store(connection, path)


def _refuse_strange(path: Path) -> None:
    """Raise for a file that is no database. SQLite takes a few strange bytes for an empty file and writes over them."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    # With a journal beside it, the creation of the file was cut off, and SQLite knows how to take that back.
    if start not in (b"", _MAGIC) and not path.with_name(path.name + "-journal").exists():
        raise trouble(sqlite3.SQLITE_NOTADB, path)


def _refuse_unknown(path: Path) -> None:
    """Raise for a file that another program or a newer shammah wrote, without changing a byte of it."""
    log = path.with_name(path.name + "-wal")
    # "immutable" leaves no new file beside it, and is right only where no log holds a part of the truth.
    way = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    # A Windows share reads file://server/...; SQLite wants an empty authority before the server.
    uri = re.sub("^file://(?!/)", "file:////", path.absolute().as_uri())
    with contextlib.closing(sqlite3.connect(f"{uri}?{way}", uri=True)) as database:
        _check_format(database, path)


def _check_format(database: sqlite3.Connection, path: Path) -> int:
    known = len(_FORMATS)
    found = marks(database)
    if found.used and found.application != _APPLICATION:
        raise HistoryError(
            f"{path} is the database of another program", hint="Move it away, and the history starts anew"
        )
    if found.format > known:
        raise HistoryError(
            f"The history was written by a newer shammah (format {found.format}; this one knows {known})",
            hint=f"Update shammah, or move {path} away to start a new history",
        )
    return found.format


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _configure(database)
    _tighten(path)
    use_log(database)
    # fullfsync: on macOS an ordinary fsync leaves the text in the drive's own memory.
    for setting in ("synchronous = FULL", "fullfsync = ON", "foreign_keys = ON"):
        database.execute(f"PRAGMA {setting}")
    if database.execute("PRAGMA user_version").fetchone()[0] < len(_FORMATS):
        _migrate(database, path)


def _configure(database: sqlite3.Connection) -> None:
    database.row_factory = sqlite3.Row
    # One flipped bit in a text must not make the whole conversation unreadable.
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")


def _tighten(path: Path) -> None:
    if os.name != "nt" and path.stat().st_mode & 0o077:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                path.with_name(path.name + suffix).chmod(0o600)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    with transaction(database):
        # Another process may have taken the steps, or a newer one further steps, in the meantime.
        for step in _FORMATS[_check_format(database, path) :]:
            for statement in step:
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {len(_FORMATS)}")
