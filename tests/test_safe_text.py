"""Text from outside cannot control the terminal, hide, or be lost."""

from __future__ import annotations

import re
import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.screen import safe_text as module
from shammah.screen.safe_text import MOST_MARKS, SafeText, safe_text

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Mn", "Me"]),
        st.sampled_from("\x1b\r\n\t\x07\x08\x9b\u200d\u200c\ufe0f\u202e\U000e0041\u0301a#❤👩"),
    )
)


def in_pieces(text: str, cuts: list[int]) -> str:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    safe = SafeText()
    return "".join(safe.feed(text[a:b]) for a, b in pairwise(places)) + safe.flush()


def forbidden(text: str) -> str:
    """The characters that must never reach a terminal, told by Unicode alone."""
    emoji = "\u200c\u200d"
    return "".join(
        char
        for char in text
        if char not in "\n\t"
        and char not in emoji
        and not 0x600 <= ord(char) <= 0x8E2
        and char not in "\U000110bd\U000110cd"
        and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\twith a tab\nand a line", "plain text\twith a tab\nand a line"),
        ("Grüße, привет, 日本語, naïve", "Grüße, привет, 日本語, naïve"),
        ("\x1b[2J", "␛[2J"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b31m", "<U+009B>31m"),
        ("\x7f\x08\x00", "␡␈␀"),
        ("one\r\ntwo\rthree\r", "one\ntwo␍three␍"),
        ("\r\r\n", "␍\n"),
        ("safe\u202egnp.exe", "safe<U+202E>gnp.exe"),
        ("a\u200bb\u2060c\ufeffd\xade", "a<U+200B>b<U+2060>c<U+FEFF>d<U+00AD>e"),
        ("\u2028\u2029\x85", "<U+2028><U+2029><U+0085>"),
        ("hi\U000e0068\U000e0069", "hi<U+E0068><U+E0069>"),
        ("\ud800 \ue000 \ufdd0 \U0010ffff", "<U+D800> <U+E000> <U+FDD0> <U+10FFFF>"),
        ("a\u3164b\u115fc", "a<U+3164>b<U+115F>c"),
        ("❤️ 👩‍👩‍👧 1️⃣ 👍🏽 🇩🇪", "❤️ 👩‍👩‍👧 1️⃣ 👍🏽 🇩🇪"),
        ("a\ufe0f a\u200db", "a<U+FE0F> a<U+200D>b"),
        ("می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
        ("a\u200c\u200c", "a<U+200C><U+200C>"),
        ("\u0301alone", "◌\u0301alone"),
        ("\U0001fae9", "\U0001fae9"),
    ],
)
def test_what_cannot_be_seen_is_shown_and_the_rest_is_left_alone(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_marks_beyond_the_limit_are_counted_and_not_drawn() -> None:
    assert safe_text("a" + "\u0301" * 50 + "b") == "a" + "\u0301" * MOST_MARKS + "<+42 marks>b"


@given(HOSTILE, st.lists(st.integers(0, 100)))
def test_the_result_does_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == safe_text(text)


@given(HOSTILE)
def test_nothing_forbidden_comes_out(text: str) -> None:
    assert forbidden(safe_text(text)) == ""


@given(HOSTILE)
def test_safe_text_is_left_as_it_is(text: str) -> None:
    assert safe_text(safe_text(text)) == safe_text(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_letters_and_signs_come_through_unchanged(text: str) -> None:
    seen = "".join(char for char in text if not module._UNSEEN.match(char) and not module._STACKED.match(char))
    assert safe_text(seen) == seen


def test_the_short_way_is_only_for_characters_that_may_pass() -> None:
    short = re.compile(f"[{module._ORDINARY}]")
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if short.match(char) and char not in "\n\t":
            assert char.isprintable() or unicodedata.category(char) == "Zs", hex(code)
            assert unicodedata.category(char)[0] != "M", hex(code)
            assert not module._UNSEEN.match(char), hex(code)
