"""The commands of the chat: one table of names, arguments, help and functions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shammah.errors import NotYetError, UsageError

if TYPE_CHECKING:
    from shammah.screen.repl import Chat

Completes = Literal["", "path", "setting", "conversation", "model"]


@dataclass(frozen=True)
class Ask:
    """What the loop does next: ask this question."""

    question: str


@dataclass(frozen=True)
class Edit:
    """What the loop does next: let the person edit this, in their editor if `in_editor`."""

    text: str
    in_editor: bool = False


@dataclass(frozen=True)
class Leave:
    """What the loop does next: end the chat."""


Next = Ask | Edit | Leave | None


@dataclass(frozen=True)
class Command:
    """One command; the first of `names` is the one shown."""

    names: tuple[str, ...]
    arguments: str
    help: str
    run: Callable[[Chat, str], Next]
    completes: Completes = ""


def find(name: str) -> Command:
    """The command with this name.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    for command in COMMANDS:
        if name in command.names:
            return command
    names = [known for command in COMMANDS for known in command.names]
    near = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"Did you mean {near[0]}? /help shows all" if near else "/help shows all commands"
    raise UsageError(f"There is no command {name}", hint=f"{hint}; put a space before it to send it as a question")


def is_command(line: str) -> bool:
    """Whether a line is a command and no question: it begins with a slash or an exclamation mark."""
    return line.startswith(("/", "!"))


def carry_out(chat: Chat, line: str) -> Next:
    """Carry out a line that is a command."""
    if line.startswith("!"):
        return find("!").run(chat, line[1:].strip())
    name, _, argument = line.strip().partition(" ")
    return find(name).run(chat, argument.strip())


def table() -> list[tuple[str, str]]:
    """Each command with its arguments, and what it does: for /help and the README."""
    return [(" ".join([", ".join(c.names), c.arguments]).strip(), c.help) for c in COMMANDS]


def _help(chat: Chat, argument: str) -> Next:
    rows = table()
    if argument:
        command = find(argument if argument.startswith("/") else f"/{argument}")
        rows = [(" ".join([", ".join(command.names), command.arguments]).strip(), command.help)]
    chat.say_rows(rows)
    if not argument:
        chat.note("Enter sends, Ctrl-J or Alt-Enter starts a new line, Ctrl-C stops an answer, Ctrl-D leaves.")
        chat.note(
            "Tab completes, Ctrl-R searches past input, Ctrl-X Ctrl-E opens your editor, Shift-Tab changes the mode."
        )
    return None


def _leave(_chat: Chat, _argument: str) -> Next:
    return Leave()


def _new(chat: Chat, _argument: str) -> Next:
    chat.session.new(chat.config.chat.system)
    chat.note("A new conversation. The one before stays in the history; /sessions lists it.")
    return None


def _model(chat: Chat, argument: str) -> Next:
    if argument:
        chat.switch_model(argument)
    else:
        chat.say_rows(chat.model_rows())
    return None


def _local(chat: Chat, _argument: str) -> Next:
    chat.set_mode("local")
    return None


def _auto(chat: Chat, _argument: str) -> Next:
    chat.set_mode("auto")
    return None


def _cloud(_chat: Chat, _argument: str) -> Next:
    raise not_yet("Asking Claude")


def not_yet(what: str) -> NotYetError:
    """The error of a command whose part of the program is not built yet."""
    return NotYetError(f"{what} is not part of this version yet", hint="Everything here is answered on this machine")


def _system(chat: Chat, argument: str) -> Next:
    if not argument:
        chat.say(chat.session.conversation.system or "No system prompt is set.")
        return None
    chat.session.set_system("" if argument == "none" else argument)
    chat.note("Set for this conversation, from the next question on. /set chat.system keeps it for all.")
    return None


def _set(chat: Chat, argument: str) -> Next:
    key, _, value = argument.partition(" ")
    if not key:
        chat.say_rows(chat.setting_rows())
    elif not value.strip():
        chat.say_rows(chat.setting_rows(key))
    else:
        chat.set_setting(key, value.strip())
    return None


def _why(chat: Chat, _argument: str) -> Next:
    receipt = chat.session.receipt
    chat.say(f"{receipt.route.why}. Nothing was sent." if receipt else "Nothing was answered yet in this conversation.")
    return None


def _status(chat: Chat, _argument: str) -> Next:
    chat.say_rows(chat.status_rows())
    return None


def _cost(chat: Chat, _argument: str) -> Next:
    chat.say("Nothing: every answer came from this machine, and this version does not ask Claude yet.")
    return None


def _context(chat: Chat, _argument: str) -> Next:
    chat.say_rows(chat.context_rows())
    return None


def _retry(chat: Chat, argument: str) -> Next:
    if argument == "cloud":
        raise not_yet("Asking Claude")
    if argument not in ("", "local"):
        raise UsageError(f"/retry does not know {argument}", hint="Type /retry, /retry local or /retry cloud")
    exchange = chat.session.undo()
    if exchange is None:
        raise UsageError("There is no question to ask again", hint="Type one")
    return Ask(exchange.question)


def _undo(chat: Chat, _argument: str) -> Next:
    exchange = chat.session.undo()
    if exchange is None:
        raise UsageError("There is nothing to take back", hint="Type a question")
    chat.note("Taken back. The question stands in the line below; Ctrl-C clears it.")
    return Edit(exchange.question)


def _copy(chat: Chat, _argument: str) -> Next:
    answers = [exchange.answer for exchange in chat.session.exchanges if exchange.answer]
    if not answers:
        raise UsageError("There is no answer to copy", hint="Ask something first")
    chat.copy(answers[-1])
    return None


def _file(chat: Chat, argument: str) -> Next:
    if not argument:
        raise UsageError("/file needs a path", hint="Type /file PATH, or @PATH inside a question")
    file = chat.attach(argument.strip("\"'"))
    chat.note(f"{file.name} ({len(file.text):,} characters) goes with the next question.")
    return None


def _save(chat: Chat, argument: str) -> Next:
    if not argument:
        raise UsageError("/save needs a path", hint="Type /save notes.md, or notes.json for JSON")
    chat.save(argument.strip("\"'"))
    return None


def _export(chat: Chat, argument: str) -> Next:
    if argument in ("", "md", "markdown", "json"):
        chat.show_export("json" if argument == "json" else "md")
    else:
        chat.save(argument.strip("\"'"))
    return None


def _sessions(chat: Chat, _argument: str) -> Next:
    chat.say_rows(chat.conversation_rows())
    return None


def _resume(chat: Chat, argument: str) -> Next:
    if not argument:
        chat.say_rows(chat.conversation_rows())
        chat.note("/resume ID goes on with one of them.")
    else:
        chat.resume(argument)
    return None


def _search(chat: Chat, argument: str) -> Next:
    if not argument:
        raise UsageError("/search needs words", hint="Type /search WORDS")
    chat.show_search(argument)
    return None


def _editor(_chat: Chat, argument: str) -> Next:
    return Edit(argument, in_editor=True)


def _setup(_chat: Chat, _argument: str) -> Next:
    raise NotYetError(
        "The set-up questions are not part of this version yet", hint="/set changes settings; /set shows them"
    )


def _doctor(chat: Chat, _argument: str) -> Next:
    chat.show_doctor()
    return None


def _shell(chat: Chat, argument: str) -> Next:
    if not argument:
        raise UsageError("! needs a command", hint="Type !ls, say")
    chat.run_shell(argument)
    return None


COMMANDS: tuple[Command, ...] = (
    Command(("/help", "/?"), "[COMMAND]", "show the commands, or what one does", _help),
    Command(("/exit", "/quit", "/bye"), "", "leave the chat", _leave),
    Command(("/new", "/clear"), "", "begin a new conversation; the old one stays in the history", _new),
    Command(("/model",), "[NAME]", "show the models, or switch to one: starter, or a folder", _model, "model"),
    Command(("/local",), "", "answer on this machine only", _local),
    Command(("/cloud",), "", "ask Claude (not in this version yet)", _cloud),
    Command(("/auto",), "", "let the router choose who answers", _auto),
    Command(("/system",), "[TEXT]", "show the system prompt, or set it for this conversation (none: without)", _system),
    Command(("/set",), "[KEY [VALUE]]", "show settings, or change one in config.toml", _set, "setting"),
    Command(("/why",), "", "why the last answer came from where it came", _why),
    Command(("/status",), "", "the model in use, its state, memory and files", _status),
    Command(("/cost",), "", "what Claude has cost", _cost),
    Command(("/context",), "", "how full the context is, and what is left out of it", _context),
    Command(("/retry", "/regen"), "[local|cloud]", "ask the last question again", _retry),
    Command(("/undo",), "", "take the last question and its answer back", _undo),
    Command(("/copy",), "", "put the last answer on the clipboard", _copy),
    Command(("/file",), "PATH", "send a file with the next question; @PATH in a question does too", _file, "path"),
    Command(("/save",), "PATH", "write the conversation to a file, .md or .json", _save, "path"),
    Command(("/export",), "[md|json|PATH]", "show the conversation as Markdown or JSON, or write it", _export, "path"),
    Command(("/sessions",), "", "list past conversations", _sessions),
    Command(("/resume",), "ID", "go on with a past conversation", _resume, "conversation"),
    Command(("/search",), "WORDS", "search all conversations", _search),
    Command(("/editor",), "[TEXT]", "write the next question in your editor", _editor),
    Command(("/setup",), "", "ask the set-up questions again (not in this version yet)", _setup),
    Command(("/doctor",), "", "what works here, what does not, and the next step", _doctor),
    Command(("!",), "COMMAND", "run a command of the shell: !ls", _shell, "path"),
)
