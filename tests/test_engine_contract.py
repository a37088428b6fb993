"""What every engine keeps to: the fake, the starter behind its worker process, and Claude behind a loopback server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.spending import Spending
from shammah.config import Cloud as CloudSettings
from shammah.engine import Engine
from shammah.errors import EngineError, WorkerError
from shammah.local.client import LocalEngine
from shammah.message import Event, Finish, Options, Piece, Spent, Trimmed, Waiting
from tests.fakes import LONG, FakeEngine, Script, finish_of, said, up_to_piece, user
from tests.servers.claude import KEY, Answer, Claude

SHORT = Options(max_tokens=5, seed=1)


@dataclass(frozen=True)
class Case:
    """An engine whose answer to LONG options is long, and a way to make a running answer fail."""

    engine: Engine
    strike: Callable[[], None]


@pytest.fixture
def fake_case() -> Case:
    fake = FakeEngine(Script(["Well, ", *["and "] * 30, "so."], delay_s=0.005))
    return Case(fake, lambda: fake.strike(WorkerError("The worker is gone", hint="Ask again")))


@pytest.fixture
def real_case(engine: LocalEngine) -> Case:
    def kill() -> None:
        assert engine.pid is not None
        psutil.Process(engine.pid).kill()

    return Case(engine, kill)


@pytest.fixture
def claude_case(tmp_path: Path) -> Iterator[Case]:
    with Claude(Answer(delay_s=0.02)) as claude:
        cloud = Cloud(CloudPlan(tmp_path, KEY, claude.url, Spending(tmp_path / "spending.db")))
        cloud.want(CloudSettings(), "cloud")
        assert cloud.engine is not None
        yield Case(cloud.engine, claude.strike)
        cloud.close()


@pytest.fixture(params=["fake_case", "real_case", "claude_case"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each engine in turn."""
    found: Case = request.getfixturevalue(request.param)
    return found


def ask(engine: Engine, text: str = "Hello", options: Options = SHORT) -> list[Event]:
    return list(engine.reply([user(text)], options))


def test_events_end_with_exactly_one_finish(case: Case) -> None:
    events = ask(case.engine)
    assert [type(event) for event in events].count(Finish) == 1
    assert finish_of(events).reason in ("stop", "length")
    assert all(isinstance(event, Piece | Waiting | Spent | Trimmed) for event in events[:-1])


def test_the_finish_counts_tokens_and_time(case: Case) -> None:
    events = ask(case.engine, options=LONG)
    finish = finish_of(events)
    assert finish.usage.completion_tokens == sum(event.tokens for event in events if isinstance(event, Piece))
    assert 0 <= finish.usage.cached_tokens <= finish.usage.prompt_tokens
    assert 0 < finish.timing.first_token_s <= finish.timing.total_s
    assert finish.timing.tokens_per_s > 0


def test_an_answer_is_no_longer_than_was_asked_for(case: Case) -> None:
    finish = finish_of(ask(case.engine, options=Options(max_tokens=3, temperature=100.0, top_k=4096, seed=2)))
    assert (finish.reason, finish.usage.completion_tokens) == ("length", 3)


def test_the_same_conversation_can_be_asked_again(case: Case) -> None:
    assert said(ask(case.engine)) == said(ask(case.engine))


def test_closing_before_the_first_event_leaves_nothing_behind(case: Case) -> None:
    case.engine.reply([user("Hello")], LONG).close()
    assert finish_of(ask(case.engine)).reason in ("stop", "length")


def test_closing_stops_the_work_and_the_next_question_is_answered(case: Case) -> None:
    endless = Options(max_tokens=1_000_000, temperature=100.0, top_k=4096, seed=1)
    stopped = case.engine.reply([user("Tell me everything")], endless)
    up_to_piece(stopped)
    stopped.close()
    assert finish_of(ask(case.engine)).reason in ("stop", "length")


def test_an_answer_that_was_stopped_leaves_nothing_in_the_next_one(case: Case) -> None:
    alone = said(ask(case.engine, "What is this?"))
    for _ in range(5):
        stopped = case.engine.reply([user("Tell me everything")], LONG)
        up_to_piece(stopped)
        stopped.close()
        assert said(ask(case.engine, "What is this?")) == alone


def test_a_fault_before_the_first_piece_is_raised_and_the_next_call_works(case: Case) -> None:
    with pytest.raises(EngineError) as told:
        ask(case.engine, "long " * 5000)
    assert told.value.hint
    assert finish_of(ask(case.engine)).reason in ("stop", "length")


def test_a_fault_after_the_first_piece_is_a_finish_that_says_so(case: Case) -> None:
    answer = case.engine.reply([user("Tell me everything")], LONG)
    events = up_to_piece(answer)
    case.strike()
    events += answer
    finish = finish_of(events)
    assert finish.reason == "failed"
    assert finish.error
    assert finish.hint
    assert finish.usage.completion_tokens == sum(event.tokens for event in events if isinstance(event, Piece)) > 0
    assert finish_of(ask(case.engine)).reason in ("stop", "length")


def test_something_is_heard_at_least_every_third_of_a_second(case: Case) -> None:
    heard = [time.monotonic()]
    for _ in case.engine.reply([user("Tell me " * 250)], replace(LONG, max_tokens=100)):
        heard.append(time.monotonic())
    # A busy machine may hold the test itself up, now and then.
    late = [after - before for before, after in pairwise(heard) if after - before > 0.3]
    assert len(late) <= len(heard) // 10 + 1, late
