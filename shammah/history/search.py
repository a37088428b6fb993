"""Finds words in questions and answers. The index only proposes turns; whether one matches is decided on its text."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from shammah.errors import HistoryError

if TYPE_CHECKING:
    from shammah.history.store import Store

MARKS = ("«", "»")
"""What stands around a found word in a snippet."""

_WIDTH = 120
_BEFORE = 40
_BATCH = 50
# The index is given words that are split and folded here, and its "ascii" tokenizer only cuts at the spaces between:
# SQLite's own idea of a letter is older than the emoji that a word is glued to, and would miss that word.
_TABLE = "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, columnsize=0, tokenize='ascii')"
_WORD_START = r"(?<![^\W_])(?<![\u0300-\u036f])"
_LAST_INDEXED_SCRIPT = 0x6FF
"""Up to here letters form words with spaces between them; beyond, and for signs, the index is of no use."""


@dataclass(frozen=True)
class Hit:
    """A turn that holds every word searched for. The snippet is one line without control characters."""

    conversation: str
    when: datetime
    snippet: str


def search(store: Store, words: str, limit: int = 20, *, full_text: bool = True) -> list[Hit]:
    """Find the turns that hold every word, newest first.

    A word counts where another starts with it; "two words" in quotes stand together; case and accents do not matter.
    Without `full_text`, or where SQLite was built without it, every turn is read: the same hits, later.
    """
    wanted = _wanted(words)
    if not wanted:
        return []
    patterns = [re.compile(_pattern(word)) for word in wanted]
    indexed = full_text and _index_is_fresh(store)
    hits: list[Hit] = []
    with store.reading(), contextlib.closing(_candidates(store.connection, wanted if indexed else [])) as rows:
        for row in rows:
            text = _whole_text(row["question"], row["whole_answer"])
            folded = fold(text)
            if len(hits) < limit and all(pattern.search(folded) for pattern in patterns):
                hits.append(_hit(row, _snippet(text, folded, patterns)))
            if len(hits) >= limit:
                break
    return hits


def _whole_text(question: str, answer: str) -> str:
    return unicodedata.normalize("NFC", f"{question}\n{answer}")


def fold(text: str) -> str:
    """The text without case and accents, letter by letter, so that a place in one is the same place in the other."""
    if text.isascii():
        return text.lower()
    return text.translate({ord(letter): _base(letter) for letter in set(text)})


def _base(letter: str) -> str:
    plain = unicodedata.normalize("NFD", letter)[0]
    folded = plain.casefold()
    return folded if len(folded) == 1 else plain


def _wanted(words: str) -> list[str]:
    """Split what was typed into words and quoted phrases, folded; a star at the end says what holds anyway."""
    found = re.findall(r'"([^"]+)"|([^\s"]+)', unicodedata.normalize("NFC", words))
    folded = [" ".join(fold(phrase or word).split()) for phrase, word in found]
    return [word.rstrip("*") or word for word in folded if word]


def _pattern(word: str) -> str:
    text = r"\s+".join(re.escape(part) for part in word.split())
    return f"{_WORD_START}{text}" if word[0].isalnum() and _is_indexed(word) else text


def _is_indexed(word: str) -> bool:
    return any(letter.isalnum() for letter in word) and all(ord(letter) <= _LAST_INDEXED_SCRIPT for letter in word)


def _match(wanted: list[str]) -> str:
    """The proposal that the index is asked for: letters and digits only, so nothing in it is FTS5 syntax."""
    phrases = [_bare_words(word) for word in wanted if _is_indexed(word)]
    return " ".join(f'"{phrase}"*' for phrase in phrases[:16])


def _bare_words(folded: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", folded))


def _candidates(database: sqlite3.Connection, indexed_words: list[str]) -> sqlite3.Cursor:
    sql = "SELECT * FROM readable_turns {} ORDER BY id DESC"
    match = _match(indexed_words)
    if not match:
        return database.execute(sql.format(""))
    proposed = "id IN (SELECT rowid FROM words WHERE words MATCH ?)"
    unknown = "id NOT IN (SELECT rowid FROM words)"
    return database.execute(sql.format(f"WHERE {proposed} OR {unknown}"), (match,))


def _index_is_fresh(store: Store) -> bool:
    """Take finished turns into the index; False where there can be none: an SQLite without FTS5, a disk that refuses.

    Done here and not with each turn, so that nothing stands between a message and the disk. A turn without an end
    is never taken in, for its text may still change; it is always looked at.
    """
    try:
        with store.writing() as database:
            database.execute(_TABLE)
        # In small steps: other chats write in between.
        while _index_some(store):
            pass
    except HistoryError:
        return False
    return True


def _index_some(store: Store) -> bool:
    with store.writing() as database:
        fresh = database.execute(
            """SELECT id, question, answer FROM turns
            WHERE reason <> '' AND id NOT IN (SELECT rowid FROM words) LIMIT ?""",
            (_BATCH,),
        ).fetchall()
        for turn_id, question, answer in fresh:
            text = _bare_words(fold(_whole_text(question, answer)))
            database.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (turn_id, text))
    return len(fresh) == _BATCH


def _hit(row: sqlite3.Row, snippet: str) -> Hit:
    return Hit(row["conversation"], datetime.fromisoformat(row["started"]), snippet)


def _snippet(text: str, folded: str, patterns: list[re.Pattern[str]]) -> str:
    places = [found.start() for pattern in patterns if (found := pattern.search(folded))]
    start = max(0, min(places) - _BEFORE)
    end = min(len(text), start + _WIDTH)
    line = "".join(_marked(text, folded, patterns, start, end))
    return f"{'…' if start else ''}{' '.join(line.split())}{'…' if end < len(text) else ''}"


def _marked(text: str, folded: str, patterns: list[re.Pattern[str]], start: int, end: int) -> Iterator[str]:
    longest_first = sorted((pattern.pattern for pattern in patterns), key=len, reverse=True)
    for found in re.compile("|".join(longest_first)).finditer(folded, start, end):
        yield _printable(text[start : found.start()])
        yield f"{MARKS[0]}{_printable(text[found.start() : found.end()])}{MARKS[1]}"
        start = found.end()
    yield _printable(text[start:end])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)
