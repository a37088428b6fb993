"""Text from its bytes, whoever wrote them."""

from __future__ import annotations

import codecs

import pytest

from shammah.decoding import text_of

TEXT = "Grüße, 你好\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
    ids=["UTF-8", "UTF-8 with a mark", "UTF-16 of PowerShell", "UTF-16 the other way round"],
)
def test_a_text_is_read_by_its_mark_or_as_utf_8(data: bytes) -> None:
    assert text_of(data, own="cp1252") == TEXT


@pytest.mark.parametrize(("text", "own"), [("Grüße – „gut“", "cp1252"), ("Привет", "cp1251"), ("你好", "cp936")])
def test_a_text_that_is_no_utf_8_is_in_the_systems_own_encoding(text: str, own: str) -> None:
    assert text_of(text.encode(own), own=own) == text


@pytest.mark.parametrize("own", ["utf-8", "ascii", "cp1252", "cp1251"])
@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\xff", b"MZ\x90\0\x03\0"])
def test_what_is_no_text_is_refused(data: bytes, own: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        text_of(data, own=own)


def test_half_a_text_is_better_than_none_where_that_is_wanted() -> None:
    assert text_of(b"good \xff bad", own="utf-8", errors="replace") == "good \ufffd bad"
    assert text_of("abc".encode("utf-16") + b"d", errors="replace").startswith("abc")


def test_each_end_of_a_line_is_a_newline() -> None:
    assert text_of(b"one\r\ntwo\rthree\n") == "one\ntwo\nthree\n"
