"""How a command of the shell ended, in words."""

from __future__ import annotations

import doctest

import pytest

from shammah.screen import endings


def test_the_examples_are_true() -> None:
    assert doctest.testmod(endings).failed == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "It ended with status 1."),
        (255, "It ended with status 255."),
        (130, "It was stopped with Ctrl-C."),
        (-2, "It was stopped with Ctrl-C."),
        (0xC000013A, "It was stopped with Ctrl-C."),
        (0xC0000005, "It ended with status 3221225477."),
        (-15, "It was ended by SIGTERM."),
    ],
)
def test_a_status_is_told_in_words(status: int, words: str) -> None:
    assert endings.how_it_ended(status) == words
