"""What each command of the chat does; `commands` holds their names and help."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shammah.attachments import NO_PATH, is_pipe, reason, with_files
from shammah.errors import EngineError, UsageError
from shammah.paths import STARTER
from shammah.router import AskedFor, Mode, may_leave
from shammah.screen import reports
from shammah.screen.doctor import findings
from shammah.screen.endings import how_it_ended
from shammah.screen.steps import Ask, Edit, Leave
from shammah.screen.welcome import set_up
from shammah.session import MARKED, WHOLLY, Question

if TYPE_CHECKING:
    from shammah.screen.repl import Chat

OF_CLAUDE = "Claude is never asked in this conversation: {}. /new begins an open one."
_BACK: dict[Mode, str] = {"local": "/local", "ask": "/set routing.mode ask"}
"""What takes the chat from mode cloud to the one before it; from any other, /auto does."""
GO_ON = "Go on exactly where your last answer broke off, without repeating it."


def leave(_chat: Chat, _argument: str) -> Leave:
    """End the chat."""
    return Leave()


def new(chat: Chat, _argument: str) -> None:
    """Begin another conversation."""
    chat.session.new(chat.chosen.config.chat.system)
    chat.out.note("A new conversation. The one before stays in the history; /sessions lists it.")
    _leave_files(chat)


def model(chat: Chat, argument: str) -> None:
    """Show the models, or answer with another one from the next question on, and remember it in config.toml."""
    if argument:
        chat.chosen.choose_model(argument)
    else:
        chat.out.rows(reports.models(chat.engines, chat.chosen.facts()))


def local(chat: Chat, _argument: str) -> None:
    """Answer on this machine only."""
    chat.chosen.mode = "local"
    chat.out.note("Only models on this machine answer.")


def auto(chat: Chat, _argument: str) -> None:
    """Let the router choose."""
    chat.chosen.mode = "auto"
    chat.out.note("The router chooses who answers.")


def cloud(chat: Chat, _argument: str) -> None:
    """Ask Claude from now on."""
    back = _BACK.get(chat.chosen.mode, "/auto")
    chat.chosen.use_cloud()
    if chat.session.private:
        chat.out.note(OF_CLAUDE.format(chat.session.private))
        return
    said = " with what was said before it" if any(exchange.answer for exchange in chat.session.exchanges) else ""
    chat.out.note(
        f"Claude ({chat.chosen.config.cloud.model}) answers: each question leaves this machine{said}. {back} goes back."
    )
    chat.asking.tell_news("claude")


def private(chat: Chat, argument: str) -> Ask | None:
    """Keep a question, or all that follow in this conversation, on this machine."""
    if argument:
        files = chat.files_of(argument)
        return Ask(Question(with_files(argument, files), MARKED))
    chat.keep_private(WHOLLY)
    chat.out.note("What you ask in this conversation stays on this machine from now on; /new begins an open one.")
    return None


def system(chat: Chat, argument: str) -> None:
    """Show or set the system prompt of this conversation."""
    if not argument:
        chat.out.say(chat.session.conversation.system or "No system prompt is set.")
        return
    if argument == "none":
        chat.session.set_system("")
        chat.out.note("There is none in this conversation from the next question on.")
        return
    chat.session.set_system(argument)
    chat.out.note("Set for this conversation, from the next question on. /set chat.system TEXT keeps it for all.")


def set_setting(chat: Chat, argument: str) -> None:
    """Show settings, or change one."""
    key, _, value = argument.partition(" ")
    if value.strip():
        chat.chosen.set(key, value.strip())
        return
    rows = reports.settings_table(chat.chosen.config, key)
    if not rows:
        raise UsageError(f"There is no setting {key}", hint="/set shows all")
    chat.out.rows(rows)


def why(chat: Chat, _argument: str) -> None:
    """Tell the route of the last answer."""
    if chat.session.receipt:
        chat.out.rows(reports.receipt(chat.session.receipt))
    else:
        chat.out.say("Nothing was answered yet in this conversation.")


def status(chat: Chat, _argument: str) -> None:
    """Tell model, state, memory and files."""
    chat.out.rows(reports.status(chat.engines, chat.chosen.facts(), chat.chosen.settings.path, chat.store.path))


def cost(chat: Chat, _argument: str) -> None:
    """Tell what Claude cost."""
    conversation = chat.store.cost(chat.session.conversation.id)
    chat.out.rows(reports.costs(conversation, chat.spending.days(7), chat.chosen.config.cloud.daily_budget_usd))


def context(chat: Chat, _argument: str) -> None:
    """Tell how full the context is."""
    try:
        engine = chat.engines.answering(chat.chosen.facts())
    except EngineError:  # Nobody would answer now: how long the conversation is can be told all the same.
        engine = None
    chat.out.rows(reports.context(chat.session, engine))


def retry(chat: Chat, argument: str) -> Ask:
    """Ask the last question again, here or at Claude; the history keeps both answers."""
    question = chat.session.retry(_whom("/retry", argument))
    if question is None:
        raise UsageError("There is no question to ask again", hint="Type one")
    return Ask(question)


def go_on(chat: Chat, argument: str) -> Ask:
    """Have an answer that broke off gone on with; whoever does it reads the part that is there."""
    receipt, exchanges = chat.session.receipt, chat.session.exchanges
    if not exchanges or not exchanges[-1].answer:
        raise UsageError("There is no answer to go on with", hint="Type a question, or /retry")
    if exchanges[-1].complete:
        hint = "Type what you want to hear more of; /retry asks the same question again"
        raise UsageError("The last answer is complete", hint=hint)
    other: AskedFor = "local" if receipt and receipt.route.engine == "claude" else "claude"
    private = chat.session.private or exchanges[-1].stays
    # Nobody else is asked unnamed who would not be asked a question.
    facts = replace(chat.chosen.facts(), private=private)
    may = other == "local" or may_leave(facts)
    open_to_it = may and other in chat.engines
    failed = receipt is not None and receipt.finish.reason == "failed"
    whom = _whom("/continue", argument) or (other if failed and open_to_it else "")
    if chat.engines.answering(replace(facts, asked_for=whom)).name == "starter":
        raise UsageError("The starter cannot go on with an answer", hint="/retry asks the question again")
    return Ask(Question(GO_ON, private, whom))


def _whom(command: str, argument: str) -> AskedFor:
    """Who is named by "", "local" or "cloud"."""
    match argument:
        case "" | "local":
            return argument
        case "cloud" | "claude":
            return "claude"
    raise UsageError(f"{command} does not know {argument}", hint=f"Type {command}, {command} local or {command} cloud")


def undo(chat: Chat, _argument: str) -> Edit:
    """Take the last exchange back and let the person edit its question."""
    exchange = chat.session.undo()
    if exchange is None:
        raise UsageError("There is nothing to take back", hint="Type a question")
    chat.out.note("Taken back. The question stands in the line below; Ctrl-C clears it.")
    if exchange.private and not chat.session.private:
        chat.keep_private(WHOLLY)
        chat.out.note("It was private: this conversation stays on this machine from now on; /new begins an open one.")
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
    name = _unquoted(argument)
    if not name:
        raise UsageError("/file needs a path", hint="Type /file PATH, or @PATH inside a question")
    if is_pipe(name):
        raise UsageError(f"{name} is a pipe", hint="Write what it gives into a file first, or start shammah with -f")
    attached = chat.attach(name)
    chat.out.note(f"{attached.shown} goes with the next question.")


def save(chat: Chat, argument: str) -> None:
    """Write the conversation to a file; one that exists is not overwritten."""
    name = _unquoted(argument)
    if not name:
        raise UsageError("/save needs a path", hint="Type /save notes.md, or notes.json for JSON")
    path = Path(name)
    text = reports.export(chat.session, chat.store, "json" if path.suffix == ".json" else "md")
    try:
        path = path.expanduser()
        _write_new(path, text)
    except FileExistsError as cause:
        raise UsageError(f"{path} is there already", hint="Choose another name; nothing is overwritten") from cause
    except NO_PATH as cause:
        raise UsageError(f"{path} cannot be written: {reason(cause)}", hint="Choose another path") from cause
    chat.out.note(f"Written to {path}")


def _unquoted(argument: str) -> str:
    """The path in an argument, without the quotes that a person may put around one."""
    return argument.strip("\"'")


def _write_new(path: Path, text: str) -> None:
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.write(text)
    except BaseException:  # Half a file would keep its name from the next try.
        path.unlink(missing_ok=True)
        raise


def export(chat: Chat, argument: str) -> None:
    """Show the conversation as Markdown or JSON, or write it to a file."""
    if argument in ("", "md", "markdown", "json"):
        chat.out.say(reports.export(chat.session, chat.store, "json" if argument == "json" else "md"))
    else:
        save(chat, argument)


def _leave_files(chat: Chat) -> None:
    """Send no file into another conversation than it was meant for."""
    if left := chat.detach():
        chat.out.note(f"Not sent with it: {', '.join(file.name for file in left)}.")


def sessions(chat: Chat, _argument: str) -> None:
    """List past conversations."""
    chat.out.rows(reports.conversations(chat.store))


def resume(chat: Chat, argument: str) -> None:
    """Go on with a past conversation."""
    if argument:
        chat.resume(chat.store.find(argument))
        _leave_files(chat)
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


def setup(chat: Chat, _argument: str) -> None:
    """Ask the set-up questions, and take the answers up at once."""
    set_up(chat)


def doctor(chat: Chat, _argument: str) -> None:
    """Tell what works here."""
    facts = chat.chosen.facts()
    claude = reports.claude(facts, chat.engines.cloud.warning)
    try:
        folder = chat.engines.models.answering(facts).spec.folder
    except EngineError:  # None is to run here; the providers are looked at all the same.
        folder = STARTER
    hub = "" if chat.chosen.no_fetching else chat.engines.models.hub
    chat.out.rows(findings(chat.chosen.settings.path.parent, hub, folder, claude))


def shell(chat: Chat, argument: str) -> None:
    """Run a command of the shell."""
    if not argument:
        raise UsageError("! needs a command", hint="Type !ls, say")
    try:
        ended = subprocess.run(argument, shell=True, check=False).returncode
    except (OSError, ValueError) as cause:  # Too long for the system, or a zero byte in it.
        hint = "Shorten it: what is long goes into a file that it names"
        raise UsageError(f"The command cannot be run: {reason(cause)}", hint=hint) from cause
    if ended:
        chat.out.note(how_it_ended(ended))
