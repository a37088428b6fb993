"""The worker process as the chat sees it: whatever happens to it, the next question is answered."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.environment import worker_environment
from shammah.errors import EngineError, ModelError, WorkerError
from shammah.local import protocol
from shammah.local.client import Broken, Loading, LocalEngine, ModelSpec, Off, Reading, Ready
from shammah.local.process import LOG_LIMIT, Pulse, log_file
from shammah.message import Event, Message, Options, Waiting
from shammah.paths import STARTER, Home
from tests.fakes import LONG, PATIENT, finish_of, said, until, up_to_piece, user

SHORT = Options(max_tokens=3, seed=1)

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and file modes")
Maker = Callable[..., LocalEngine]


@pytest.fixture
def make(home: Home) -> Iterator[Maker]:
    """Makes engines, and ends them after the test."""
    made: list[LocalEngine] = []

    def maker(
        folder: Path = STARTER, environment: dict[str, str] | None = None, log: Path | None = None
    ) -> LocalEngine:
        spec = ModelSpec("starter", folder, 2048, 1)
        log = log or home.logs / "worker.log"
        made.append(LocalEngine("starter", spec, environment or worker_environment(), log))
        return made[-1]

    yield maker
    for engine in made:
        engine.close()


def ask(engine: LocalEngine, text: str = "Hello", options: Options = SHORT) -> list[Event]:
    return list(engine.reply([user(text)], options))


def until_idle(engine: LocalEngine) -> None:
    """Wait until the model is loaded and its worker has computed nothing for a while."""
    until(lambda: isinstance(engine.state, Ready))
    process = worker(engine)

    def computes() -> bool:
        before = process.cpu_times()
        time.sleep(0.5)
        return bool(process.cpu_times() != before)

    until(lambda: not computes() and not computes())


def worker(engine: LocalEngine) -> psutil.Process:
    """The worker process of an engine that is ready."""
    if not isinstance(engine.state, Ready):
        ask(engine)
    assert engine.pid is not None
    return psutil.Process(engine.pid)


def assert_answers_anew(engine: LocalEngine, before: psutil.Process) -> None:
    assert finish_of(ask(engine)).reason in ("stop", "length")
    assert engine.pid != before.pid
    assert not before.is_running()


# A worker that dies


@posix
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_worker_that_dies_in_mid_answer_costs_the_rest_of_that_answer(engine: LocalEngine, name: str) -> None:
    process = worker(engine)
    answer = engine.reply([user("Tell me everything")], LONG)
    events = up_to_piece(answer)
    process.send_signal(getattr(signal, name))
    events += answer
    finish = finish_of(events)
    assert finish.reason == "failed"
    assert name in finish.error
    assert finish.hint
    assert said(events) != ""
    assert_answers_anew(engine, process)


def test_after_a_death_the_new_worker_is_started_at_once(engine: LocalEngine) -> None:
    process = worker(engine)
    answer = engine.reply([user("Tell me everything")], LONG)
    up_to_piece(answer)
    process.kill()
    list(answer)
    until(lambda: isinstance(engine.state, Ready))
    assert engine.pid != process.pid


def test_a_worker_that_died_while_idle_is_replaced_by_the_next_question(engine: LocalEngine) -> None:
    process = worker(engine)
    process.kill()
    until(lambda: isinstance(engine.state, Broken))
    assert_answers_anew(engine, process)


def test_a_question_right_behind_a_death_is_answered_or_told_and_the_next_is_answered(engine: LocalEngine) -> None:
    process = worker(engine)
    process.kill()
    with contextlib.suppress(WorkerError):
        ask(engine)
    assert_answers_anew(engine, process)


def test_a_worker_that_dies_while_loading_is_told_and_the_next_question_is_answered(engine: LocalEngine) -> None:
    engine.start()
    assert engine.pid is not None
    process = psutil.Process(engine.pid)
    answer = engine.reply([user("Hello")], SHORT)
    assert next(answer) == Waiting("loading")
    process.kill()
    with pytest.raises(WorkerError, match="model worker") as told:
        list(answer)
    assert told.value.hint
    assert_answers_anew(engine, process)


@posix
def test_a_death_by_lack_of_memory_is_named_as_a_guess(engine: LocalEngine) -> None:
    process = worker(engine)
    answer = engine.reply([user("Tell me everything")], LONG)
    up_to_piece(answer)
    process.kill()
    assert finish_of(list(answer)).error == "The model worker was ended by SIGKILL, perhaps because memory ran out"


def test_a_worker_that_ends_by_itself_is_told_with_the_status_it_ended_with(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not for this machine')\n")
    broken = {**worker_environment(), "PYTHONPATH": str(tmp_path)}
    with pytest.raises(WorkerError, match="ended with status 1") as told:
        ask(make(environment=broken))
    assert told.value.hint


# A worker that hangs


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Shorter patience, so that a hanging worker need not be waited for as long as a person would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shammah.local.client.PATIENCE", 1.0)
        patch.setattr("shammah.local.client.LOAD_PATIENCE", 1.0)
        yield


def test_a_worker_that_hangs_in_mid_answer_is_given_up_and_replaced(engine: LocalEngine) -> None:
    process = worker(engine)
    with impatience():
        answer = engine.reply([user("Tell me everything")], LONG)
        up_to_piece(answer)
        process.suspend()
        events = list(answer)
    assert (finish_of(events).reason, finish_of(events).error) == ("failed", "The model worker hangs")
    assert len(events) > 5  # Ctrl-C is looked for between two events.
    assert_answers_anew(engine, process)


@pytest.mark.parametrize("question", ["Hello", "hello " * 100_000], ids=["short", "longer than the pipe"])
def test_a_worker_that_hung_while_idle_is_given_up_and_replaced(engine: LocalEngine, question: str) -> None:
    process = worker(engine)
    process.suspend()
    with impatience(), pytest.raises(WorkerError, match="hangs") as told:
        ask(engine, question)
    assert told.value.hint
    assert_answers_anew(engine, process)


def test_a_worker_that_hangs_while_loading_is_given_up_and_replaced(engine: LocalEngine) -> None:
    engine.start()
    assert engine.pid is not None
    process = psutil.Process(engine.pid)
    process.suspend()
    with impatience(), pytest.raises(WorkerError, match="hangs while it loads"):
        ask(engine)
    assert_answers_anew(engine, process)


def test_stopping_an_answer_of_a_worker_that_hangs_does_not_wait_for_it(engine: LocalEngine) -> None:
    process = worker(engine)
    answer = engine.reply([user("Tell me everything")], LONG)
    up_to_piece(answer)
    process.suspend()
    answer.close()
    assert process.is_running()  # Who waits gives it up in the end, and kills it.
    process.resume()
    assert finish_of(ask(engine)).reason in ("stop", "length")
    assert engine.pid == process.pid


class HandClock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def compute() -> None:
    """Use as much processor time as every system counts."""
    until_used = time.process_time() + 0.03
    while time.process_time() < until_used:
        pass


def test_a_silent_worker_that_computes_does_not_hang() -> None:
    clock = HandClock()
    pulse = Pulse(os.getpid(), 4.0, clock)
    for _ in range(3):
        clock.now += 2.0
        assert not pulse.stopped()
        compute()
        clock.now += 2.0
        assert not pulse.stopped()


def test_a_worker_that_computes_does_not_hang_where_the_chat_was_suspended() -> None:
    clock = HandClock()
    pulse = Pulse(os.getpid(), 4.0, clock)
    clock.now = 3600.0
    assert not pulse.stopped()
    clock.now += 0.1
    assert not pulse.stopped()
    compute()
    clock.now += 1.9
    assert not pulse.stopped()


def test_a_silent_worker_that_does_nothing_hangs() -> None:
    program = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        clock = HandClock()
        pulse = Pulse(idle.pid, 4.0, clock)
        clock.now = 2.0
        assert not pulse.stopped()
        clock.now = 3.9
        assert not pulse.stopped()
        clock.now = 4.0
        assert pulse.stopped()
        idle.kill()


# A worker whose memory runs out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of another process")
def test_an_exhausted_memory_is_told_and_the_next_question_is_answered(make: Maker) -> None:
    engine = make()
    engine.start()
    until(lambda: isinstance(engine.state, Ready))
    assert engine.pid is not None
    process = psutil.Process(engine.pid)
    limit = process.memory_info().vms + 1_000_000
    process.rlimit(psutil.RLIMIT_AS, (limit, limit))
    with pytest.raises(EngineError) as told:
        ask(engine, "hello " * 600)
    assert "memory" in str(told.value)
    assert told.value.hint
    with contextlib.suppress(EngineError):
        ask(engine)
    assert finish_of(ask(engine)).reason in ("stop", "length")


# A model that cannot be loaded


def test_a_broken_model_folder_is_told_each_time_it_is_asked(make: Maker, tmp_path: Path) -> None:
    shutil.copytree(STARTER, tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"noise")
    engine = make(tmp_path / "model")
    for _ in range(2):
        with pytest.raises(ModelError, match="model cannot be loaded") as told:
            ask(engine)
        assert told.value.hint
    assert isinstance(engine.state, Broken)


def test_a_mended_model_folder_is_loaded_at_the_next_question(make: Maker, tmp_path: Path) -> None:
    engine = make(tmp_path / "model")
    with pytest.raises(ModelError, match="no model folder"):
        ask(engine)
    shutil.copytree(STARTER, tmp_path / "model")
    assert finish_of(ask(engine)).reason in ("stop", "length")


def test_a_worker_that_cannot_be_started_is_told(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("executable", "_base_executable"):
        monkeypatch.setattr(sys, name, "/no/such/python")
    with pytest.raises(WorkerError, match="cannot be started") as told:
        ask(make())
    assert told.value.hint


def test_a_question_that_is_too_long_leaves_the_worker_as_it_is(engine: LocalEngine) -> None:
    process = worker(engine)
    with pytest.raises(ModelError, match=r"has [\d,]+ tokens .* takes [\d,]+"):
        ask(engine, "hello " * 5000)
    assert finish_of(ask(engine)).reason in ("stop", "length")
    assert engine.pid == process.pid


# Starting and ending


def test_the_states_are_told_as_they_change() -> None:
    states: list[type[object]] = []
    engine = LocalEngine(
        "starter",
        ModelSpec("starter", STARTER, 1024, 1),
        worker_environment(),
        on_change=lambda: states.append(type(engine.state)),
    )
    engine.start()
    until(lambda: isinstance(engine.state, Ready))
    state, process = engine.state, worker(engine)
    engine.close()
    assert isinstance(state, Ready)
    assert (state.context, state.device) == (1024, "cpu")
    assert states == [Off, Loading, Ready, Off]
    assert engine.pid is None
    assert not process.is_running()


def test_a_conversation_given_before_the_model_is_loaded_is_read_ahead(make: Maker) -> None:
    engine = make()
    talk = [user("Tell me of prefixes " * 20), Message("assistant", "Well.")]
    engine.start()
    engine.warm(talk)
    until_idle(engine)
    assert finish_of(list(engine.reply([*talk, user("More")], SHORT))).usage.cached_tokens > 60


def test_a_conversation_given_before_the_start_is_read_ahead(make: Maker) -> None:
    engine = make()
    talk = [user("Tell me of prefixes " * 20), Message("assistant", "Well.")]
    engine.warm(talk)
    engine.start()
    until_idle(engine)
    assert finish_of(list(engine.reply([*talk, user("More")], SHORT))).usage.cached_tokens > 60


PARENT = """
import sys, time
from tests.test_local_client import *
engine = LocalEngine("starter", ModelSpec("starter", STARTER, 2048, 1), worker_environment())
engine.start()
if sys.argv[1] != "loading":
    ask(engine)
print(engine.pid, flush=True)
if sys.argv[1] == "answering":
    for event in engine.reply([user("hello " * 300)], Options(max_tokens=10**6, temperature=100.0, top_k=4096)):
        pass
time.sleep(600)
"""


@pytest.mark.parametrize("doing", ["loading", "waiting", "answering"])
def test_the_worker_ends_when_its_parent_is_killed(doing: str) -> None:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", PARENT, doing], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("line", [b"", b'{"kind": "Gener', b"noise\n", b'{"kind": "NoSuchKind"}\n', b"\xff\xfe"])
def test_the_worker_ends_with_its_pipe_also_in_the_middle_of_a_line(line: bytes) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "shammah.worker"], input=line, capture_output=True, timeout=PATIENT, check=False
    )
    assert run.returncode == 0
    assert run.stdout == b""


@posix
def test_ctrl_c_is_not_for_the_worker(engine: LocalEngine) -> None:
    process = worker(engine)
    assert os.getpgid(process.pid) != os.getpgid(0)
    answer = engine.reply([user("Hello")], LONG)
    up_to_piece(answer)
    process.send_signal(signal.SIGINT)
    assert finish_of(list(answer)).reason in ("stop", "length")
    assert engine.pid == process.pid


# What the worker does not do


def test_the_worker_opens_no_socket_and_telemetry_is_off(engine: LocalEngine) -> None:
    process = worker(engine)
    answer = engine.reply([user("Hello")], LONG)
    up_to_piece(answer)
    assert process.net_connections(kind="all") == []
    answer.close()
    environment = process.environ()
    assert {name: environment.get(name) for name in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE")} == {
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


def test_the_worker_writes_nothing_into_the_users_folders(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    places = dict.fromkeys(["HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME", "TMPDIR"], str(tmp_path / "user"))
    engine = make(environment=worker_environment({**os.environ, **places}))
    assert finish_of(ask(engine)).reason in ("stop", "length")
    engine.close()
    assert list((tmp_path / "user").rglob("*")) == []


def test_secrets_do_not_reach_the_worker(make: Maker) -> None:
    secrets = {
        "ANTHROPIC_API_KEY": "canary-1",
        "HF_TOKEN": "canary-2",
        "HTTPS_PROXY": "http://me:canary-3@proxy:3128",
        "AWS_SECRET_ACCESS_KEY": "canary-4",
    }
    process = worker(make(environment=worker_environment({**os.environ, **secrets})))
    assert "canary" not in json.dumps(process.environ())
    assert "canary" not in json.dumps(process.cmdline())


def test_the_chat_process_loads_no_runtime() -> None:
    heavy = ["onnxruntime", "onnxruntime_genai", "numpy", "tokenizers", "jinja2", "psutil", "shammah.worker"]
    code = f"import sys, shammah.models.engines; sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "[]"


# The log


@posix
def test_what_the_worker_prints_to_its_end_is_in_a_log_for_its_owner_only(make: Maker, home: Home) -> None:
    engine = make(environment={**worker_environment(), "PYTHONFAULTHANDLER": "1"})
    worker(engine).send_signal(signal.SIGSEGV)
    until(lambda: isinstance(engine.state, Broken))
    log = home.logs / "worker.log"
    assert "Segmentation fault" in log.read_text(encoding="utf-8")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (home.logs, home.folder)] == [0o700, 0o700]


def test_a_log_that_grew_large_is_begun_anew(make: Maker, home: Home) -> None:
    log = home.logs / "worker.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    make().start()
    assert log.stat().st_size < LOG_LIMIT


def test_a_log_goes_on_behind_what_was_written_before(home: Home) -> None:
    for word in ("one", "two"):
        with log_file(home.logs / "worker.log") as log:
            subprocess.run([sys.executable, "-c", f"import os; os.write(2, b'{word} ')"], stderr=log, check=True)
    assert (home.logs / "worker.log").read_text(encoding="utf-8") == "one two "


def test_without_a_place_for_the_log_the_model_answers_all_the_same(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert finish_of(ask(make(log=tmp_path / "file" / "logs" / "worker.log"))).reason in ("stop", "length")


# How long a conversation is

TALK = [user("Hello"), Message("assistant", "Hi."), user("How do I leave?")]


def counted(engine: LocalEngine, messages: list[Message]) -> protocol.Counted:
    found = engine.count(messages, PATIENT)
    assert found is not None
    return found


def test_a_conversation_is_counted_as_the_prompt_that_an_answer_to_it_reads(engine: LocalEngine) -> None:
    ask(engine)
    for messages in (TALK, [Message("system", "Be <|im_start|> kind."), *TALK], [user("")]):
        tokens = counted(engine, messages).tokens
        finish = finish_of(list(engine.reply(messages, SHORT)))
        assert tokens == finish.usage.prompt_tokens


def test_what_the_cache_holds_of_it_is_told_with_the_count(engine: LocalEngine) -> None:
    finish = finish_of(list(engine.reply(TALK, SHORT)))
    again = counted(engine, TALK)
    assert 0 < again.cached < again.tokens == finish.usage.prompt_tokens
    assert counted(engine, [Message("system", "Of something else"), *TALK]).cached < again.cached
    assert finish_of(list(engine.reply(TALK, SHORT))).usage.cached_tokens == again.cached


def test_nothing_is_counted_while_there_is_no_model_or_an_answer_runs(make: Maker) -> None:
    engine = make()
    assert engine.count(TALK, PATIENT) is None
    answer = engine.reply(TALK, LONG)
    up_to_piece(answer)
    assert engine.count(TALK, PATIENT) is None
    answer.close()
    assert counted(engine, TALK).tokens > 0


def test_a_count_waits_no_longer_than_it_may_and_harms_no_later_one(engine: LocalEngine) -> None:
    process = worker(engine)
    process.suspend()
    assert engine.count(TALK, 0.1) is None
    process.resume()
    first, second = counted(engine, TALK), counted(engine, [*TALK, Message("assistant", "Type /quit."), user("And?")])
    assert first.tokens < second.tokens
    assert finish_of(ask(engine)).reason in ("stop", "length")


def test_the_count_of_a_worker_that_is_gone_ends_at_once_or_is_none(engine: LocalEngine) -> None:
    process = worker(engine)
    process.kill()
    assert engine.count(TALK, PATIENT) is None
    assert_answers_anew(engine, process)


def test_a_conversation_that_the_template_refuses_is_not_counted(make: Maker, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "model"))
    refusing = "{% if messages|length > 1 %}{{ raise_exception('no talk') }}{% endif %}{{ messages[0].content }}"
    (folder / "chat_template.jinja").write_text(refusing, encoding="utf-8")
    engine = make(folder)
    ask(engine)
    assert engine.count(TALK, PATIENT) is None
    assert counted(engine, [user("Hello")]).tokens > 0


def test_a_count_does_not_wait_for_what_is_read_ahead(engine: LocalEngine) -> None:
    ask(engine)
    engine.warm([user("hello " * 1500)])
    assert counted(engine, TALK).tokens < 200


def test_how_fast_a_model_reads_is_known_from_its_last_long_prompt(make: Maker) -> None:
    engine = make()
    ask(engine, "Hi")
    assert engine.reading_speed is None
    ask(engine, "hello " * 300)
    speed = engine.reading_speed
    assert speed is not None
    assert speed > 0


def test_the_speed_of_reading_is_tokens_by_seconds() -> None:
    clock = HandClock()
    reading = Reading(clock)
    for now, done in ((10.0, 100), (11.0, 164), (12.0, 228)):
        clock.now = now
        reading.see(protocol.Progress(1, done, 500))
    assert reading.speed == 64.0
    reading.see(protocol.Progress(2, 0, 20))
    clock.now = 20.0
    reading.see(protocol.Progress(2, 20, 20))
    assert reading.speed == 64.0


# The pipe's language

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)
OPTIONS = st.builds(Options, st.integers(1, 99), st.none() | st.floats(0, 2), st.none() | st.integers(0, 99))
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3)
COUNTS = st.integers(0, 2**40)
LINES = st.one_of(
    st.builds(protocol.Load, COUNTS, TEXTS, COUNTS, COUNTS),
    st.builds(protocol.Generate, COUNTS, MESSAGES, OPTIONS),
    st.builds(protocol.Warm, COUNTS, MESSAGES),
    st.builds(protocol.Count, COUNTS, MESSAGES),
    st.builds(protocol.Stop, COUNTS),
    st.builds(protocol.Ready, COUNTS, COUNTS, TEXTS, st.floats(0, 9)),
    st.builds(protocol.Progress, COUNTS, COUNTS, COUNTS),
    st.builds(protocol.Cut, COUNTS, COUNTS, COUNTS),
    st.builds(protocol.Delta, COUNTS, TEXTS, COUNTS),
    st.builds(protocol.Counted, COUNTS, COUNTS, COUNTS),
    st.builds(protocol.Done, COUNTS, st.sampled_from(["stop", "length", "interrupted"]), COUNTS, COUNTS, COUNTS),
    st.builds(protocol.Failed, COUNTS, TEXTS, TEXTS, st.booleans()),
)


@given(message=LINES)
def test_every_message_survives_the_pipe_as_one_ascii_line(message: protocol.Request | protocol.Reply) -> None:
    line = protocol.encode(message)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert joined(protocol.decode(line)) == joined(message)


def joined(message: object) -> str:
    """The message in words, with the two halves of a surrogate pair as the one character they are."""
    return repr(message).encode("ascii", "backslashreplace").decode("ascii")


@given(
    line=st.binary(max_size=30) | st.sampled_from([b"7", b"null", b"[]", b"{}", b'{"kind": []}', b'{"kind": "Stop"}'])
)
def test_a_line_of_something_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        protocol.decode(line)
