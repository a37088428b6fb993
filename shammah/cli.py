"""The command line: arguments, exit status, and the last handler of errors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from shammah.commandline import Arguments, parse
from shammah.environment import Environment, read
from shammah.errors import ConfigError, ShammahError, UsageError
from shammah.exit_status import FAILED, INTERRUPTED, WRONG_USAGE

_GROUPS = ("setup", "doctor", "models", "config", "history", "bench")
_ELSEWHERE = {
    "model": "models", "list": "models list", "ls": "models list", "pull": "models pull",
    "run": "-m", "use": "models use", "rm": "models remove", "remove": "models remove", "version": "--version",
}  # fmt: skip
"""Commands of other such programs, and what is meant by them here."""


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    try:
        return _run_to_the_end(list(arguments))
    except UsageError as error:
        _tell(error)
        return WRONG_USAGE
    except ShammahError as error:
        _tell(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # The reader of our output is gone.
        return FAILED
    except Exception as cause:
        if "--verbose" in arguments:
            raise
        _tell(
            ShammahError(f"Something unforeseen: {type(cause).__name__}: {cause}", hint="Run it again with --verbose")
        )
        return FAILED


def _run_to_the_end(arguments: list[str]) -> int:
    """Run, and see that what was printed has reached its place, for no one would hear of it at the exit."""
    if sys.stdout is None:
        raise ShammahError(
            "Standard output is closed, so that nothing can be shown",
            hint="Leave >&- out; > FILE keeps the answer in a file",
        )
    _write_utf_8()
    try:
        return _run(arguments)
    finally:
        _flush_output()


def _write_utf_8() -> None:
    """Give files and other programs UTF-8, where Python writes the code page of Windows, which lacks most letters."""
    if os.name == "nt" and isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        from shammah.screen.printer import output_told

        try:
            with output_told():
                raise
        finally:
            _drop_output()


def _drop_output() -> None:
    """Let go of what standard output did not take: Python would try it once more, and complain, at the exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _run(arguments: list[str]) -> int:
    environment = read()
    if arguments and arguments[0] in _GROUPS:
        from shammah.subcommands import run_subcommand  # Late: the chat needs none of it.

        return run_subcommand(arguments, environment)
    given = _parsed(arguments)
    if "--" not in arguments:
        _refuse_own_commands(given.question)
    _refuse_commands_of_others(given.question)
    _refuse_wrong_values(given)
    if given.local and given.cloud:
        raise UsageError("--local and --cloud exclude each other", hint="Leave one of them out")
    return _answer(given, environment)


def _parsed(arguments: list[str]) -> Arguments:
    try:
        return parse(arguments)
    except OSError:  # From --help and --version.
        from shammah.screen.printer import output_told

        with output_told():
            raise


def _refuse_own_commands(words: Sequence[str]) -> None:
    """A command behind an option is no question, which might be sent and cost."""
    if not words or words[0] not in _GROUPS:
        return
    from shammah.subcommands import is_subcommand  # Late: few questions begin with such a word.

    if is_subcommand(words):
        raise UsageError(
            f"Options stand before the command {' '.join(words[:2])}",
            hint=f"shammah {words[0]} --help shows those it has; to ask this as a question, put it in quotes behind -p",
        )


def _refuse_commands_of_others(words: Sequence[str]) -> None:
    """Up to three words that another program takes as a command are no question, which might be sent and cost."""
    if not words or words[0] not in _ELSEWHERE or len(words) > 3 or any(" " in word for word in words):
        return
    meant = " ".join(["shammah", _ELSEWHERE[words[0]], *words[1:]])
    raise UsageError(
        f"There is no command {words[0]}", hint=f'Type {meant}; to ask it as a question, shammah -p "{" ".join(words)}"'
    )


def _refuse_wrong_values(given: Arguments) -> None:
    """An option that sets a setting for this run is bound as that setting is."""
    from shammah.app import overrides  # Late: --help and --version should cost nothing.
    from shammah.config import Config, with_value

    for key, value in overrides(given).items():
        try:
            with_value(Config(), key, value)
        except ConfigError as error:
            option = "--" + key.partition(".")[2].replace("_", "-")
            raise UsageError(str(error).replace(key, option), hint="shammah --help shows what there is") from error


def _answer(given: Arguments, environment: Environment) -> int:
    from shammah import app

    question = " ".join([*given.question, given.prompt or ""]).strip()
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _piped_text()
    on_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if question or piped.strip() or (given.files and not on_terminal):
        return app.answer_once(given, environment, "\n\n".join(filter(None, [question, piped.strip("\n")])))
    if not on_terminal:
        raise UsageError("There is no question", hint='Ask one: shammah "question", or start shammah on a terminal')
    return app.chat(given, environment)


def _piped_text() -> str:
    """What was piped in; bytes that are no text are replaced, since half a log is better than none.

    Raises:
        UsageError: it is too much, or cannot be read.
    """
    from shammah.attachments import read_within_limit
    from shammah.decoding import text_of

    try:
        return text_of(read_within_limit(sys.stdin.buffer, "Piped text"), errors="replace")
    except OSError as cause:
        raise UsageError(
            f"Standard input cannot be read: {cause.strerror}", hint="Leave it as it is, or < FILE pipes a file in"
        ) from cause


def _tell(error: ShammahError) -> None:
    from shammah.screen.printer import error_lines, never_failing

    if sys.stderr is not None:  # Closed: print would take standard output in its place.
        with contextlib.suppress(OSError):
            print(error_lines(error), file=never_failing(sys.stderr))
