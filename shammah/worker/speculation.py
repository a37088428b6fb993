"""Prompt lookup: what followed the last time the text read like this, proposed as the next tokens, where that pays.

A model run over several rows costs little more than over one, so tokens that are guessed and verified together come
faster than one by one (arXiv:2211.17192; drafts from the text itself: github.com/apoorvumang/prompt-lookup-decoding).
Nothing here runs a model: `Lookup` finds drafts, `Odds` tells how likely they hold, `Pace` how dear a round is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from operator import mul
from statistics import median

NGRAMS = (4, 2)
"""Tokens that must be as they were before, the longer first."""

MOST_ROWS = 17
"""Rows of a round at most: the certain token and its draft. Prepared graphs give all rows of logits up to 32."""

FULL_MATCH = 32
"""How far back a match is counted: beyond that, more of it says no more."""

ONSET = 1.08
"""A round must promise this many times the plain loop's tokens per second: chances and seconds are estimates."""


class Lookup:
    """The ids so far, and the earlier place that they repeat; each token costs the same however long the text is."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        """For each n-gram that something followed: the place behind its last occurrence."""
        self._next = 0
        """The place that is taken to come again; meaningless while `matched` is 0."""
        self.matched = 0
        """Tokens before that place that equal the newest ones, counted up to FULL_MATCH; 0: the text is new."""
        for id in ids:
            self._append(id)
        self._search()

    def add(self, token: int) -> bool:
        """Take the next token in; returns whether it is the one that was expected."""
        expected = self.matched > 0 and self._ids[self._next] == token
        self._append(token)
        if expected:
            self._next += 1
            self.matched = min(self.matched + 1, FULL_MATCH)
        else:
            self._search()
        return expected

    def draft(self, count: int) -> list[int]:
        """The next `count` tokens if the text goes on as it did; where it overtakes itself, the draft repeats.

        >>> Lookup([1, 2, 3, 4, 9, 1, 2]).draft(3)
        [3, 4, 9]
        >>> Lookup([7, 8, 7, 8]).draft(5)
        [7, 8, 7, 8, 7]
        """
        if not self.matched:
            return []
        period = len(self._ids) - self._next
        return [self._ids[self._next + place % period] for place in range(count)]

    def _append(self, token: int) -> None:
        end = len(self._ids)
        for size in NGRAMS:
            if end >= size:
                self._after[tuple(self._ids[end - size :])] = end
        self._ids.append(token)

    def _search(self) -> None:
        self.matched = 0
        for size in NGRAMS:
            place = self._after.get(tuple(self._ids[-size:])) if len(self._ids) >= size else None
            if place is not None:
                self._next = place
                self.matched = self._match(place)
                return

    def _match(self, place: int) -> int:
        end = len(self._ids)
        reach = range(1, min(place, FULL_MATCH) + 1)
        return sum(1 for _ in takewhile(lambda back: self._ids[place - back] == self._ids[end - back], reach))


class Odds:
    """How often a text that has repeated itself for so many tokens does so for one more.

    Learned from every token, also while nothing is drafted: so what is off is seen to be worth while without a trial.
    """

    WEIGHT = 4.0
    """Tokens that the first guess counts for."""
    MEMORY = 32.0
    """Tokens after which the older ones begin to fade."""

    def __init__(self) -> None:
        # By binary digits of the match: 0, 1, 2-3, 4-7, 8-15, 16-31, 32. A longer match is a better one.
        first = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
        self._right = [self.WEIGHT * chance for chance in first]
        self._seen = [self.WEIGHT] * len(first)

    def learn(self, matched: int, right: bool) -> None:
        """Count what came after a match of this length."""
        kind = matched.bit_length()
        self._right[kind] += right
        self._seen[kind] += 1
        if self._seen[kind] > self.MEMORY:
            self._right[kind] /= 2
            self._seen[kind] /= 2

    def chance(self, matched: int) -> float:
        """The chance that one more token is right."""
        kind = min(matched, FULL_MATCH).bit_length()
        return self._right[kind] / self._seen[kind]


class Pace:
    """Seconds of a run by its rows, measured while answering; kept as long as the model is loaded."""

    FIRST = 0.25
    """What one more row is taken to cost of a single step while it was never measured."""
    TRIAL_ROWS = 4
    """Rows of a round that finds it out."""
    PATIENCE = 128
    """Steps for which a round would have paid if rows were cheap, before their cost is measured again."""
    MOST_PATIENCE = 4096

    def __init__(self) -> None:
        # Medians of the last few: an outlier is another program's work, not the model's.
        self._single: deque[float] = deque(maxlen=15)
        self._more: deque[float] = deque(maxlen=7)
        self._patience = self.PATIENCE
        self._waited = 0

    def record(self, rows: int, seconds: float) -> None:
        """Take in how long a run took."""
        if rows == 1:
            self._single.append(seconds)
        elif self._single:
            self._more.append(max(seconds / median(self._single) - 1, 0.0) / (rows - 1))

    def draft(self, chances: Sequence[float]) -> int:
        """How many tokens to draft, 0 for the plain step, given the chance of each if those before it are right."""
        if len(self._single) < 3:
            return 0
        if not self._more:
            return _best(chances[: self.TRIAL_ROWS - 1], self.FIRST)
        count = _best(chances, median(self._more))
        if count:
            self._patience, self._waited = self.PATIENCE, 0
        elif _best(chances, self.FIRST):
            self._wait()
        return count

    def _wait(self) -> None:
        """One more step at which only the measured cost speaks against a round; the machine was busy, perhaps."""
        self._waited += 1
        if self._waited >= self._patience:
            self._more.clear()
            self._waited = 0
            self._patience = min(2 * self._patience, self.MOST_PATIENCE)


class Speculation:
    """Drafts for one answer."""

    def __init__(self, prompt: Iterable[int], stops: frozenset[int], pace: Pace) -> None:
        self._lookup = Lookup(prompt)
        self._odds = Odds()
        self._stops = stops
        self.pace = pace

    def add(self, token: int) -> None:
        """Take in the next token of the answer."""
        matched = self._lookup.matched
        self._odds.learn(matched, self._lookup.add(token))

    def draft(self, room: int) -> list[int]:
        """Tokens to verify together with the newest one, at most `room`, none of them a stop; none: not worth while."""
        matched = self._lookup.matched
        if not matched:
            return []
        most = min(room, MOST_ROWS - 1)
        count = self.pace.draft([self._odds.chance(matched + place) for place in range(most)])
        return list(takewhile(lambda token: token not in self._stops, self._lookup.draft(count)))


def _best(chances: Sequence[float], more: float) -> int:
    """The length of the draft with the most tokens for its seconds; 0 where none promises ONSET.

    >>> _best([0.9, 0.9, 0.9], 0.1), _best([0.1, 0.1], 0.2), _best([0.9, 0.9], 1.0)
    (3, 0, 0)
    """
    best, length = ONSET, 0
    tokens = 1.0
    for drafted, all_right in enumerate(accumulate(chances, mul), 1):
        tokens += all_right
        worth = tokens / (1 + more * drafted)
        if worth > best:
            best, length = worth, drafted
    return length
