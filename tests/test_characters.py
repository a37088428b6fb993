"""Halves of characters, as JSON, terminals of Windows and broken-off streams give them."""

from __future__ import annotations

from shammah.characters import whole_characters


def test_halves_of_a_pair_are_joined_and_a_half_alone_is_replaced():
    assert whole_characters("a\ud83d\ude00é\ud83d") == "a\U0001f600é\ufffd"
