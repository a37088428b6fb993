"""What keeps Claude from answering: each fault is told truly, waiting is bounded."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from shammah.cloud.exchange import Patience
from shammah.cloud.key import Key, save
from shammah.errors import CloudError
from shammah.message import Event, Options, Spent, Waiting
from tests.cloud import AT_ONCE, WHOLE, Made, make
from tests.fakes import said, user
from tests.servers.claude import (
    KEY,
    MODEL,
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


def spent(events: Sequence[Event]) -> list[Spent]:
    return [each for each in events if isinstance(each, Spent)]


def retries(events: Sequence[Event]) -> list[Waiting]:
    return [each for each in events if isinstance(each, Waiting) and each.what == "retrying"]


# What goes wrong before


STATUSES = [
    (Status(401, "invalid x-api-key"), "does not accept the key", "ANTHROPIC_API_KEY", "key", 1),
    (Status(402, "No credit"), "No credit is left", "Billing", "credit", 1),
    (Status(400, "Your credit balance is too low to access the API"), "No credit is left", "Billing", "credit", 1),
    (Status(403, "Your key may not use this"), "This key may not do that: Your", "ANTHROPIC_API_KEY", "refused", 1),
    (Status(403, page="<html>Blocked</html>"), "refuses access (status 403)", "firewall", "offline", 1),
    (Status(404, f"model: {MODEL}"), f"There is no Claude model {MODEL}", "cloud.model", "model", 1),
    (Status(404, page="<html>Not here</html>"), "does not answer as Claude does", "ANTHROPIC_BASE_URL", "other", 1),
    (Status(413, "Request too large"), "too long to be sent", "/new", "too long", 1),
    (Status(400, "prompt is too long: 210000 tokens > 200000 maximum"), "210000 tokens", "/new", "too long", 1),
    (
        Status(400, "max_tokens: 4096 > 2048, which is the maximum allowed number of output tokens"),
        "cloud.max_tokens",
        "/set cloud.max_tokens 2048",
        "other",
        1,
    ),
    (Status(400, "messages: something"), "does not accept the request: messages: something", "/local", "other", 1),
    (Status(407, page="<html>Proxy</html>"), "proxy wants a name", "HTTPS_PROXY", "offline", 1),
    (Status(511, page="<html>Sign in</html>"), "wants a sign-in", "browser", "offline", 3),
    (Status(429, "Slow down"), "takes no more requests", "/local", "limit", 3),
    (Status(429, "x", error_code="enforced_spend_limit_reached"), "spend limit", "Billing", "credit", 1),
    (Status(429, "You have reached your spend limit"), "spend limit", "Billing", "credit", 1),
    (
        Status(
            400, "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
        ),
        "is reached until 2026-12-01 at 00:00 UTC",
        "Billing",
        "credit",
        1,
    ),
    (Status(408, "Timed out"), "could not take the request", "Ask again", "overloaded", 3),
    (Status(409, "Conflict"), "could not take the request", "Ask again", "overloaded", 3),
    (Status(500, "Internal server error"), "an error of its own (status 500)", "Ask again", "overloaded", 3),
    (Status(502, page="<html>Bad gateway</html>"), "an error of its own (status 502)", "Ask again", "overloaded", 3),
    (Status(504, "Took too long"), "an error of its own (status 504)", "Ask again", "overloaded", 3),
    (Status(529, "Overloaded"), "Claude is overloaded", "Ask again", "overloaded", 3),
    (Status(500, headers={"x-should-retry": "false"}), "an error of its own", "Ask again", "overloaded", 1),
    (Page(), "A web page came instead of an answer", "sign-in", "offline", 1),
    (Hangup(), "The connection to Claude broke off", "Ask again", "offline", 3),
    (Hangup(reset=True), "The connection to Claude broke off", "Ask again", "offline", 3),
]


@pytest.mark.parametrize(("play", "message", "hint", "trouble", "tries"), STATUSES)
def test_each_fault_is_told_truly_with_a_next_step(
    make: Made, play: Play, message: str, hint: str, trouble: str, tries: int
) -> None:
    if isinstance(play, Status):
        # Waiting is shown elsewhere.
        play = replace(play, headers={"retry-after": "0", **play.headers})
    room = make(play)
    error = room.fails()
    assert message in str(error)
    assert hint in error.hint
    assert error.trouble == trouble
    assert len(room.claude.questions) == tries
    if not isinstance(play, Hangup | Page):
        assert room.spending.today().cost_usd == 0


def error_in_the_stream(kind: str) -> Answer:
    return Answer([], extra=[event({"type": "error", "error": {"type": kind, "message": "It is the key"}})])


PLACES = {
    "environment": "ANTHROPIC_API_KEY",
    "credentials.toml": "shammah setup to give another key than the one in credentials.toml",
    "keyring": "shammah setup to give another key than the one in the keyring",
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("play", "message"),
    [
        (Status(401, "invalid x-api-key"), "does not accept the key"),
        (error_in_the_stream("authentication_error"), "does not accept the key"),
        (Status(402, "No credit"), "No credit is left"),
        (Status(400, "Your credit balance is too low"), "No credit is left"),
        (error_in_the_stream("billing_error"), "No credit is left"),
        (Status(403, "Your key may not use this"), "This key may not do that"),
        (error_in_the_stream("permission_error"), "This key may not do that: It is the key"),
    ],
)
def test_the_hint_about_a_key_names_the_place_where_it_was_found(
    make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, play: Play, message: str
) -> None:
    ring = SimpleNamespace(get_password=lambda *_: KEY if where == "keyring" else None)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    if where == "credentials.toml":
        save(tmp_path, Key(KEY))
    error = make(play, environment_key=KEY if where == "environment" else "").fails()

    assert message in str(error)
    assert [place for place, named in PLACES.items() if named.lower() in error.hint.lower()] == [where]


def test_an_unknown_model_is_told_with_the_nearest_name(make: Made) -> None:
    room = make(Status(404, "model: claude-sonet-5-5"), model="claude-sonet-5-5")
    assert "Did you mean claude-sonnet-5-5?" in room.fails().hint


def test_words_from_outside_are_shortened_and_hold_no_key(make: Made) -> None:
    room = make(Status(400, f"bad\n\x1b[31m {KEY} and sk-other-key-000 " + "x" * 500))
    told = str(room.fails())
    assert KEY not in told
    assert "sk-other" not in told
    assert told.isprintable()
    assert len(told) < 300


def test_a_model_that_is_no_more_is_told_with_its_date(make: Made) -> None:
    error = make(Status(404, "model: claude-opus-4-0"), model="claude-opus-4-0").fails()
    assert str(error) == "There is no Claude model claude-opus-4-0; its end was announced for June 15th, 2026"


def test_what_cannot_be_reached_is_told(make: Made) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        room = make(url=f"http://127.0.0.1:{port}")
        refused = room.fails()
        assert room.spending.today().requests == 0
    assert f"127.0.0.1:{port} refuses the connection" in str(refused)
    unknown = make(url="http://no-such-host.invalid").fails()
    assert "No address is known for no-such-host.invalid" in str(unknown)
    assert {refused.trouble, unknown.trouble} == {"offline"}


def test_nothing_counts_as_sent_or_spent_where_nobody_was_reached(make: Made) -> None:
    room = make(url="http://no-such-host.invalid", patience=AT_ONCE)
    events: list[Event] = []
    with pytest.raises(CloudError):
        for each in room.engine.reply([user("Hello")], Options()):
            events.append(each)
    assert spent(events) == []
    day = room.spending.today()
    assert (day.cost_usd, day.unknown, day.estimated) == (0.0, 0, 0)


def test_a_server_without_tls_is_told_as_such(make: Made) -> None:
    room = make(patience=AT_ONCE)
    room = make(url=room.claude.url.replace("http:", "https:"), patience=AT_ONCE)
    assert "does not speak TLS as it should" in str(room.fails())


def test_a_certificate_that_nobody_vouches_for_is_told_as_such(make: Made, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    made = tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048", "-x509"]
    command = [openssl, "req", *subject, "-keyout", str(made), "-out", str(tmp_path / "c.pem")]
    subprocess.run(command, check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + (tmp_path / "c.pem").read_bytes())
    with Claude(certificate=made) as claude:
        error = make(url=claude.url, patience=AT_ONCE).fails()
    assert "cannot be trusted" in str(error)
    assert "SSL_CERT_FILE" in error.hint
    assert claude.heard == b""


def test_a_proxy_from_the_environment_is_used_and_its_refusal_told(make: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with Claude(Status(407, page="<html></html>"), key="") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        room = make(url="http://claude.invalid", patience=AT_ONCE)
        assert "The proxy wants a name and a password" in str(room.fails())


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1", "nonsense"])
def test_an_address_that_is_none_is_told(make: Made, url: str) -> None:
    assert "cannot be asked" in str(make(url=url).fails())


PROGRAM = """
import pathlib, socket, sys, time
{before}
from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.exchange import Patience
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.errors import CloudError
from shammah.message import Message, Options

folder = pathlib.Path(sys.argv[1])
patience = Patience(connect_s=0.3, retrying_s=0.0)
cloud = Cloud(CloudPlan(folder, "a-key", "http://claude.example", Spending(folder / "s.db"), patience))
cloud.want(Settings(), "cloud")
try:
    list(cloud.engine.reply([Message("user", "Hello")], Options()))
except CloudError as error:
    print(error)
cloud.close()
print(time.monotonic())
"""


def _run(folder: Path, before: str) -> tuple[str, float]:
    """What a program of its own says of Claude, and the seconds that it took to end."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), folder],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    told, ended = done.stdout.splitlines()
    return told, time.monotonic() - float(ended)


def test_a_name_server_that_is_silent_holds_up_neither_the_answer_nor_the_end(tmp_path: Path) -> None:
    told, seconds = _run(tmp_path, "socket.getaddrinfo = lambda *_, **__: time.sleep(50)")
    assert told == "claude.example does not answer to the call"
    assert seconds < 20


def test_an_sdk_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    told, _ = _run(tmp_path, "sys.modules['anthropic'] = None")
    assert told.startswith("Claude cannot be asked from here: ")


def test_a_proxy_of_an_unknown_kind_is_told_without_its_password(tmp_path: Path) -> None:
    told, _ = _run(tmp_path, "import os; os.environ['ALL_PROXY'] = 'gopher://me:secret@127.0.0.1:1'")
    assert told.startswith("Claude cannot be asked from here: ")
    assert "secret" not in told


# Waiting


def test_waiting_is_counted_down(make: Made) -> None:
    room = make()
    room.claude.faults = [Status(529, headers={"retry-after": "1.2"})]
    shown = retries(room.ask())
    assert {(each.done, each.total) for each in shown} == {(0, 2), (1, 2)}
    assert shown[0].cause == "Claude is overloaded (status 529)"


@pytest.mark.parametrize("after", ["31", "3600", "86400", "99999999999"])
def test_a_wait_longer_than_is_bearable_is_told_instead(make: Made, after: str) -> None:
    room = make(Status(429, headers={"retry-after": after}))
    started = time.monotonic()
    error = room.fails()
    assert time.monotonic() - started < 20
    assert " for 31 s" in str(error) if after == "31" else " until " in str(error)
    assert len(room.claude.questions) == 1


@pytest.mark.parametrize("after", ["-5", "soon", "nan", "inf", "", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_that_cannot_be_is_none(make: Made, after: str) -> None:
    room = make()
    room.claude.faults = [Status(429, headers={"retry-after": after})]
    assert said(room.ask()) == WHOLE


def test_tries_are_bounded(make: Made) -> None:
    room = make(Status(503, headers={"retry-after": "0"}))
    room.fails()
    assert len(room.claude.questions) == 3


@pytest.mark.parametrize("play", [Silence(), Status(529, headers={"retry-after": "20"}), Cut(2000, "stall")])
def test_closing_waits_for_nothing_that_is_still_to_come(make: Made, play: Play) -> None:
    room = make(play, patience=Patience())
    answer = room.engine.reply([user("Hello")], Options())
    until = time.monotonic() + 1.0
    for _ in answer:
        if time.monotonic() > until:
            break
    started = time.monotonic()
    answer.close()
    assert time.monotonic() - started < 10.0  # What is to come takes 20 seconds and more.
    room.claude.answer = Answer()
    assert said(room.ask()) == WHOLE


def test_closing_before_the_first_piece_is_counted_as_read(make: Made) -> None:
    room = make(Silence(), patience=Patience())
    answer = room.engine.reply([user("word " * 1000)], Options())
    for each in answer:
        if isinstance(each, Spent) and each.sent_bytes > 5000:
            break
    answer.close()
    day = room.spending.today()
    assert (day.estimated, day.requests) == (1, 1)
    assert day.cost_usd == pytest.approx(1250 * 2 / 1e6, rel=0.1)
