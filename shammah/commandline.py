"""What can be asked for on the command line, and the parser that tells wrong usage in our two lines."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from shammah import __version__
from shammah.errors import UsageError

TAKE_ANY_TEXT = {"-p": "--prompt", "--prompt": "--prompt", "-s": "--system", "--system": "--system"}
"""Options whose text a person writes, and their long names."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing and leaving."""

    def is_option(self, word: str) -> bool:
        """Whether a word is an option as it may be typed: with its value, or several of a letter each in one."""
        known = self._option_string_actions
        if word == "--" or word.partition("=")[0] in known:
            return True
        if not re.fullmatch(r"-\w\S+", word):
            return False
        letters = [known.get(f"-{letter}") for letter in word[1:]]
        return None not in letters or (letters[0] is not None and letters[0].nargs != 0)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(message[:1].upper() + message[1:], hint=f"{self.prog} --help shows what there is")

    def _print_message(self, message: str, file: Any = None) -> None:
        # Argparse's own passes over a full disk in silence.
        (file or sys.stdout).write(message)


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
    private: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    greedy: bool = False
    seed: int | None = None
    json: bool = False
    no_log: bool = False
    quiet: bool = False
    verbose: bool = False


def parse(arguments: Sequence[str]) -> Arguments:
    """The arguments of the chat and of one question; whether a number is in its bounds, the settings tell.

    Raises:
        UsageError: they are not understood.
    """
    made = parser()
    return made.parse_args(_bound(list(arguments), made), Arguments())


def _bound(arguments: list[str], options: Parser) -> list[str]:
    """The arguments, with a text bound to its option: argparse takes none that begins with a dash."""
    for place, (option, text) in enumerate(pairwise(arguments)):
        if option == "--":
            break
        if option in TAKE_ANY_TEXT and not options.is_option(text):
            return [*arguments[:place], f"{TAKE_ANY_TEXT[option]}={text}", *_bound(arguments[place + 2 :], options)]
    return arguments


def parser() -> Parser:
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
    add("-m", "--model", metavar="NAME", help="answer with this model: a size, starter, OWNER/NAME, or a folder")
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
    add("--cloud", action="store_true", help="ask Claude")
    add("--private", action="store_true", help="keep this on this machine, and out of what Claude gets later")
    add("--max-tokens", type=int, metavar="N", help="most tokens of the answer")
    add("--temperature", type=float, metavar="T", help="0 always takes the likeliest word")
    add("--top-k", type=int, metavar="K", help="choose among the K likeliest words")
    add("--greedy", action="store_true", help="the same as --temperature 0")
    add("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    add("--json", action="store_true", help="print one JSON object")
    add("-n", "--no-log", action="store_true", help="keep nothing of this in the history")
    add("-q", "--quiet", action="store_true", help="print the answer only")
    add("--verbose", action="store_true", help="tell what is done, and the whole trace of an error, also of a command")
    add("--version", action="version", version=f"shammah {__version__}")
    return made
