"""An answer, an error and a remark, as they are written to a stream."""

from __future__ import annotations

import errno
import io
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from shammah.errors import ConfigError, ShammahError
from shammah.screen.printer import (
    error_lines,
    markdown_printer,
    notice,
    output_told,
    plain_printer,
    screen_width,
    use_color,
)

TRIAL = runpy.run_path(str(Path(__file__).resolve().parent.parent / "scripts" / "trial_terminal_text.py"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_plain_answer_ends_with_exactly_one_newline() -> None:
    for text in ("answer", "answer\n"):
        out = io.StringIO()
        printer = plain_printer(out)
        printer.write(text)
        printer.end()
        assert out.getvalue() == "answer\n"


def test_an_empty_answer_prints_nothing() -> None:
    for out in (io.StringIO(), io.StringIO()):
        plain_printer(out).end()
        markdown_printer(out, color=True).end()
        assert out.getvalue() == ""


def test_each_piece_is_flushed_as_it_comes() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as out, os.fdopen(reader, "rb", buffering=0) as seen:
        plain_printer(out).write("now")
        assert seen.read(10) == b"now"


def test_a_closed_pipe_is_told_to_the_caller() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = os.fdopen(writer, "w", encoding="utf-8")
    with pytest.raises(BrokenPipeError):
        plain_printer(out).write("nobody listens")
    with pytest.raises(BrokenPipeError):
        out.close()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["as elsewhere", "as on Windows"])
def test_a_reader_that_is_gone_is_no_fault_of_the_disk(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(BrokenPipeError), output_told():
            raise OSError(number, os.strerror(number))


def test_an_output_that_is_refused_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "answer").open("w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(ShammahError, match="Standard output cannot be written to: Invalid argument"), output_told():
            raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_stream_that_lacks_a_character_gets_its_number(encoding: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, newline="")
    printer = markdown_printer(out, color=False)
    printer.write("- 日本\n- [x] done\n\n---\n")
    printer.end()
    assert raw.getvalue().startswith(b"* \\u65e5\\u672c\n[x] done\n\n-----")


def test_an_error_is_one_line_and_a_hint_another() -> None:
    error = ConfigError("There is\nno \x1b[31msetting\r\n  x", hint="Look\n\nhere\u202e")
    assert error_lines(error) == "error: There is no ␛[31msetting x\nhint: Look here<U+202E>"


def test_a_notice_is_dim_only_in_colour() -> None:
    assert notice("one\ntwo\x07", color=False) == "one\ntwo␇"
    assert re.sub(r"\x1b\[\d+m", "", notice("one\n\ntwo", color=True)) == "one\n\ntwo"
    assert notice("one", color=True).endswith("\x1b[0m")


def test_colour_is_for_terminals_of_those_who_want_it() -> None:
    assert use_color(Terminal(), no_color=False, term="xterm-256color")
    assert not use_color(Terminal(), no_color=True, term="xterm-256color")
    assert not use_color(Terminal(), no_color=False, term="dumb")
    assert not use_color(io.StringIO(), no_color=False, term="xterm-256color")


def test_a_stream_without_a_terminal_is_as_wide_as_usual() -> None:
    assert screen_width(io.StringIO()) == 80


@pytest.mark.parametrize("way", sorted(TRIAL["ways"]()))
def test_no_payload_reaches_the_terminal_however_it_is_split(way: str) -> None:
    show = TRIAL["ways"]()[way]
    for payload in TRIAL["PAYLOADS"]:
        for pieces in TRIAL["splits"](payload):
            assert TRIAL["forbidden"](show(pieces)) == ""
