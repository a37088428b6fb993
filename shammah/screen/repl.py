"""The chat: read a line; a slash is a command, anything else a question."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from shammah.attachments import Attachment, named_files, named_in_vain, read_file, secret_of, with_files
from shammah.cloud.spending import Spending
from shammah.engines import Engines
from shammah.errors import EngineError, HistoryError, ShammahError
from shammah.history.store import Conversation, Store
from shammah.message import Message
from shammah.screen import reports, toolbar
from shammah.screen.asking import Asking
from shammah.screen.chosen import Chosen
from shammah.screen.commands import carry_out, is_command
from shammah.screen.output import Output
from shammah.screen.person import LineReader, Listener
from shammah.screen.steps import Ask, Edit, Leave, Step
from shammah.session import Question, Session
from shammah.settings import Save


class Chat:
    """The conversation on a terminal: `run` reads and carries out, commands act on its parts."""

    def __init__(
        self,
        *,
        chosen: Chosen,
        asking: Asking,
        session: Session,
        engines: Engines,
        store: Store,
        spending: Spending,
        out: Output,
        keyboard: Listener,
        ask_setup: Callable[[Save], bool],
    ) -> None:
        """`ask_setup` asks the set-up questions and saves the answers; false where the person stopped it."""
        self.chosen = chosen
        self.asking = asking
        self.session = session
        self.engines = engines
        self.store = store
        self.spending = spending
        self.out = out
        self.ask_setup = ask_setup
        self._keyboard = keyboard
        self._files: list[Attachment] = []
        """What /file sends with the next question."""

    # The loop

    def run(self, prompt: LineReader) -> None:
        """Read and carry out lines until the person leaves."""
        step: Step | None = None
        with contextlib.suppress(EOFError):
            while not isinstance(step, Leave):
                step = self._carry_out(step if isinstance(step, Ask) else self._read(prompt, step or Edit()))

    def _read(self, prompt: LineReader, edit: Edit) -> str:
        """The next line; EOFError where the person leaves."""
        self.engines.models.settle()  # A terminal of lines paints no bottom line, where this is done else.
        self._keyboard.take_interrupt()  # One that came too late for the answer is not meant for the next.
        vi = self.chosen.config.chat.editing_mode == "vi"
        line = prompt.read(edit.text, vi=vi, in_editor=edit.in_editor)
        if trouble := prompt.history.take_trouble():
            self.out.note(trouble)
        return line

    def _carry_out(self, what: str | Ask) -> Step | None:
        """A line or a question; what goes wrong is told, and the chat goes on."""
        try:
            if not isinstance(what, Ask):
                return self._understand(what)
            self.asking.ask(what.question)
        except ShammahError as error:
            self.out.error(error)
        return None

    def _understand(self, line: str) -> Step | None:
        if is_command(line):
            return carry_out(self, line)
        if not line.strip() and not self._files:
            return None
        files = self.files_of(line)
        return Ask(Question(with_files(line, files), secret_of(line, files)))

    # What goes with a question

    def attach(self, name: str) -> Attachment:
        """Send a file with the next question; named again, it is read again."""
        attached = read_file(name)
        self._files = [*(file for file in self._files if file.name != name), attached]
        return attached

    def detach(self) -> list[Attachment]:
        """Send no file with the next question; returns those that were to go."""
        files, self._files = self._files, []
        return files

    def files_of(self, line: str) -> list[Attachment]:
        """The files that go with a question: those sent for, and those it names."""
        named = named_files(line)
        for name in named_in_vain(line):
            self.out.note(f"@{name} is no file here; it goes as it is written.")
        for file in named:
            self.out.note(f"{file.shown} goes with the question.")
        return list({file.name: file for file in [*self.detach(), *named]}.values())

    # The conversation

    def keep_private(self, reason: str) -> None:
        """Keep every further question of this conversation on this machine."""
        try:
            self.session.keep_private(reason)
        except HistoryError as error:
            self.out.error(error)

    def resume(self, conversation: Conversation) -> None:
        """Go on with a past conversation: show its end, and have the model read it in the background."""
        turns = self.session.resume(conversation)
        if turns:
            last = turns[-1].answered
            ending = {"interrupted": " … (interrupted)", "failed": " … (failed)"}.get(last.reason, "")
            self.out.say(f"› {turns[-1].question}")
            answer = self.out.answer(self.chosen.config.chat.markdown)
            answer.write(f"{last.answer}{ending}")
            answer.end()
        self.out.note(f"{reports.turns(len(turns))} of {conversation.id} {'is' if len(turns) == 1 else 'are'} back.")
        self.engines.warm(self.chosen.facts(), self.session.messages())

    # While the prompt waits

    def bottom_line(self, width: int) -> str:
        """The line under the prompt; looks at states only.

        It is painted only while the prompt waits, so a model that has become ready takes over here, too.
        """
        self.engines.models.settle()
        return toolbar.bottom_line(toolbar.status(self.engines, self.chosen.facts(), self.session.receipt), width)

    def read_ahead(self, text: str) -> None:
        """Have the model read a long text that is not sent yet; what is changed in it later is read again then."""
        if is_command(text):
            return
        with contextlib.suppress(EngineError):
            self.engines.models.read_ahead(self.chosen.facts(), [*self.session.messages(), Message("user", text)])
