"""The command line: arguments, exit status, and the last handler of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from shammah.commandline import Arguments, parse
from shammah.environment import Environment, read
from shammah.errors import NotYetError, ShammahError, UsageError

ANSWERED, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
_GROUPS = ("setup", "doctor", "models", "config", "history", "bench")


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
    environment = read()
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
