"""What each command of the chat does; `commands` holds their names and help."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from shammah.errors import NotYetError, UsageError
from shammah.screen import reports
from shammah.screen.endings import how_it_ended
from shammah.screen.steps import Ask, Edit, Leave

if TYPE_CHECKING:
    from shammah.screen.repl import Chat


def leave(_chat: Chat, _argument: str) -> Leave:
    """End the chat."""
    return Leave()


def new(chat: Chat, _argument: str) -> None:
    """Begin another conversation."""
    chat.session.new(chat.config.chat.system)
    chat.out.note("A new conversation. The one before stays in the history; /sessions lists it.")


def model(chat: Chat, argument: str) -> None:
    """Show the models, or answer with another one from the next question on, and remember it in config.toml."""
    if argument:
        chat.choose_model(argument)
    else:
        chat.out.rows(reports.models(chat.models, chat.facts()))


def local(chat: Chat, _argument: str) -> None:
    """Answer on this machine only."""
    chat.mode = "local"
    chat.out.note("Only models on this machine answer.")


def auto(chat: Chat, _argument: str) -> None:
    """Let the router choose."""
    chat.mode = "auto"
    chat.out.note("The router chooses who answers.")


def cloud(_chat: Chat, _argument: str) -> None:
    """Ask Claude."""
    raise NotYetError(
        "Asking Claude is not part of this version yet", hint="Everything here is answered on this machine"
    )


def system(chat: Chat, argument: str) -> None:
    """Show or set the system prompt of this conversation."""
    if not argument:
        chat.out.say(chat.session.conversation.system or "No system prompt is set.")
        return
    chat.session.set_system("" if argument == "none" else argument)
    chat.out.note("Set for this conversation, from the next question on. /set chat.system keeps it for all.")


def set_setting(chat: Chat, argument: str) -> None:
    """Show settings, or change one."""
    key, _, value = argument.partition(" ")
    if value.strip():
        chat.change_setting(key, value.strip())
        return
    rows = reports.settings_table(chat.config, key)
    if not rows:
        raise UsageError(f"There is no setting {key}", hint="/set shows all")
    chat.out.rows(rows)


def why(chat: Chat, _argument: str) -> None:
    """Tell the route of the last answer."""
    receipt = chat.session.receipt
    chat.out.say(
        f"{receipt.route.why}. Nothing was sent." if receipt else "Nothing was answered yet in this conversation."
    )


def status(chat: Chat, _argument: str) -> None:
    """Tell model, state, memory and files."""
    chat.out.rows(reports.status(chat.models, chat.facts(), chat.settings.path, chat.store.path))


def cost(chat: Chat, _argument: str) -> None:
    """Tell what Claude cost."""
    chat.out.say("Nothing: every answer came from this machine, and this version does not ask Claude yet.")


def context(chat: Chat, _argument: str) -> None:
    """Tell how full the context is."""
    size = reports.context_of(chat.models.answering(chat.facts()))
    chat.out.rows(reports.context(chat.session, size))


def retry(chat: Chat, argument: str) -> Ask:
    """Ask the last question again; the history keeps the answer before, marked as taken back."""
    if argument == "cloud":
        cloud(chat, argument)
    if argument not in ("", "local"):
        raise UsageError(f"/retry does not know {argument}", hint="Type /retry, /retry local or /retry cloud")
    exchange = chat.session.undo()
    if exchange is None:
        raise UsageError("There is no question to ask again", hint="Type one")
    return Ask(exchange.question)


def undo(chat: Chat, _argument: str) -> Edit:
    """Take the last exchange back and let the person edit its question."""
    exchange = chat.session.undo()
    if exchange is None:
        raise UsageError("There is nothing to take back", hint="Type a question")
    chat.out.note("Taken back. The question stands in the line below; Ctrl-C clears it.")
    return Edit(exchange.question)


def copy(chat: Chat, _argument: str) -> None:
    """Put the last answer on the clipboard."""
    from shammah.screen.clipboard import copy as put  # Late: seldom wanted.

    answers = [exchange.answer for exchange in chat.session.exchanges if exchange.answer]
    if not answers:
        raise UsageError("There is no answer to copy", hint="Ask something first")
    chat.out.note(f"Copied through {put(answers[-1], through_terminal=not chat.out.lines_only)}.")


def file(chat: Chat, argument: str) -> None:
    """Send a file with the next question."""
    if not argument:
        raise UsageError("/file needs a path", hint="Type /file PATH, or @PATH inside a question")
    attached = chat.attach(argument.strip("\"'"))
    chat.out.note(f"{attached.name} ({len(attached.text):,} characters) goes with the next question.")


def save(chat: Chat, argument: str) -> None:
    """Write the conversation to a file; one that exists is not overwritten."""
    if not argument:
        raise UsageError("/save needs a path", hint="Type /save notes.md, or notes.json for JSON")
    path = Path(argument.strip("\"'")).expanduser()
    text = reports.export(chat.session, chat.store, "json" if path.suffix == ".json" else "md")
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError as cause:
        raise UsageError(f"{path} is there already", hint="Choose another name; nothing is overwritten") from cause
    except OSError as cause:
        raise UsageError(f"{path} cannot be written: {cause.strerror}", hint="Choose another folder") from cause
    chat.out.note(f"Written to {path}")


def export(chat: Chat, argument: str) -> None:
    """Show the conversation as Markdown or JSON, or write it to a file."""
    if argument in ("", "md", "markdown", "json"):
        chat.out.say(reports.export(chat.session, chat.store, "json" if argument == "json" else "md"))
    else:
        save(chat, argument)


def sessions(chat: Chat, _argument: str) -> None:
    """List past conversations."""
    chat.out.rows(reports.conversations(chat.store))


def resume(chat: Chat, argument: str) -> None:
    """Go on with a past conversation."""
    if argument:
        chat.resume(chat.store.find(argument))
        return
    sessions(chat, argument)
    chat.out.note("/resume ID goes on with one of them.")


def search(chat: Chat, argument: str) -> None:
    """Search all conversations."""
    if not argument:
        raise UsageError("/search needs words", hint="Type /search WORDS")
    chat.out.rows(reports.hits(chat.store, argument))


def editor(_chat: Chat, argument: str) -> Edit:
    """Let the person write the next question in their editor."""
    return Edit(argument, in_editor=True)


def setup(_chat: Chat, _argument: str) -> None:
    """Ask the set-up questions."""
    raise NotYetError(
        "The set-up questions are not part of this version yet", hint="/set changes settings; /set alone shows them"
    )


def doctor(chat: Chat, _argument: str) -> None:
    """Tell what works here."""
    chat.out.rows(reports.doctor(chat.settings.path.parent, chat.hub, chat.model_folder))


def shell(chat: Chat, argument: str) -> None:
    """Run a command of the shell."""
    if not argument:
        raise UsageError("! needs a command", hint="Type !ls, say")
    ended = subprocess.run(argument, shell=True, check=False).returncode
    if ended:
        chat.out.note(how_it_ended(ended))
