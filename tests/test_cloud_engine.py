"""Claude as an engine: the real SDK against a server on loopback that goes wrong in every known way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from shammah.message import Event, Message, Options, Piece, Spent, Waiting
from tests.cloud import AT_ONCE, WHOLE, Made, make
from tests.fakes import finish_of, said, user
from tests.servers.claude import (
    HOWS,
    KEY,
    MODEL,
    Answer,
    Cut,
    Hangup,
    How,
    Silence,
    Status,
    event,
    events_of,
)

__all__ = ["make"]


def spent(events: Sequence[Event]) -> list[Spent]:
    return [each for each in events if isinstance(each, Spent)]


def retries(events: Sequence[Event]) -> list[Waiting]:
    return [each for each in events if isinstance(each, Waiting) and each.what == "retrying"]


# What is asked


def test_it_is_asked_with_the_system_prompt_the_conversation_and_the_cache(make: Made) -> None:
    room = make()
    events = room.ask(Message("system", "Be kind"), user("One"), Message("assistant", "1"), user("Two"))
    assert said(events) == WHOLE
    assert finish_of(events).reason == "stop"
    assert room.claude.questions[0].body == {
        "model": MODEL,
        "max_tokens": 4096,
        "system": "Be kind",
        "messages": [
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "Two"},
        ],
        "cache_control": {"type": "ephemeral"},
        "stream": True,
    }


def test_neighbours_of_one_role_are_joined_and_what_is_empty_is_left_out(make: Made) -> None:
    room = make()
    room.ask(Message("system", " "), user("One"), Message("assistant", ""), user("Two"))
    body = room.claude.questions[0].body
    assert body["messages"] == [{"role": "user", "content": "One\n\nTwo"}]
    assert "system" not in body


@pytest.mark.parametrize(
    ("chosen", "sent"),
    [(Options(), 4096), (Options(max_tokens=5), 5), (Options(max_tokens=1024), 1024), (Options(9000), 4096)],
)
def test_only_a_length_that_was_chosen_shortens_the_answer(make: Made, chosen: Options, sent: int) -> None:
    room = make()
    room.ask(options=chosen)
    assert room.claude.questions[0].body["max_tokens"] == sent


def test_options_that_no_longer_exist_are_not_sent_but_named(make: Made) -> None:
    room = make()
    options = Options(temperature=0.5, top_k=3, seed=1)
    room.ask(options=options)
    assert not {"temperature", "top_k", "seed"} & set(room.claude.questions[0].body)
    assert room.engine.ignores(options) == ["temperature", "top_k", "seed"]
    assert room.engine.ignores(Options()) == []


def test_half_a_character_in_a_question_does_not_keep_it_from_being_asked(make: Made) -> None:
    room = make()
    room.ask(user("Look \ud83d here"))
    assert room.claude.questions[0].body["messages"][0]["content"] == "Look \ufffd here"


# What leaves


def test_the_bytes_sent_are_the_bytes_that_came(make: Made) -> None:
    room = make()
    finish = finish_of(room.ask(user("Größe 漢字 " * 500)))
    assert finish.spent.sent_bytes == len(room.claude.heard)


def test_the_bytes_of_all_tries_are_counted(make: Made) -> None:
    room = make()
    room.claude.faults = [Status(529, headers={"retry-after": "0"}), Hangup()]
    assert finish_of(room.ask()).spent.sent_bytes == len(room.claude.heard)
    assert len(room.claude.questions) == 3


def test_bytes_are_told_before_the_answer_begins(make: Made) -> None:
    room = make(Silence())
    told: list[Event] = []
    for each in room.engine.reply([user("Hello")], Options()):
        told.append(each)
        if len(spent(told)) == 2:
            break
    assert spent(told)[-1].sent_bytes == len(room.claude.heard)


def test_nothing_goes_out_that_tells_of_this_machine_or_comes_from_a_forgotten_variable(
    make: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "ANTHROPIC_CUSTOM_HEADERS",
        "x-mine: 1\nauthorization: Bearer other\nanthropic-version: old\nhost: other.example\ncontent-length: 3",
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-another")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    room = make()
    assert said(room.ask()) == WHOLE
    headers = room.claude.questions[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["anthropic-version"] != "old"
    assert headers["host"] == room.claude.url.removeprefix("http://")
    assert sorted(headers) == [
        "accept",
        "accept-encoding",
        "anthropic-version",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ]


def test_the_conversation_does_not_follow_to_another_address(make: Made) -> None:
    room = make(Status(307, headers={"location": "/elsewhere"}))
    assert "sends to another address" in str(room.fails())
    assert [asked.path for asked in room.claude.asked] == ["/v1/messages"]


def test_a_connection_is_used_again(make: Made) -> None:
    room = make()
    room.ask()
    room.ask()
    assert room.claude.connections == 1


def test_nothing_is_sent_and_no_sdk_is_loaded_before_the_first_question() -> None:
    program = (
        "import sys, pathlib, shammah.cloud.access as access, shammah.cloud.spending as spending\n"
        "from shammah.config import Cloud\n"
        "plan = access.CloudPlan(pathlib.Path('.'), 'k', 'http://127.0.0.1:9', spending.Spending(pathlib.Path('s')))\n"
        "access.Cloud(plan).want(Cloud(), 'auto')\n"
        "print([name for name in ('anthropic', 'httpx2', 'asyncio', 'pydantic') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['asyncio']\n"


# What comes


def test_text_comes_whole_however_its_bytes_are_cut(make: Made) -> None:
    pieces = ["Grüße", " 漢字", " 👩‍👩‍👧", " ende"]
    room = make(Answer(pieces, at_a_time=1))
    events = room.ask()
    assert [each.text for each in events if isinstance(each, Piece)] == pieces


def test_a_character_split_over_two_parts_comes_as_one(make: Made) -> None:
    room = make(Answer(["a\ud83d", "\udc4db", "\ude00c"]))
    room.claude.answer = Answer(
        ["a", "b"], extra=[_raw_delta("\\ud83d"), _raw_delta("\\udc4d!"), _raw_delta("\\ude00")]
    )
    assert said(room.ask()) == "ab👍!\ufffd"


def _raw_delta(escaped: str) -> bytes:
    data = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"' + escaped + '"}}'
    return f"event: content_block_delta\ndata: {data}\n\n".encode()


def test_unknown_events_and_thoughts_are_passed_over(make: Made) -> None:
    thinking = {"type": "thinking_delta", "thinking": "hm"}
    extra = [
        event({"type": "something_new", "index": "?"}),
        event({"type": "ping"}),
        b": a comment\n\n",
        event({"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": ""}}),
        event({"type": "content_block_delta", "index": 1, "delta": thinking}),
        event({"type": "content_block_stop", "index": 1}),
    ]
    events = make(Answer(extra=extra)).ask()
    assert (said(events), finish_of(events).reason) == (WHOLE, "stop")


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length")],
)
def test_how_it_ended_is_told(make: Made, stop_reason: str, reason: str) -> None:
    assert finish_of(make(Answer(stop_reason=stop_reason)).ask()).reason == reason


@pytest.mark.parametrize(
    ("stop_reason", "words", "trouble"),
    [
        ("refusal", "Claude declines to answer this", "refused"),
        ("model_context_window_exceeded", "come to the end of what claude-sonnet-5-5 can read", "too long"),
    ],
)
def test_what_claude_will_or_can_not_say_is_told(make: Made, stop_reason: str, words: str, trouble: str) -> None:
    room = make(Answer(stop_reason=stop_reason))
    finish = finish_of(room.ask())
    assert finish.reason == "failed"
    assert words in finish.error
    assert finish.hint
    room.claude.answer = Answer([], stop_reason=stop_reason)
    assert room.fails().trouble == trouble


def test_an_answer_that_was_all_thought_is_told_with_the_next_step(make: Made) -> None:
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm " * 99}}
    room = make(Answer([], "max_tokens", extra=[event(thought)], usage={"output_tokens": 4096}))
    error = room.fails()
    assert str(error) == "Claude thought for 4096 tokens and had none left to answer"
    assert "cloud.max_tokens" in error.hint
    day = room.spending.today()
    assert day.cost_usd > 4096 * 10 / 1e6


def test_usage_and_cost_are_those_that_were_counted(make: Made) -> None:
    counted = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "cache_read_input_tokens": 5000,
        "output_tokens": 40,
    }
    finish = finish_of(make(Answer(usage=counted), model="claude-opus-4-6").ask())
    assert finish.usage.prompt_tokens == 6100
    assert finish.usage.cached_tokens == 5000
    assert finish.usage.completion_tokens == 40
    assert finish.spent.estimated is False
    assert finish.spent.cost_usd == pytest.approx((100 * 5 + 1000 * 6.25 + 5000 * 0.5 + 40 * 25) / 1e6, abs=1e-12)


def test_an_answer_without_a_known_price_has_no_cost(make: Made) -> None:
    room = make(model="claude-of-the-future")
    assert finish_of(room.ask()).spent.cost_usd is None
    assert room.spending.today().unknown == 1


# What goes wrong with the stream


def _at(part: str) -> int:
    """The place in the stream of a right answer right after this text."""
    whole = b"".join(events_of(Answer(), {"model": MODEL}))
    return whole.index(part.encode()) + len(part)


@pytest.mark.parametrize("how", HOWS)
def test_a_stream_that_is_harmed_after_its_first_piece_is_never_a_complete_answer(make: Made, how: How) -> None:
    room = make(patience=AT_ONCE)
    room.claude.faults = [Cut(_at(" and") + 800, how)]
    events = room.ask()
    finish = finish_of(events)
    assert finish.reason == "failed"
    assert finish.error
    assert finish.hint
    assert finish.spent.estimated
    assert said(events)
    assert WHOLE.startswith(said(events))
    assert len(room.claude.questions) == 1
    assert said(room.ask()) == WHOLE


@pytest.mark.parametrize("how", HOWS)
def test_a_stream_that_is_harmed_before_its_first_piece_is_an_error(make: Made, how: How) -> None:
    room = make(patience=AT_ONCE)
    room.claude.faults = [Cut(30, how)]
    room.fails()
    assert said(room.ask()) == WHOLE


@pytest.mark.parametrize("how", ["end", "rst", "overloaded", "json"])
def test_a_stream_that_is_harmed_before_its_first_piece_is_tried_again(make: Made, how: How) -> None:
    room = make()
    room.claude.faults = [Cut(30, how)]
    events = room.ask()
    assert said(events) == WHOLE
    assert retries(events)


def test_the_end_of_the_line_after_the_end_of_the_answer_harms_nothing(make: Made) -> None:
    whole = len(b"".join(events_of(Answer(), {"model": MODEL, "max_tokens": 4096})))
    room = make(Cut(whole, "rst"))
    assert finish_of(room.ask()).reason in ("stop", "failed")


def test_silence_is_told_with_its_seconds(make: Made) -> None:
    for play in (Silence(), Silence(headers=True), Cut(30, "drip")):
        assert str(make(play).fails()) == "Claude has been silent for 0.4 s"


def test_an_interrupted_answer_is_estimated_from_what_came(make: Made) -> None:
    room = make(Answer(["word"] * 200, delay_s=0.001, usage={"input_tokens": 1000}))
    answer = room.engine.reply([user("Hello")], Options())
    seen: list[Event] = []
    for each in answer:
        seen.append(each)
        if len(said(seen)) >= 4 * 100:
            break
    answer.close()
    last = spent(seen)[-1]
    assert last.estimated
    assert last.usage is not None
    assert last.usage.prompt_tokens == 1000
    assert 80 <= last.usage.completion_tokens <= 100
    day = room.spending.today()
    assert (day.requests, day.estimated, day.unknown) == (1, 1, 0)
    assert day.cost_usd == pytest.approx((1000 * 2 + 100 * 10) / 1e6, rel=0.2)
