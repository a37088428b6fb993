"""What Claude has cost, over all running chats: a request reserves the most it can cost, and later says what it did."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from shammah.cloud.prices import dollars
from shammah.database import PATIENCE_S, create_private, marks, transaction, use_log
from shammah.errors import CloudError

_FORMAT = 1
_APPLICATION = int.from_bytes(b"shms")
"""Marks a SQLite file as ours, so that no other program's database is taken for it."""
_SCHEMA = (
    # A ticket is never given twice (AUTOINCREMENT). `settled` is empty while a request is under way, and stays so
    # where the program was killed: then the reservation counts.
    """CREATE TABLE requests (
        ticket INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT NOT NULL, started TEXT NOT NULL, settled TEXT,
        model TEXT NOT NULL, most_usd REAL NOT NULL, cost_usd REAL, estimated INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX requests_day ON requests (day, cost_usd, most_usd, estimated)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
_SUMS = """total(cost_usd) AS cost_usd, count(*) - count(cost_usd) AS unknown, count(*) AS requests, day AS date,
    coalesce(sum(estimated), 0) AS estimated, total(coalesce(cost_usd, most_usd)) AS counted_usd"""
_MOVE_AWAY = "Move it away, and the sum of today starts anew"


@dataclass(frozen=True)
class Day:
    """What one day has cost: dollars where the price is known, and how many requests have no known cost (yet).

    `date` is the local calendar day in ISO 8601. `counted_usd` is what counts against the budget: the cost, and for
    each request whose cost is not known the most that it can be.
    """

    cost_usd: float = 0.0
    unknown: int = 0
    requests: int = 0
    date: str = ""
    estimated: int = 0
    counted_usd: float = 0.0


class Spending:
    """The record of costs in a SQLite file, shared by every chat. It holds no text of any conversation.

    Each call opens the file for itself, so that any thread may call; a request is made seldom enough for that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def reserve(self, model: str, most_usd: float, budget_usd: float) -> int:
        """Set aside the most that a request can cost; returns its ticket. A budget of 0 is none.

        Requests at the same time see each other's reservations, so a budget is passed by one request at most.

        Raises:
            CloudError: today's budget is reached (trouble "budget"), or the record cannot be written.
        """
        today = _today()
        with self._writing() as database:
            spent = _day(database, today)
            if 0 < budget_usd <= spent.counted_usd:
                raise _reached(spent, budget_usd)
            inserted = database.execute(
                "INSERT INTO requests (day, started, model, most_usd) VALUES (?, ?, ?, ?)",
                (today, _now(), model, max(0.0, most_usd)),
            )
            return int(inserted.lastrowid or 0)

    def settle(self, ticket: int, cost_usd: float | None, estimated: bool) -> None:
        """Say what a request has cost, None where the price is not known; only the first call for a ticket counts.

        Where the record cannot be written, the reservation goes on counting.
        """
        with contextlib.suppress(CloudError), self._writing() as database:
            database.execute(
                "UPDATE requests SET settled = ?, cost_usd = ?, estimated = ? WHERE ticket = ? AND settled IS NULL",
                (_now(), None if cost_usd is None else _amount(cost_usd), estimated, ticket),
            )

    def withdraw(self, ticket: int) -> None:
        """Say that nothing of a request has left: it was none. Where that cannot be written, the reservation counts."""
        with contextlib.suppress(CloudError), self._writing() as database:
            database.execute("DELETE FROM requests WHERE ticket = ? AND settled IS NULL", (ticket,))

    def today(self) -> Day:
        """What this calendar day has cost until now.

        Raises:
            CloudError: the record cannot be read.
        """
        with self._reading() as database:
            return _day(database, _today()) if database else Day(date=_today())

    def days(self, count: int) -> list[Day]:
        """The last days on which anything was asked, the newest first.

        Raises:
            CloudError: the record cannot be read.
        """
        with self._reading() as database:
            if database is None:
                return []
            rows = database.execute(
                f"SELECT {_SUMS} FROM requests GROUP BY day ORDER BY day DESC LIMIT ?", (count,)
            ).fetchall()
        return [Day(**row) for row in rows]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Lend the file, or None where there is none yet, or an empty one that a killed program left."""
        if not self.path.exists():
            yield None
            return
        with self._opened() as database:
            yield database if _is_ours(database, self.path) else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the file for one transaction, which no other process writes in between; it is made where missing."""
        with _told_plainly(self.path):
            create_private(self.path)
        with self._opened() as database:
            if not _is_ours(database, self.path):
                use_log(database)
            with transaction(database):
                if not _is_ours(database, self.path):
                    _make(database)
                yield database

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with _told_plainly(self.path):
            database = sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE_S)
            with contextlib.closing(database):
                database.row_factory = sqlite3.Row
                for setting in ("synchronous = FULL", "fullfsync = ON"):  # The second for macOS.
                    database.execute(f"PRAGMA {setting}")
                yield database


# The file


def _is_ours(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has our table; False for an empty one, CloudError for one of another program."""
    found = marks(database)
    if (found.application, found.format) == (_APPLICATION, _FORMAT):
        return True
    if found.application == _APPLICATION and found.format > _FORMAT:
        raise CloudError(f"{path} was written by a newer shammah (format {found.format})", hint="Update shammah")
    if found.used:
        raise CloudError(f"{path} is the database of another program", hint=_MOVE_AWAY)
    return False


def _make(database: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        database.execute(statement)


@contextlib.contextmanager
def _told_plainly(path: Path) -> Iterator[None]:
    """Turn the errors of the disk and of SQLite into ones that a person can act on."""
    try:
        yield
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), "Make the folder writable") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        raise _unusable(path, str(error), _HINTS.get(code, "See whether the file is writable")) from error


_HINTS = {
    sqlite3.SQLITE_FULL: "Free some space",
    sqlite3.SQLITE_BUSY: "Close the other shammah, or try again",
    sqlite3.SQLITE_NOTADB: _MOVE_AWAY,
    sqlite3.SQLITE_CORRUPT: _MOVE_AWAY,
}


def _unusable(path: Path, cause: str, hint: str) -> CloudError:
    return CloudError(f"What Claude costs cannot be recorded in {path}: {cause}", hint=f"{hint}; /local answers here")


# Rows and values


def _day(database: sqlite3.Connection, day: str) -> Day:
    row = database.execute(f"SELECT {_SUMS} FROM requests WHERE day = ?", (day,)).fetchone()
    return Day(**{**row, "date": day})  # The sums of no row have no day.


def _reached(spent: Day, budget_usd: float) -> CloudError:
    reserved = spent.counted_usd - spent.cost_usd
    of_it = f", {dollars(reserved)} of it the most that requests of unknown cost can be" if spent.unknown else ""
    return CloudError(
        f"Today's budget for Claude is reached: {dollars(spent.counted_usd)} of {dollars(budget_usd)}{of_it}",
        hint="It starts anew at midnight; /set cloud.daily_budget_usd raises it, /local answers here",
        trouble="budget",
    )


def _amount(usd: float) -> float | None:
    """Dollars that can be added up: nothing below 0, and None for what is no number."""
    return max(0.0, usd) if math.isfinite(usd) else None


def _today() -> str:
    return date.today().isoformat()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
