"""The conversations on disk: a question is durable before it is answered, an answer is saved as it grows."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shammah.characters import whole_characters
from shammah.database import PATIENCE_S, transaction
from shammah.errors import HistoryError
from shammah.history.faults import told_plainly
from shammah.message import Finish, Spent, Timing, Usage

GLIMPSE_S = 0.1
"""Seconds to wait for another shammah while an answer streams: the text can wait, a Ctrl-C cannot."""
TITLE_LENGTH = 60


@dataclass(frozen=True)
class Conversation:
    """What is known of a conversation without its turns. Times are UTC.

    `private` says why all that is asked in it from now on must not leave this machine, "" where it may.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    system: str
    private: str = ""


@dataclass(frozen=True)
class Summary:
    """One line of the list of conversations; `turns` counts those that were not undone."""

    id: str
    title: str
    created: datetime
    updated: datetime
    turns: int


@dataclass(frozen=True)
class Origin:
    """Who answers a turn, and why; `before` tells of each engine that was asked first and failed."""

    engine: str = ""
    model: str = ""
    why: str = ""
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """A question and its answer, as far as it came.

    `reason` is that of `Finish`; a turn whose program ended before its answer did reads as interrupted.
    It is empty only in what `begin_turn` returns. An undone turn is kept, and is no part of the conversation.
    `private` says why the turn must not leave this machine, "" where it may. `cost_usd` is None where it is not known,
    `estimated` tells that it is. `retries` is the id of the turn that this one asks again, which `former` holds with
    those before it, the oldest first: other answers to the same question, and no part of the conversation either.
    """

    id: int
    conversation: str
    position: int
    question: str
    answer: str
    origin: Origin
    reason: str
    error: str
    usage: Usage
    timing: Timing
    sent_bytes: int
    cost_usd: float | None
    estimated: bool
    started: datetime
    finished: datetime | None
    undone: bool
    private: str
    retries: int | None
    former: tuple[Turn, ...] = ()

    @property
    def answered(self) -> Turn:
        """The newest of its tries that brought an answer; itself where none did."""
        return next((one for one in [self, *reversed(self.former)] if one.answer), self)


@dataclass(frozen=True)
class Cost:
    """What answers have cost and sent: dollars where the price is known, and how many `requests` there were.

    Of these, `unknown` have no known price and are not in `usd`; `estimated` are in it with an estimate.
    """

    usd: float = 0.0
    unknown: int = 0
    estimated: int = 0
    requests: int = 0
    sent_bytes: int = 0


class Store:
    """The history. Every change is on the disk when its method returns, or HistoryError says why it is not.

    A store belongs to the thread that opened it; each process and each thread opens its own.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self._unasked: dict[str, Conversation] = {}

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Conversations

    def new_conversation(self, system: str = "") -> Conversation:
        """Name a conversation; the disk hears of it with its first question, so an empty chat leaves nothing."""
        now = _now()
        with self.reading() as database:
            name = _name()
            while database.execute("SELECT 1 FROM conversations WHERE id = ?", (name,)).fetchone():
                name = _name()
        self._unasked[name] = Conversation(name, "", now, now, whole_characters(system))
        return self._unasked[name]

    def conversations(self, limit: int = 20) -> list[Summary]:
        """List conversations, the last changed first."""
        with self.reading() as database:
            rows = database.execute(
                """SELECT *, (SELECT count(*) FROM turns WHERE conversation = conversations.id AND NOT undone) AS turns
                FROM conversations ORDER BY updated DESC, rowid DESC LIMIT ?""",
                (limit,),
            ).fetchall()
        return [Summary(r["id"], r["title"], _time(r["created"]), _time(r["updated"]), r["turns"]) for r in rows]

    def last(self) -> Conversation | None:
        """The conversation that changed last, of those that hold a turn."""
        with self.reading() as database:
            row = database.execute(
                f"""{_CONVERSATIONS}
                WHERE EXISTS (SELECT 1 FROM turns WHERE conversation = conversations.id AND NOT undone)
                ORDER BY updated DESC, rowid DESC LIMIT 1"""
            ).fetchone()
        return _conversation(row) if row else None

    def find(self, id_or_prefix: str) -> Conversation:
        """The conversation with this id, or the only one whose id starts so; HistoryError for none or several."""
        start = whole_characters(id_or_prefix.strip().lower())
        with self.reading() as database:
            rows = database.execute(
                f"{_CONVERSATIONS} WHERE substr(id, 1, ?) = ? ORDER BY updated DESC", (len(start), start)
            ).fetchall()
        exact = [row for row in rows if row["id"] == start]
        if not start or not rows:
            raise HistoryError(
                f"There is no conversation {id_or_prefix.strip() or 'without a name'}",
                hint="See the list: /sessions in the chat, shammah history list in a shell",
            )
        if len(rows) > 1 and not exact:
            names = ", ".join(row["id"] for row in rows[:5]) + (" and more" if len(rows) > 5 else "")
            raise HistoryError(
                f"{len(rows)} conversations start with {start}: {names}", hint="Type one more letter of the id"
            )
        return _conversation((exact or rows)[0])

    def set_system(self, conversation_id: str, system: str) -> None:
        """Change the system prompt of a conversation."""
        if conversation_id in self._unasked:
            self._unasked[conversation_id] = replace(self._unasked[conversation_id], system=whole_characters(system))
            return
        with self.writing() as database:
            changed = database.execute(
                "UPDATE conversations SET system = ? WHERE id = ?", (whole_characters(system), conversation_id)
            )
            _demand(changed, conversation_id)

    def keep_conversation_private(self, conversation_id: str, why: str) -> None:
        """Note that what is asked in a conversation from now on must not leave this machine."""
        if conversation_id in self._unasked:
            self._unasked[conversation_id] = replace(self._unasked[conversation_id], private=whole_characters(why))
            return
        with self.writing() as database:
            _set_private(database, conversation_id, why)

    # Turns

    def turns(self, conversation_id: str, *, undone: bool = False) -> list[Turn]:
        """The turns that the conversation consists of, oldest first; with `undone`, also those taken back."""
        with self.reading() as database:
            rows = database.execute(
                "SELECT * FROM readable_turns WHERE conversation = ? AND undone <= ? ORDER BY position",
                (conversation_id, undone),
            ).fetchall()
            return [_with_former(database, _turn(row)) for row in rows]

    def begin_turn(self, conversation_id: str, question: str, *, private: str = "", retries: int | None = None) -> Turn:
        """Write a question down; on return it survives whatever happens to this process.

        `private` says why it must not leave this machine. `retries` is the turn of the same conversation that this one
        asks again: that turn is kept as another answer, and is no part of the conversation from now on.
        """
        question, now = whole_characters(question), _text(_now())
        with self.writing() as database:
            new = self._unasked.get(conversation_id)
            if new:
                _insert_conversation(database, new)
            _touch(database, conversation_id, now)
            _set_title(database, conversation_id, _title(question))
            _set_aside(database, retries, conversation_id)
            inserted = database.execute(
                """INSERT INTO turns (conversation, position, started, question, private, retries)
                SELECT ?, coalesce(max(position), 0) + 1, ?, ?, ?, ? FROM turns WHERE conversation = ?""",
                (conversation_id, now, question, whole_characters(private), retries, conversation_id),
            )
            row = database.execute("SELECT * FROM readable_turns WHERE id = ?", (inserted.lastrowid,)).fetchone()
            turn = _with_former(database, _turn(row))
        self._unasked.pop(conversation_id, None)
        return replace(turn, reason="")

    def choose(self, turn_id: int, origin: Origin) -> None:
        """Note who is going to answer, so that even an answer cut off by a crash says whose it was."""
        with self.writing() as database:
            _set_origin(database, turn_id, origin)

    def keep_private(self, turn_id: int, why: str) -> None:
        """Note that a turn must not leave this machine."""
        with self.writing() as database:
            database.execute("UPDATE turns SET private = ? WHERE id = ?", (whole_characters(why), turn_id))

    def spend(self, turn_id: int, spent: Spent) -> None:
        """Note what has left this machine until now, so that even an answer cut off by a crash tells it."""
        with self.writing(GLIMPSE_S) as database:
            _set_spent(database, turn_id, spent)

    def append(self, turn_id: int, text: str, at: int) -> None:
        """Save the next part of an answer, which starts at character `at`; the same `at` again replaces it.

        Raises HistoryBusy quickly where another shammah is writing. `AnswerWriter` paces the calls.
        """
        with self.writing(GLIMPSE_S) as database:
            _insert_piece(database, turn_id, text, at)

    def finish(self, turn_id: int, finish: Finish, origin: Origin, *, tail: str = "", at: int = 0) -> None:
        """Close a turn, with the `tail` of its answer from character `at` on. Only the first call counts."""
        with self.writing() as database:
            row = database.execute("SELECT reason, conversation FROM turns WHERE id = ?", (turn_id,)).fetchone()
            if row is None or row["reason"]:
                _demand_turn(row)
                return
            _insert_piece(database, turn_id, tail, at)
            _join_pieces(database, turn_id)
            _set_origin(database, turn_id, origin)
            _set_finish(database, turn_id, finish)
            _set_spent(database, turn_id, finish.spent)
            _touch(database, row["conversation"], _text(_now()))

    def undo(self, turn_id: int) -> Turn | None:
        """Take a turn back and return it, None where it was already; it is kept, and no other turn changes."""
        with self.writing() as database:
            row = database.execute("SELECT * FROM readable_turns WHERE id = ? AND NOT undone", (turn_id,)).fetchone()
            if row is None:
                return None
            database.execute("UPDATE turns SET undone = 1 WHERE id = ?", (turn_id,))
            _touch(database, row["conversation"], _text(_now()))
            return replace(_with_former(database, _turn(row)), undone=True)

    # What was spent, also on turns that were undone or asked again

    def cost(self, conversation_id: str) -> Cost:
        """What a conversation has cost and sent."""
        with self.reading() as database:
            sums = database.execute(
                f"SELECT {_SUMS} FROM turns WHERE conversation = ? AND sent_bytes > 0", (conversation_id,)
            ).fetchone()
        return Cost(*sums)

    # For the modules of this folder

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection, with SQLite's errors translated."""
        with told_plainly(self.path):
            yield self.connection

    @contextlib.contextmanager
    def writing(self, wait_s: float = PATIENCE_S) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one transaction: all of it is kept, or nothing."""
        database = self.connection
        with told_plainly(self.path):
            database.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
            with transaction(database):
                yield database


# Rows

_CONVERSATIONS = """SELECT conversations.*,
    coalesce((SELECT why FROM private_conversations WHERE conversation = conversations.id), '') AS private
    FROM conversations"""
_SUMS = (
    "total(cost_usd), count(*) - count(cost_usd), coalesce(sum(estimated), 0), count(*), coalesce(sum(sent_bytes), 0)"
)
"""The fields of `Cost`, over the turns that sent something."""


def _insert_conversation(database: sqlite3.Connection, new: Conversation) -> None:
    database.execute(
        "INSERT INTO conversations VALUES (?, ?, ?, '', ?)",
        (new.id, _text(new.created), _text(new.updated), new.system),
    )
    if new.private:
        _set_private(database, new.id, new.private)


def _set_private(database: sqlite3.Connection, conversation_id: str, why: str) -> None:
    noted = database.execute(
        "INSERT OR REPLACE INTO private_conversations SELECT id, ? FROM conversations WHERE id = ?",
        (whole_characters(why), conversation_id),
    )
    _demand(noted, conversation_id)


def _touch(database: sqlite3.Connection, conversation_id: str, now: str) -> None:
    _demand(
        database.execute("UPDATE conversations SET updated = ? WHERE id = ?", (now, conversation_id)), conversation_id
    )


def _set_title(database: sqlite3.Connection, conversation_id: str, title: str) -> None:
    """Name the conversation after its first question, also after the one before was undone."""
    database.execute(
        """UPDATE conversations SET title = ?
        WHERE id = ? AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation = ? AND NOT undone)""",
        (title, conversation_id, conversation_id),
    )


def _insert_piece(database: sqlite3.Connection, turn_id: int, text: str, at: int) -> None:
    if text:
        database.execute("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?)", (turn_id, at, whole_characters(text)))


def _join_pieces(database: sqlite3.Connection, turn_id: int) -> None:
    database.execute(
        "UPDATE turns SET answer = (SELECT whole_answer FROM readable_turns WHERE id = ?) WHERE id = ?",
        (turn_id, turn_id),
    )
    database.execute("DELETE FROM pieces WHERE turn = ?", (turn_id,))


def _set_origin(database: sqlite3.Connection, turn_id: int, origin: Origin) -> None:
    before = json.dumps([whole_characters(told) for told in origin.before], ensure_ascii=False)
    database.execute(
        "UPDATE turns SET engine = ?, model = ?, why = ?, before = ? WHERE id = ?",
        (
            whole_characters(origin.engine),
            whole_characters(origin.model),
            whole_characters(origin.why),
            before,
            turn_id,
        ),
    )


def _set_aside(database: sqlite3.Connection, turn_id: int | None, conversation_id: str) -> None:
    database.execute("UPDATE turns SET undone = 1 WHERE id = ? AND conversation = ?", (turn_id, conversation_id))


def _set_spent(database: sqlite3.Connection, turn_id: int, spent: Spent) -> None:
    database.execute(
        "UPDATE turns SET sent_bytes = ?, cost_usd = ?, estimated = ? WHERE id = ?",
        (spent.sent_bytes, spent.cost_usd, spent.estimated, turn_id),
    )


def _set_finish(database: sqlite3.Connection, turn_id: int, finish: Finish) -> None:
    usage, timing = finish.usage, finish.timing
    database.execute(
        """UPDATE turns SET reason = ?, error = ?, prompt_tokens = ?, cached_tokens = ?, completion_tokens = ?,
        first_token_s = ?, total_s = ?, tokens_per_s = ?, finished = ? WHERE id = ?""",
        (
            finish.reason, whole_characters(finish.error),
            usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens,
            timing.first_token_s, timing.total_s, timing.tokens_per_s, _text(_now()), turn_id,
        ),
    )  # fmt: skip


def _demand(changed: sqlite3.Cursor, conversation_id: str) -> None:
    if not changed.rowcount:
        raise HistoryError(
            f"There is no conversation {conversation_id}", hint="It was removed; start a new one with /new"
        )


def _demand_turn(row: Any) -> None:
    if row is None:
        raise HistoryError("The conversation of this answer was removed", hint="Start a new one with /new")


def _conversation(row: sqlite3.Row) -> Conversation:
    created, updated = _time(row["created"]), _time(row["updated"])
    return Conversation(row["id"], row["title"], created, updated, row["system"], row["private"])


def _turn(row: sqlite3.Row) -> Turn:
    return Turn(
        id=row["id"],
        conversation=row["conversation"],
        position=row["position"],
        question=row["question"],
        answer=row["whole_answer"],
        origin=Origin(row["engine"], row["model"], row["why"], _lines(row["before"])),
        reason=row["reason"] or "interrupted",
        error=row["error"],
        usage=Usage(row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]),
        timing=Timing(row["first_token_s"], row["total_s"], row["tokens_per_s"]),
        sent_bytes=row["sent_bytes"],
        cost_usd=row["cost_usd"],
        estimated=bool(row["estimated"]),
        started=_time(row["started"]),
        finished=_time(row["finished"]) if row["finished"] else None,
        undone=bool(row["undone"]),
        private=row["private"],
        retries=row["retries"],
    )


def _with_former(database: sqlite3.Connection, turn: Turn) -> Turn:
    """The turn with the ones that it asks again."""
    former = [turn]
    while former[0].retries is not None:
        row = database.execute(
            "SELECT * FROM readable_turns WHERE id = ? AND id < ? AND conversation = ?",
            (former[0].retries, former[0].id, turn.conversation),
        ).fetchone()
        if row is None:
            break
        former.insert(0, _turn(row))
    return replace(turn, former=tuple(former[:-1]))


# Values


def _lines(text: str) -> tuple[str, ...]:
    """The lines in a JSON list; a damaged one is a single line."""
    try:
        return tuple(map(str, json.loads(text)))
    except (ValueError, TypeError):
        return (text,)


_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which are taken for one another; 32, so that a byte picks each as often."""


def _name() -> str:
    """Six letters and digits that a person can type; the first is a letter, so it never looks like a number."""
    first, *rest = os.urandom(6)
    return _LETTERS[first % 24] + "".join(_LETTERS[byte % 32] for byte in rest)


def _title(question: str) -> str:
    line = next((" ".join(line.split()) for line in question.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
