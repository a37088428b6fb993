"""The command line: arguments, exit status, and the last handler of errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from shammah import __version__
from shammah.commandline import Parser
from shammah.environment import Environment, read
from shammah.errors import NotYetError, ShammahError, UsageError

ANSWERED, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
_GROUPS = ("setup", "doctor", "models", "config", "history", "bench")


@dataclass
class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    question: list[str] = field(default_factory=list)
    prompt: str | None = None
    model: str | None = None
    system: str | None = None
    go_on: bool = False
    resume: str | None = None
    files: list[str] = field(default_factory=list)
    local: bool = False
    cloud: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    greedy: bool = False
    seed: int | None = None
    json: bool = False
    no_log: bool = False
    quiet: bool = False
    verbose: bool = False


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    try:
        return _run(list(arguments))
    except UsageError as error:
        _tell(error)
        return WRONG_USAGE
    except ShammahError as error:
        _tell(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as cause:
        if "--verbose" in arguments:
            raise
        _tell(
            ShammahError(f"Something unforeseen: {type(cause).__name__}: {cause}", hint="Run it again with --verbose")
        )
        return FAILED


def _run(arguments: list[str]) -> int:
    environment = read(os.environ)
    if arguments and arguments[0] in _GROUPS:
        from shammah.subcommands import run_subcommand  # Late: the chat needs none of it.

        return run_subcommand(arguments, environment)
    given = parse(arguments)
    if given.cloud:
        raise NotYetError("Asking Claude is not part of this version yet", hint="Leave --cloud out")
    return _answer(given, environment)


def _answer(given: Arguments, environment: Environment) -> int:
    from shammah import app  # Late: --help and --version should cost nothing.

    question = " ".join([*given.question, given.prompt or ""]).strip()
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _piped_text()
    on_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if question or piped.strip() or (given.files and not on_terminal):
        return app.answer_once(given, environment, "\n\n".join(filter(None, [question, piped.strip("\n")])))
    if not on_terminal:
        raise UsageError("There is no question", hint='Ask one: shammah "question", or start shammah on a terminal')
    return app.chat(given, environment)


def _piped_text() -> str:
    """What was piped in; bytes that are no UTF-8 are replaced, since half a log is better than none."""
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace")


def _tell(error: ShammahError) -> None:
    from shammah.screen.printer import error_lines, never_failing

    print(error_lines(error), file=never_failing(sys.stderr))


def parse(arguments: Sequence[str]) -> Arguments:
    """The arguments of the chat and of one question.

    Raises:
        UsageError: they are not understood.
    """
    return parser().parse_args(arguments, Arguments())


def parser() -> argparse.ArgumentParser:
    """The options, for reading and for --help."""
    made = Parser(
        prog="shammah",
        description="A private chat in the terminal that runs language models on this machine.",
        epilog="Also: shammah doctor · models · config · history · setup · bench, each with --help.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("question", nargs="*", help="answer this and leave; piped text is joined after it")
    add("-p", "--prompt", metavar="QUESTION", help="the same, for questions that begin with a dash")
    add("-m", "--model", metavar="NAME", help="answer with this model: starter, or the folder of one")
    add("-s", "--system", metavar="TEXT", help="the system prompt")
    add("-c", "--continue", dest="go_on", action="store_true", help="go on with the last conversation")
    add("-r", "--resume", metavar="ID", help="go on with this conversation")
    add(
        "-f",
        "--file",
        dest="files",
        metavar="PATH",
        action="append",
        default=[],
        help="send a file along; again for more",
    )
    add("--local", action="store_true", help="answer on this machine only")
    add("--cloud", action="store_true", help="ask Claude (not in this version yet)")
    add("--max-tokens", type=_at_least_one, metavar="N", help="most tokens of the answer")
    add("--temperature", type=_not_negative, metavar="T", help="0 always takes the likeliest word")
    add("--top-k", type=_at_least_one, metavar="K", help="choose among the K likeliest words")
    add("--greedy", action="store_true", help="the same as --temperature 0")
    add("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    add("--json", action="store_true", help="print one JSON object")
    add("-n", "--no-log", action="store_true", help="keep nothing of this in the history")
    add("-q", "--quiet", action="store_true", help="print the answer only")
    add("--verbose", action="store_true", help="tell what is done, and the whole trace of an error")
    add("--version", action="version", version=f"shammah {__version__}")
    return made


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 10")
    return number
