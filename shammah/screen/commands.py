"""The commands of the chat: one table of names, arguments, help and functions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shammah.errors import UsageError
from shammah.screen import actions
from shammah.screen.keys import key_table
from shammah.screen.steps import Step

if TYPE_CHECKING:
    from shammah.screen.repl import Chat

Completes = Literal["", "path", "setting", "conversation", "model", "command", "engine", "form"]


@dataclass(frozen=True)
class Command:
    """One command; the first of `names` is the one shown."""

    names: tuple[str, ...]
    arguments: str
    help: str
    run: Callable[[Chat, str], Step | None]
    completes: Completes = ""


def find(name: str) -> Command:
    """The command with this name.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    for command in COMMANDS:
        if name in command.names:
            return command
    names = [known for command in COMMANDS for known in command.names if known[1:].isalpha()]
    near = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    hint = f"Did you mean {near[0]}? /help shows all" if near else "/help shows all commands"
    raise UsageError(f"There is no command {name}", hint=f"{hint}; put a space before it to send it as a question")


def is_command(line: str) -> bool:
    """Whether a line is a command and no question: it begins with a slash or an exclamation mark."""
    return line.startswith(("/", "!"))


def carry_out(chat: Chat, line: str) -> Step | None:
    """Carry out a line that is a command."""
    if line.startswith("!"):
        return find("!").run(chat, line[1:].strip())
    name, _, argument = line.strip().partition(" ")
    command = find(name)
    if argument and not command.arguments:
        raise UsageError(f"{name} takes nothing after it", hint=f"Type {name} alone, then what is to follow")
    return command.run(chat, argument.strip())


def table() -> list[tuple[str, str]]:
    """Each command with its arguments, and what it does: for /help and the README."""
    return [_row(command) for command in COMMANDS]


def _row(command: Command) -> tuple[str, str]:
    return " ".join([", ".join(command.names), command.arguments]).strip(), command.help


def _help(chat: Chat, argument: str) -> None:
    rows = table()
    if argument:
        rows = [_row(find(argument if argument.startswith(("/", "!")) else f"/{argument}"))]
    chat.out.rows(rows)
    if not argument:
        chat.out.say("")
        chat.out.rows([(key, does.replace("`", "")) for key, does in key_table(lines_only=chat.out.lines_only)])


COMMANDS: tuple[Command, ...] = (
    Command(("/help", "/?"), "[COMMAND]", "show the commands, or what one does", _help, "command"),
    Command(("/exit", "/quit", "/bye"), "", "leave the chat", actions.leave),
    Command(("/new", "/clear"), "", "begin a new conversation; the old one stays in the history", actions.new),
    Command(
        ("/model",),
        "[NAME]",
        "show the models, or switch to one: a size, OWNER/NAME, or a folder",
        actions.model,
        "model",
    ),
    Command(("/local",), "", "answer on this machine only", actions.local),
    Command(("/cloud",), "", "have Claude answer: each question leaves this machine", actions.cloud),
    Command(("/auto",), "", "let the router choose who answers", actions.auto),
    Command(
        ("/system",),
        "[TEXT]",
        "show the system prompt, or set it for this conversation; none clears it",
        actions.system,
    ),
    Command(("/set",), "[KEY [VALUE]]", "show settings, or change one in config.toml", actions.set_setting, "setting"),
    Command(("/why",), "", "who gave the last answer and why, its tokens, time, bytes sent and cost", actions.why),
    Command(("/status",), "", "the model in use, its state, memory and files", actions.status),
    Command(("/cost",), "", "what Claude has cost, in this conversation and by day", actions.cost),
    Command(("/context",), "", "how full the context is, and what is left out of it", actions.context),
    Command(
        ("/retry", "/regen"),
        "[local|cloud]",
        "ask the last question again; both answers are kept",
        actions.retry,
        "engine",
    ),
    Command(("/continue",), "[local|cloud]", "have an answer that broke off gone on with", actions.go_on, "engine"),
    Command(
        ("/private",),
        "[QUESTION]",
        "ask this without Claude ever seeing it; alone, for all that follows in this conversation",
        actions.private,
    ),
    Command(("/undo",), "", "take the last question and its answer back", actions.undo),
    Command(("/copy",), "", "put the last answer on the clipboard", actions.copy),
    Command(
        ("/file",), "PATH", "send a file with the next question; @PATH in a question does too", actions.file, "path"
    ),
    Command(("/save",), "PATH", "write the conversation to a file, .md or .json", actions.save, "path"),
    Command(
        ("/export",), "[md|json|PATH]", "show the conversation as Markdown or JSON, or write it", actions.export, "form"
    ),
    Command(("/sessions",), "", "list past conversations", actions.sessions),
    Command(("/resume",), "ID", "go on with a past conversation", actions.resume, "conversation"),
    Command(("/search",), "WORDS", "search all conversations", actions.search),
    Command(("/editor",), "[TEXT]", "write the next question in your editor", actions.editor),
    Command(("/setup",), "", "ask the set-up questions again", actions.setup),
    Command(("/doctor",), "", "what works here, what does not, and the next step", actions.doctor),
    Command(("!",), "COMMAND", "run a command of the shell: !ls", actions.shell, "path"),
)
