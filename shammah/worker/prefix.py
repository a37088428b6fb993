"""What the KV cache already holds of the next prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

TO_RUN = 2
"""Prompt tokens that are always run again: the last one's logits pick the first new token, and it never runs alone.

A single row takes another kernel than several rows, with other rounding (1e-2 in the logits after 100 tokens, where
any two slicings into two rows or more agree to the last bit). So prompts are read two rows at a time or more, and only
what was read so is kept: then an answer does not depend on what the cache held before.
"""


def shared_prefix(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """Count the tokens at the start that both share, always leaving TO_RUN to run.

    >>> shared_prefix([1, 2, 3, 4], [1, 2, 9, 9, 9])
    2
    """
    limit = max(min(len(cached), len(prompt) - TO_RUN), 0)
    for place in range(limit):
        if cached[place] != prompt[place]:
            return place
    return limit


def slices(start: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """Cut [start, end) into parts of `length`; what would be a last part of one token joins the one before.

    >>> list(slices(0, 9, 4))
    [(0, 4), (4, 9)]
    """
    while start < end:
        stop = end if end - start <= length + 1 else start + length
        yield start, stop
        start = stop
