"""One question on the command line: what goes to standard output, what to standard error, and the exit status."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shammah import cli, oneshot
from shammah.attachments import LIMIT
from shammah.commandline import parse
from shammah.errors import UsageError
from shammah.history.opening import open_store
from shammah.paths import STARTER
from shammah.screen.safe_text import safe_text
from shammah.subcommands import subcommands
from tests.endless import endless_model
from tests.servers.claude import KEY, Claude, Status

ROOT = Path(__file__).resolve().parent.parent
SHAMMAH = [sys.executable, "-m", "shammah"]
SHORT = ["--max-tokens", "8", "--temperature", "1", "--seed", "1"]
CUT = "The answer reached its limit; generation.max_tokens or local.context sets it.\n"
DEAD = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
"""A key, and an address where nobody listens."""
posix = pytest.mark.skipif(os.name == "nt", reason="signals and shells are others on Windows")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def shammah(home: Path) -> Run:
    """Runs the program with its own home."""

    def run(*arguments: str, piped: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SHAMMAH, *arguments], input=piped, env=environment(home, **more), cwd=home.parent,
            capture_output=True, text=True, encoding="utf-8", timeout=90, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model whose answers end only where they are stopped."""
    return str(endless_model(tmp_path_factory.mktemp("models") / "endless"))


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's variables with another home."""
    return {**os.environ, "SHAMMAH_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **more}


def shell(home: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which $shammah is the program."""
    variables = environment(home, shammah=" ".join(SHAMMAH), short=" ".join(SHORT))
    return subprocess.run(
        ["sh", "-c", line], env=variables, cwd=home.parent, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def kept(home: Path) -> list[tuple[str, str, str]]:
    """Question, answer and reason of each turn in the history."""
    with open_store(home / "history.db") as store:
        found = [turn for summary in store.conversations() for turn in store.turns(summary.id)]
    return [(turn.question, turn.answer, turn.reason) for turn in sorted(found, key=lambda turn: turn.id)]


def assert_two_lines(text: str) -> None:
    assert [line.partition(":")[0] for line in text.splitlines()] == ["error", "hint"], text


def test_the_answer_alone_is_on_standard_output_and_kept(shammah: Run, home: Path) -> None:
    done = shammah("--greedy", "how do I change the model?")

    [(question, answer, _)] = kept(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert question == "how do I change the model?"
    assert done.stdout.strip() == answer.strip() != ""


def test_an_answer_in_a_pipe_has_no_escape_codes(shammah: Run) -> None:
    assert "\x1b" not in shammah(*SHORT, "how do I change the model?", TERM="xterm-256color", CLICOLOR_FORCE="1").stdout


def test_the_same_seed_gives_the_same_answer(shammah: Run, endless: str) -> None:
    arguments = ["-m", endless, "--max-tokens", "20", "what is this?"]
    first, same = (shammah("--seed", "7", *arguments).stdout for _ in range(2))

    assert first == same
    assert shammah("--seed", "8", *arguments).stdout != first


def test_json_is_one_whole_object(shammah: Run, home: Path) -> None:
    done = shammah(*SHORT, "--json", "how do I change the model?")

    given = json.loads(done.stdout)
    assert set(given) == {
        "answer", "finish", "route", "usage", "timing", "sent_bytes", "cost_usd", "estimated",
        "conversation",
    }  # fmt: skip
    assert given["answer"] == kept(home)[0][1]
    assert given["finish"] in ("stop", "length")
    assert set(given["route"]) == {"engine", "model", "why", "before"}
    assert (given["route"]["engine"], given["route"]["before"]) == ("starter", [])
    assert set(given["usage"]) == {"prompt_tokens", "cached_tokens", "completion_tokens"}
    assert given["usage"]["completion_tokens"] > 0
    assert set(given["timing"]) == {"first_token_s", "total_s", "tokens_per_s"}
    assert (given["sent_bytes"], given["cost_usd"], given["estimated"]) == (0, 0.0, False)
    assert shammah("history", "show", given["conversation"]).returncode == 0


def test_max_tokens_ends_an_answer_with_length(shammah: Run) -> None:
    given = json.loads(shammah("--max-tokens", "1", "--json", "how do I change the model?").stdout)

    assert given["finish"] == "length"
    assert given["usage"]["completion_tokens"] == 1


def test_an_answer_that_was_cut_is_told_in_one_line_unless_quiet(shammah: Run) -> None:
    cut = ["--max-tokens", "1", "how do I change the model?"]
    told, quiet, as_json = shammah(*cut), shammah("-q", *cut), shammah("--json", *cut)

    assert (told.returncode, told.stderr) == (0, CUT)
    assert told.stdout.strip()
    assert (quiet.stderr, as_json.stderr) == ("", "")
    assert json.loads(as_json.stdout)["finish"] == "length"


def test_piped_text_follows_the_question(shammah: Run, home: Path) -> None:
    assert shammah(*SHORT, "what is this?", piped="a log\nof two lines\n").returncode == 0
    assert kept(home)[0][0] == "what is this?\n\na log\nof two lines"


def test_piped_text_alone_is_the_question(shammah: Run, home: Path) -> None:
    assert shammah(*SHORT, piped="what is shammah?\n").returncode == 0
    assert kept(home)[0][0] == "what is shammah?"


@posix
@pytest.mark.parametrize("line", ["yes | $shammah", "$shammah -f /dev/zero q", "$shammah q 0> written"])
def test_what_cannot_go_with_a_question_is_refused_with_nothing_kept(home: Path, line: str) -> None:
    done = shell(home, line)

    assert (done.returncode, done.stdout) == (2, "")
    assert_two_lines(done.stderr)
    assert not home.exists()


def test_as_much_may_be_piped_in_as_a_file_may_hold(shammah: Run) -> None:
    fits, exceeds = (shammah(*SHORT, "-n", piped="a" * size).stderr for size in (LIMIT, LIMIT + 1))

    assert "The question has" in fits
    assert "error: Piped text has more than 2,000,000 bytes; at most 2,000,000 go with a question" in exceeds


def test_a_file_goes_along(shammah: Run, home: Path) -> None:
    (home.parent / "notes.txt").write_text("badgers sleep in setts")
    assert shammah(*SHORT, "-f", "notes.txt", "what does it say?").returncode == 0

    question = kept(home)[0][0]
    assert question.startswith("what does it say?")
    assert "notes.txt" in question
    assert "badgers sleep in setts" in question


def test_no_log_leaves_nothing_behind(shammah: Run, home: Path) -> None:
    done = shammah(*SHORT, "-n", "a secret question")

    assert done.returncode == 0
    assert done.stdout.strip()
    assert not [path for path in home.rglob("*") if path.is_file() and b"a secret question" in path.read_bytes()]
    assert kept(home) == []


def test_a_conversation_is_gone_on_with(shammah: Run, home: Path) -> None:
    name = json.loads(shammah(*SHORT, "--json", "one").stdout)["conversation"]
    after_one = json.loads(shammah(*SHORT, "--json", "-c", "two").stdout)
    shammah(*SHORT, "another conversation")
    after_two = json.loads(shammah(*SHORT, "--json", "-r", name, "three").stdout)

    assert after_one["conversation"] == after_two["conversation"] == name
    assert after_two["usage"]["prompt_tokens"] > after_one["usage"]["prompt_tokens"]
    assert [question for question, *_ in kept(home)] == ["one", "two", "another conversation", "three"]


def test_verbose_tells_the_route_and_quiet_nothing(shammah: Run) -> None:
    assert "starter" in shammah(*SHORT, "--verbose", "what?").stderr
    assert shammah(*SHORT, "-q", "what?").stderr == ""


WRONG = {
    "--nonsense": 2,
    "--max-tokens 0 q": 2,
    "--max-tokens many q": 2,
    "--temperature -1 q": 2,
    "--temperature 2.1 q": 2,
    "--seed -1 q": 2,
    "-f absent.txt q": 2,
    "": 2,
    "pull 1.5b": 2,
    "model list": 2,
    "--local models list": 2,
    "--cloud doctor": 2,
    "--verbose history": 2,
    "--json history export": 2,
    "-m absent q": 1,
    "-r zzzzzz q": 1,
    "--cloud q": 1,
}


@pytest.mark.parametrize(("line", "status"), WRONG.items(), ids=[line or "nothing" for line in WRONG])
def test_what_cannot_be_done_is_told_in_two_lines(shammah: Run, line: str, status: int) -> None:
    done = shammah(*line.split())

    assert (done.returncode, done.stdout) == (status, "")
    assert_two_lines(done.stderr)


COMMANDS = [
    "setup", "doctor", "bench", "models list", "models pull 7b", "models use 7b", "models remove 7b", "config path",
    "config show", "config get chat.system", "config set chat.system x", "history list", "history search x",
    "history show x", "history export x",
]  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_takes_the_option_that_an_unforeseen_error_names(line: str) -> None:
    assert subcommands().parse_args([*line.split(), "--verbose"]).verbose


def test_every_command_with_its_own_arguments_is_known_by_its_first_word() -> None:
    with pytest.raises(UsageError, match="invalid choice") as refused:
        subcommands().parse_args(["no-such-command"])
    assert set(re.findall(r"\w+", str(refused.value).partition("choose from")[2])) == set(cli._GROUPS)


def test_a_command_of_another_program_is_told_what_it_is_here_and_can_be_asked(shammah: Run) -> None:
    assert (
        'Type shammah models pull 1.5b; to ask it as a question, shammah -p "pull 1.5b"'
        in shammah("pull", "1.5b").stderr
    )
    assert shammah("-p", "pull 1.5b").returncode == 0
    assert shammah("pull a rope over a pulley, how?").returncode == 0


def test_a_command_behind_an_option_is_told_where_its_options_go_and_can_be_asked(shammah: Run) -> None:
    told = shammah("--local", "models", "pull", "1.5b").stderr

    assert "error: Options stand before the command models pull\nhint: shammah models --help shows those it has" in told
    assert "to ask this as a question, put it in quotes behind -p" in told
    assert shammah(*SHORT, "--local", "-p", "models pull 1.5b").returncode == 0


@pytest.mark.parametrize("words", [["models of cars?"], ["history", "of", "rome"], ["doctor", "who?"]], ids=" ".join)
def test_a_question_may_begin_with_the_name_of_a_command(shammah: Run, home: Path, words: list[str]) -> None:
    assert shammah(*SHORT, "--local", *words).returncode == 0
    assert kept(home)[0][0] == " ".join(words)


def test_an_empty_name_of_a_conversation_begins_no_new_one(shammah: Run) -> None:
    done = shammah("-r", "", "q")

    assert (done.returncode, done.stdout) == (1, "")
    assert_two_lines(done.stderr)


@pytest.mark.parametrize("text", ["-h?", "-c does what?", "--json does what?", "-1", "- a list", ""])
def test_a_text_may_begin_with_a_dash(text: str) -> None:
    given = parse(["--json", "-p", text, "-s", text, "-q"])
    assert (given.prompt, given.system, given.json, given.quiet) == (text, text, True, True)


@pytest.mark.parametrize(
    "words",
    [["-p"], *(["-p", word] for word in ("--json", "--", "--max-tokens=5", "-q", "-qn", "-fnotes.md", "-m7b", "-h"))],
)
def test_an_option_behind_another_is_no_text(words: list[str]) -> None:
    with pytest.raises(UsageError, match="expected one argument"):
        parse(words)


def test_what_ends_the_options_is_kept() -> None:
    assert parse(["--", "-p", "-h?"]).question == ["-p", "-h?"]


def test_the_starter_is_asked_by_its_name_however_it_is_written(shammah: Run) -> None:
    done = shammah("-m", "Starter", "--json", "what is this?")

    assert json.loads(done.stdout)["route"]["engine"] == "starter"


def test_a_broken_model_is_told_in_two_lines(shammah: Run, home: Path) -> None:
    (home.parent / "broken").mkdir()
    for path in STARTER.iterdir():
        (home.parent / "broken" / path.name).write_bytes(path.read_bytes()[:1000])
    done = shammah("-m", "broken", "q")

    assert (done.returncode, done.stdout) == (1, "")
    assert_two_lines(done.stderr)


# Claude


def test_where_claude_cannot_be_reached_the_model_here_answers_and_says_so(shammah: Run, endless: str) -> None:
    done = shammah("--cloud", "-m", endless, "--max-tokens", "4", "--json", "hello", **DEAD)

    given = json.loads(done.stdout)
    assert given["route"]["engine"] == "local"
    assert given["route"]["before"] == ["Claude failed: 127.0.0.1:9 refuses the connection"]
    assert "answers instead" in done.stderr


def test_a_private_question_in_mode_cloud_is_answered_by_the_model_here(shammah: Run, endless: str) -> None:
    done = shammah("--cloud", "--private", "-m", endless, "--max-tokens", "4", "--json", "hello", **DEAD)

    assert json.loads(done.stdout)["route"]["engine"] == "local"


def test_what_was_sent_and_what_it_costs_is_told_on_standard_error_unless_quiet(shammah: Run) -> None:
    with Claude() as claude:
        at_claude = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url}
        told, quiet = shammah("--cloud", "hello", **at_claude), shammah("--cloud", "-q", "hello", **at_claude)

    assert told.stdout.startswith("Well, and")
    assert re.fullmatch(r"claude-sonnet-5-5 · sent \d+ B · \$0\.\d+\n", told.stderr)
    assert quiet.stderr == ""


@pytest.mark.parametrize("most", ["1023", "1024"])
def test_a_length_of_the_command_line_counts_for_claude_also_where_it_is_the_default_of_this_machine(
    shammah: Run, most: str
) -> None:
    with Claude() as claude:
        shammah("--cloud", "--max-tokens", most, "hello", ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=claude.url)
    assert claude.questions[0].body["max_tokens"] == int(most)


def test_an_answer_of_claude_that_was_cut_is_told_with_the_settings_of_claude(shammah: Run) -> None:
    with Claude() as claude:
        at_claude = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url}
        done = shammah("--cloud", "--max-tokens", "3", "hello", **at_claude)

    assert (done.returncode, done.stdout) == (0, "Well, and\n")
    cut, sent = done.stderr.splitlines()
    assert cut == "The answer reached its limit; cloud.max_tokens or generation.max_tokens sets it."
    assert "sent" in sent


def test_a_wrong_key_in_the_environment_is_told_with_the_name_of_the_variable(shammah: Run) -> None:
    with Claude() as claude:
        done = shammah("--cloud", "hello", ANTHROPIC_API_KEY="sk-ant-wrong", ANTHROPIC_BASE_URL=claude.url)

    assert done.returncode == 1
    assert_two_lines(done.stderr)
    assert "does not accept the key\nhint: Put another key into ANTHROPIC_API_KEY or unset it" in done.stderr


def test_a_hint_names_what_is_typed_here_and_not_in_the_chat(shammah: Run) -> None:
    with Claude(Status(400, "Your credit balance is too low")) as claude:
        done = shammah("--cloud", "hello", ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=claude.url)

    assert done.returncode == 1
    assert_two_lines(done.stderr)
    assert " --local answers on this machine" in done.stderr
    assert doctest.testmod(oneshot).failed == 0


@posix
def test_what_there_is_to_know_of_the_key_is_told_on_standard_error(shammah: Run, home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "credentials.toml").write_text(f'anthropic_api_key = "{KEY}"\n')
    (home / "credentials.toml").chmod(0o644)
    first, second = (shammah("--greedy", "what?", ANTHROPIC_API_KEY="") for _ in range(2))

    assert "now only you can. If others use this machine, make a new key" in first.stderr
    assert first.stdout.strip()
    assert second.stderr == ""


@posix
def test_a_home_that_cannot_be_made_is_told_and_no_log_does_without_it(shammah: Run) -> None:
    # Nothing can be made in these, not even by the superuser.
    nowhere = "/proc/shammah" if sys.platform == "linux" else "/dev/null/shammah"
    refused = shammah(*SHORT, "what?", SHAMMAH_HOME=nowhere)

    assert refused.returncode == 1
    assert_two_lines(refused.stderr)
    assert nowhere in refused.stderr
    assert "-n goes without" in refused.stderr
    if sys.platform == "linux":
        assert shammah(*SHORT, "-n", "what?", SHAMMAH_HOME=nowhere).returncode == 0


@posix
def test_closed_standard_input_is_no_trouble(home: Path) -> None:
    done = shell(home, "$shammah --greedy 'what is this?' <&-")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@posix
def test_a_reader_that_leaves_early_ends_it_quietly_and_the_part_is_kept(home: Path, endless: str) -> None:
    done = shell(home, f"$shammah -m {endless} 'tell me all' | head -c 5")

    assert len(done.stdout) == 5
    assert done.stderr == ""
    assert safe_text(kept(home)[0][1]).startswith(done.stdout)


PRINTING = ["$short 'what is this?'", "$short --json 'what is this?'", "config show", "--version", "config --help"]


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("arguments", PRINTING)
@pytest.mark.parametrize("held_back", ["", "PYTHONUNBUFFERED=1"])
def test_a_full_disk_is_told_in_two_lines(home: Path, arguments: str, held_back: str) -> None:
    done = shell(home, f"unset PYTHONUNBUFFERED; {held_back} $shammah {arguments} > /dev/full")

    assert done.returncode == 1
    assert_two_lines(done.stderr)
    assert "Standard output cannot be written to: No space left on device" in done.stderr


@posix
@pytest.mark.parametrize("arguments", PRINTING)
def test_closed_standard_output_is_told_in_two_lines(home: Path, arguments: str) -> None:
    done = shell(home, f"$shammah {arguments} >&-")

    assert done.returncode == 1
    assert_two_lines(done.stderr)
    assert "Standard output is closed" in done.stderr


@posix
def test_with_standard_error_closed_an_error_is_not_taken_for_the_answer(home: Path) -> None:
    done = shell(home, "$shammah -f absent.txt q 2>&-")

    assert (done.returncode, done.stdout) == (2, "")


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_an_interrupted_answer_ends_with_130_and_is_kept(home: Path, endless: str, name: str) -> None:
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup, and so the program ignores it")
    with subprocess.Popen(
        [*SHAMMAH, "-m", endless, "tell me all"], env=environment(home), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as running:  # fmt: skip
        assert running.stdout
        begun = running.stdout.read(20)
        running.send_signal(getattr(signal, name))
        rest, errors = running.communicate(timeout=60)

    shown = (begun + rest).decode()
    [(_, answer, reason)] = kept(home)
    assert (running.returncode, errors) == (130, b"")
    assert reason == "interrupted"
    # A piece is kept first and shown then.
    assert safe_text(answer).startswith(shown.removesuffix("\n"))


@posix
def test_an_answer_outlives_a_hang_up_where_that_is_ignored(home: Path, endless: str) -> None:
    begun = "until [ -s said ]; do sleep 0.02; done"
    line = f"trap '' HUP; $shammah -m {endless} --max-tokens 900 'tell me' > said & {begun}; kill -HUP $!; wait $!"
    done = shell(home, line)

    assert (done.returncode, done.stderr) == (0, CUT)


BEGUN = """
import os, sys
from shammah.__main__ import main
try:
    os.write(1, b"!")
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
"""
"""The program, which tells that its first line runs: an interrupt before it is Python's own to tell."""


@posix
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.35, 0.5])
def test_an_interrupt_at_any_moment_ends_with_130_and_no_trace(home: Path, endless: str, moment: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BEGUN, "-m", endless, "tell me all"], env=environment(home),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as running:  # fmt: skip
        assert running.stdout
        assert running.stdout.read(1) == b"!"
        time.sleep(moment)
        running.send_signal(signal.SIGINT)
        errors = running.communicate(timeout=60)[1]

    assert (running.returncode, errors) == (130, b"")
