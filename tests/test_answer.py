"""How one answer is shown while it comes."""

from __future__ import annotations

import io
from collections.abc import Generator

from shammah.message import Event, Finish, Notice, Piece, Timing, Trimmed, Usage, Waiting
from shammah.screen.answer import WaitingLine, cost, receipt_line, show_answer

FINISH = Finish("stop", Usage(236, 211, 63), Timing(0.4, 3.2, 22.1))


class Screen:
    """Takes what is written."""

    def __init__(self) -> None:
        self.said, self.closed = "", False
        self.notes: list[str] = []

    def show(self, events: list[Event | Notice], stop_after: int = 10_000) -> Finish | None:
        calls = iter(range(10_000))
        return show_answer(
            self._generator(events),
            write=self._write,
            end=lambda: self._write("|"),
            note=self.notes.append,
            waiting=None,
            stop_pressed=lambda: next(calls) >= stop_after,
        )

    def _write(self, text: str) -> None:
        self.said += text

    def _generator(self, events: list[Event | Notice]) -> Generator[Event | Notice]:
        try:
            yield from events
        finally:
            self.closed = True


def test_pieces_are_written_and_the_line_is_ended() -> None:
    screen = Screen()
    assert screen.show([Piece("a"), Waiting(), Piece("b"), FINISH]) == FINISH
    assert screen.said == "ab|"


def test_a_stop_closes_the_answer_and_ends_its_line() -> None:
    screen = Screen()
    assert screen.show([Piece("a"), Piece("b"), Piece("c")], stop_after=1) is None
    assert (screen.said, screen.closed) == ("ab|", True)


def test_a_stop_before_the_first_piece_leaves_no_empty_line() -> None:
    screen = Screen()
    screen.show([Waiting("reading", 64, 200), Waiting("reading", 128, 200)], stop_after=0)
    assert screen.said == ""


def test_what_is_left_out_is_told_before_the_answer() -> None:
    screen = Screen()
    screen.show([Trimmed(2, 4096), Piece("a"), FINISH])
    assert screen.notes == [
        "The conversation no longer fits 4,096 tokens: the 2 oldest turns are left out from here on. /context shows it."
    ]


def test_a_notice_stands_beside_the_answer() -> None:
    screen = Screen()
    screen.show([Notice("The disk is full", "Free some space"), Piece("a"), FINISH])
    assert screen.notes == ["The disk is full. Free some space."]


def _line(width: int = 80) -> tuple[WaitingLine, io.StringIO, list[float]]:
    out, now = io.StringIO(), [0.0]
    return WaitingLine(out, lambda: width, lambda: now[0]), out, now


def test_a_short_wait_passes_without_a_word() -> None:
    line, out, now = _line()
    now[0] = 0.2
    line.show(Waiting("loading"))
    assert out.getvalue() == ""


def test_reading_tells_how_far_it_is_and_how_long_it_takes() -> None:
    line, out, now = _line()
    line.show(Waiting("reading", 0, 3400))
    now[0] = 2.0
    line.show(Waiting("reading", 1200, 3400))
    assert out.getvalue().endswith("reading 1,200 of 3,400 tokens · 4 s left · Ctrl-C stops")


def test_the_waiting_line_fits_a_narrow_screen_and_goes_away() -> None:
    line, out, now = _line(width=12)
    now[0] = 1.0
    line.show(Waiting("loading"))
    line.clear()
    assert out.getvalue() == "\r\x1b[2Kloading the\r\x1b[2K"


def test_the_receipt_tells_who_how_much_how_fast_and_what_was_sent() -> None:
    assert receipt_line("local", "qwen2.5-1.5b", "cpu", FINISH) == (
        "local qwen2.5-1.5b · cpu · 63 tokens · first word 0.4 s · 22/s"
        " · 211 of 236 prompt tokens from cache · nothing sent"
    )


def test_an_estimate_is_told_once() -> None:
    assert cost(0.02, estimated=True) == "about $0.02"
    assert cost(0.00001, estimated=True) == "less than $0.0001"


def test_a_model_named_with_control_characters_is_shown_harmless() -> None:
    assert "\x1b" not in receipt_line("local", "evil\x1b[2J", "cpu", FINISH)


def test_a_notice_without_a_next_step_is_one_sentence() -> None:
    screen = Screen()
    screen.show([Notice("The disk is full", "Free some space"), Notice("That is all"), FINISH])
    assert screen.notes == ["The disk is full. Free some space.", "That is all."]
