"""The bottom line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wcwidth import wcswidth

from shammah.screen.toolbar import Status, bottom_line, share

STATUS = Status("starter", "ready", "auto", speed=163.7, filled=120, context=4096)


def test_it_tells_who_answers_in_what_state_how_fast_and_how_full():
    assert bottom_line(STATUS, 80) == " starter answers · ready · auto · 164/s · context 3 %"


def test_speed_and_context_are_left_out_while_they_are_not_known():
    assert bottom_line(Status("starter", "loading", "auto"), 80) == " starter answers · loading · auto"


@pytest.mark.parametrize("engine", ["starter", "通义千问"])
@pytest.mark.parametrize("width", range(1, 80))
def test_it_never_exceeds_the_screen(width: int, engine: str):
    for state in ("ready", "千问 failed: 没有地址 for huggingface.co"):
        assert wcswidth(bottom_line(replace(STATUS, engine=engine, state=state), width)) <= width


def test_a_narrow_screen_keeps_who_answers():
    assert bottom_line(STATUS, 20) == " starter answers"


def test_the_mode_is_told_before_why_something_failed():
    failed = replace(STATUS, state="1.5B failed: No address is known for huggingface.co")
    assert bottom_line(failed, 80) == " starter answers · 1.5B failed: No address is known for huggingface.co · auto"
    assert bottom_line(failed, 50) == " starter answers · 1.5B failed: No address… · auto"
    assert bottom_line(failed, 30) == " starter answers · auto"


def test_a_notice_takes_its_place():
    assert bottom_line(Status("nobody", "", "auto", notice="nobody may answer"), 80) == " nobody may answer"


def test_more_than_full_is_shown_as_full():
    assert share(5000, 4096) == "100 %"
