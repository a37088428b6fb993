"""Claude as the chat sees it: budget, mode, key, and that no secret gets out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from shammah.cloud.access import Cloud, CloudPlan, check_key, unencrypted
from shammah.cloud.key import Found, Key, save
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.errors import CloudError
from shammah.message import Options
from tests.cloud import AT_ONCE, QUICK, WHOLE, Made, make
from tests.fakes import finish_of, said, until, up_to_piece, user
from tests.servers.claude import (
    KEY,
    Answer,
    Claude,
    Cut,
    Hangup,
    Page,
    Play,
    Silence,
    Status,
    event,
)

__all__ = ["make"]

FOUND = Found(Key(KEY), "environment")


# The budget


def test_nothing_is_sent_when_the_budget_is_spent(make: Made) -> None:
    room = make(Answer(usage={"input_tokens": 1_000_000}), daily_budget_usd=1.0)
    room.ask()
    error = room.fails()
    assert error.trouble == "budget"
    assert (room.cloud.state, len(room.claude.questions)) == ("no budget", 1)
    room.cloud.want(Settings(daily_budget_usd=9.0), "cloud")
    assert (room.cloud.state, room.cloud.trouble) == ("ready", "")
    room.ask()


def test_a_running_request_is_set_aside_from_the_budget(make: Made) -> None:
    room = make(Answer(delay_s=0.05), daily_budget_usd=0.01)
    running = room.engine.reply([user("Hello")], Options())
    up_to_piece(running)
    assert room.fails().trouble == "budget"
    running.close()
    assert room.spending.today().unknown == 0


# The door


def test_in_mode_local_nobody_is_there_to_ask(make: Made) -> None:
    room = make()
    room.ask()
    room.cloud.want(Settings(), "local")
    assert room.cloud.engine is None
    room.cloud.import_ahead()
    room.cloud.want(Settings(), "auto")
    assert said(room.ask()) == WHOLE


def test_going_local_in_the_middle_of_an_answer_ends_it(make: Made) -> None:
    room = make(Answer(delay_s=0.1))
    answer = room.engine.reply([user("Hello")], Options())
    events = up_to_piece(answer)
    room.cloud.want(Settings(), "local")
    events += answer
    assert finish_of(events).reason == "failed"


SLOW_SDK = """
import importlib.abc, pathlib, socket, sys, time
from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.message import Message, Options

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        time.sleep(1.0 if name == "anthropic" else 0)

lookups, look_up = [], socket.getaddrinfo
socket.getaddrinfo = lambda *given, **named: lookups.append(given) or look_up(*given, **named)
sys.meta_path.insert(0, Slow())
folder = pathlib.Path(sys.argv[1])
cloud = Cloud(CloudPlan(folder, "a-key", sys.argv[2], Spending(folder / "s.db")))
cloud.want(Settings(), "auto")
answer = cloud.engine.reply([Message("user", "Hello")], Options())
next(answer), next(answer)
{leave}
while "anthropic.types" not in sys.modules or cloud._link and not cloud._link._client:
    time.sleep(0.1)
time.sleep(1.0)
print(lookups)
"""


@pytest.mark.parametrize("leave", ["answer.close()", "cloud.want(Settings(), 'local')"])
def test_who_leaves_while_the_sdk_is_loaded_sends_nothing(make: Made, tmp_path: Path, leave: str) -> None:
    room = make()
    program = SLOW_SDK.replace("{leave}", leave)
    command = [sys.executable, "-c", program, str(tmp_path), room.claude.url.replace("127.0.0.1", "localhost")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert room.claude.connections == 0


def test_without_a_key_there_is_no_engine(tmp_path: Path) -> None:
    cloud = Cloud(CloudPlan(tmp_path, "", "http://127.0.0.1:9", Spending(tmp_path / "s.db")))
    cloud.want(Settings(), "auto")
    assert (cloud.engine, cloud.state, cloud.trouble) == (None, "no key", "There is no key for Claude")


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    cloud = Cloud(CloudPlan(tmp_path, "two words", "http://127.0.0.1:9", Spending(tmp_path / "s.db")))
    cloud.want(Settings(), "auto")
    assert cloud.state == "no key"
    assert "ANTHROPIC_API_KEY" in cloud.trouble
    assert cloud.way_out == "Copy the key again from the console into ANTHROPIC_API_KEY, and start again"


def test_a_wrong_key_stays_wrong_until_it_is_another(tmp_path: Path) -> None:
    with Claude() as claude:
        cloud = Cloud(CloudPlan(tmp_path, "", claude.url, Spending(tmp_path / "s.db"), QUICK))
        save(tmp_path, Key("sk-ant-wrong-0000000000"))
        cloud.want(Settings(), "auto")
        assert cloud.engine is not None
        with pytest.raises(CloudError, match="does not accept the key"):
            list(cloud.engine.reply([user("Hello")], Options()))
        cloud.want(Settings(), "auto")
        time.sleep(0.3)
        assert (cloud.state, "does not accept the key" in cloud.trouble) == ("wrong key", True)
        save(tmp_path, Key("sk-ant-wrong-0000000000"))
        cloud.want(Settings(), "auto")
        assert cloud.state == "ready"
        save(tmp_path, Key(KEY))
        cloud.want(Settings(), "auto")
        assert (cloud.state, cloud.trouble) == ("ready", "")
        assert said(list(cloud.engine.reply([user("Hello")], Options()))) == WHOLE
        cloud.close()


def test_that_it_could_not_be_reached_is_remembered_for_a_while(make: Made) -> None:
    room = make(Hangup(), patience=replace(AT_ONCE, unreachable_s=5.0))
    room.fails()
    assert (room.cloud.state, room.cloud.trouble) == ("unreachable", "The connection to Claude broke off")
    until(lambda: (room.cloud.state, room.cloud.trouble) == ("ready", ""))


@pytest.mark.parametrize("play", [Status(529), Hangup(), Status(402)])
def test_what_to_do_about_a_trouble_is_told_with_it(make: Made, play: Play) -> None:
    room = make(play, patience=AT_ONCE)
    error = room.fails()
    assert (room.cloud.trouble, room.cloud.way_out) == (str(error), error.hint)


def test_at_the_persons_word_what_was_in_the_way_is_tried_again(make: Made) -> None:
    room = make()
    room.claude.faults = [Status(402)]
    room.fails()
    assert "credit" in room.cloud.trouble
    room.cloud.look_again()
    assert room.cloud.state == "ready"
    assert said(room.ask()) == WHOLE


@pytest.mark.parametrize(
    ("kind", "state"),
    [("authentication_error", "wrong key"), ("billing_error", "no credit"), ("overloaded_error", "ready")],
)
def test_a_key_or_an_account_that_is_refused_in_the_middle_of_an_answer_is_not_asked_again(
    make: Made, kind: str, state: str
) -> None:
    refusal = event({"type": "error", "error": {"type": kind, "message": "It did not work"}})
    room = make(Answer(extra=[refusal]))
    assert finish_of(room.ask()).reason == "failed"
    assert room.cloud.state == state


def test_an_answer_that_only_broke_off_may_be_asked_again_at_once(make: Made) -> None:
    room = make(Cut(2000, "rst"))
    assert finish_of(room.ask()).reason == "failed"
    assert room.cloud.state == "ready"


def test_a_trouble_with_one_question_is_none_with_the_next(make: Made) -> None:
    room = make()
    room.fails(user("long " * 5000))
    assert room.cloud.state == "ready"


def test_another_model_is_asked_at_the_next_question(make: Made) -> None:
    room = make()
    room.cloud.want(Settings(model="claude-haiku-4-5"), "auto")
    assert room.engine.model == "claude-haiku-4-5"
    room.ask()
    assert room.claude.questions[0].body["model"] == "claude-haiku-4-5"


def test_a_deprecated_model_answers_and_is_told_once(make: Made) -> None:
    room = make(model="claude-sonnet-4-5")
    assert said(room.ask()) == WHOLE
    told = [notice.text for notice in room.cloud.news()]
    assert len(told) == 1
    assert "claude-sonnet-4-5 is deprecated and comes to its end on November 30th, 2026" in told[0]
    assert room.cloud.news() == []


def test_the_key_is_checked_with_one_free_call(make: Made) -> None:
    room = make()
    check_key(FOUND, room.plan)
    assert {asked.path for asked in room.claude.asked} == {"/v1/models"}
    with pytest.raises(CloudError) as wrong:
        check_key(Found(Key("sk-ant-wrong"), "credentials.toml"), room.plan)
    assert wrong.value.trouble == "key"
    with pytest.raises(CloudError, match="refuses the connection"):
        check_key(FOUND, replace(room.plan, base_url="http://127.0.0.1:9"))


def test_a_sign_in_page_is_no_checked_key(make: Made) -> None:
    room = make(Page())
    with pytest.raises(CloudError, match="web page"):
        check_key(FOUND, room.plan)


# The address


@pytest.mark.parametrize(
    ("url", "open_to_others"),
    [
        ("https://api.anthropic.com", False),
        ("http://127.0.0.1:8080", False),
        ("http://localhost", False),
        ("http://[::1]:1", False),
        ("http://gateway.example/v1", True),
        ("HTTP://192.168.1.7:8080", True),
        ("http://localhost.example", True),
        ("http://[", False),
        ("nothing", False),
    ],
)
def test_an_address_that_others_can_listen_to_gets_a_warning(url: str, open_to_others: bool) -> None:
    assert bool(unencrypted(url)) is open_to_others


# Secrets


def test_no_traceback_holds_the_key(make: Made) -> None:
    for play in (Status(401), Status(500), Hangup(reset=True), Silence()):
        room = make(play, patience=AT_ONCE)
        error = room.fails()
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert KEY not in "".join(whole.format())
        assert error.__context__ is None
        with pytest.raises(CloudError) as told:
            check_key(Found(Key("-".join(["sk", "ant", "canary"])), "credentials.toml"), room.plan)
        whole = traceback.TracebackException.from_exception(told.value, capture_locals=True)
        assert "sk-ant-canary" not in "".join(whole.format())


def test_logging_of_the_sdk_prints_nothing_whatever_the_level(make: Made, caplog: pytest.LogCaptureFixture) -> None:
    room = make()
    with caplog.at_level(logging.DEBUG):
        room.ask(user("the secret question"))
    assert KEY not in caplog.text
    assert "secret question" not in caplog.text


def test_the_variable_that_makes_the_sdk_talk_has_no_effect(make: Made, tmp_path: Path) -> None:
    room = make()
    program = (
        "import os, pathlib, sys\n"
        "from shammah.cloud.access import Cloud, CloudPlan\n"
        "from shammah.cloud.spending import Spending\n"
        "from shammah.config import Cloud as Settings\n"
        "from shammah.message import Message, Options\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        f"cloud = Cloud(CloudPlan(folder, {KEY!r}, {room.claude.url!r}, Spending(folder / 's.db')))\n"
        "cloud.want(Settings(), 'cloud')\n"
        "print(len(list(cloud.engine.reply([Message('user', 'the secret question')], Options()))) > 0)\n"
        "cloud.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env={**os.environ, "ANTHROPIC_LOG": "debug", "HTTPX_LOG_LEVEL": "trace"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
