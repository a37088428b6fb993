"""The chat: read a line; a slash is a command, anything else a question."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shammah.attachments import Attachment, named_files, read_file, with_files
from shammah.config import Config, Local, Setting, settings
from shammah.errors import ConfigError, EngineError, NotYetError, ShammahError
from shammah.history.store import Conversation, Store
from shammah.message import Finish, Message
from shammah.models.catalog import SIZES
from shammah.models.engines import LocalModels
from shammah.models.wanted import licence_remark, settings_for
from shammah.router import Facts, Mode
from shammah.screen import reports
from shammah.screen.answer import receipt_line, show_answer
from shammah.screen.commands import Completes, carry_out, is_command
from shammah.screen.output import Output
from shammah.screen.person import LineReader, Listener
from shammah.screen.steps import Ask, Edit, Leave, Step
from shammah.screen.toolbar import Status, bottom_line
from shammah.session import Session
from shammah.settings import Settings

LOCAL_MODE = "Local mode fetches nothing: /auto allows it, or run shammah models pull NAME"


class Chat:
    """The conversation on a terminal: `run` reads and carries out, commands act on its parts."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        models: LocalModels,
        store: Store,
        out: Output,
        keyboard: Listener,
    ) -> None:
        self.session = session
        self.settings = settings
        self.config: Config = settings.current()
        self.models = models
        self.store = store
        self.out = out
        self._keyboard = keyboard
        self._mode: Mode | None = None
        self._files: list[Attachment] = []
        self._wanted: tuple[Local, str] | None = None

    # The loop

    def run(self, prompt: LineReader) -> None:
        """Read and carry out lines until the person leaves."""
        step: Step | None = None
        while not isinstance(step, Leave):
            if isinstance(step, Ask):
                step = self._carry_out(step)
                continue
            edit = step or Edit()
            self._keyboard.take_interrupt()  # One that came too late for the answer is not meant for the next.
            try:
                line = prompt.read(edit.text, vi=self.config.chat.editing_mode == "vi", in_editor=edit.in_editor)
            except EOFError:
                return
            if trouble := prompt.history.take_trouble():
                self.out.note(trouble)
            step = self._carry_out(line)

    def _carry_out(self, what: str | Ask) -> Step | None:
        """A line or a question; what goes wrong is told, and the chat goes on."""
        try:
            if not isinstance(what, Ask):
                return self._understand(what)
            self._ask(what.question)
        except ShammahError as error:
            self.out.error(error)
        return None

    def _understand(self, line: str) -> Step | None:
        if is_command(line):
            return carry_out(self, line)
        if not line.strip() and not self._files:
            return None
        files = self._files + named_files(line)
        self._files = []
        return Ask(with_files(line, files))

    def _ask(self, question: str) -> None:
        """Ask a question and show the answer."""
        self._refresh()
        self.models.start()
        facts = self.facts()
        events = self.session.ask(question, facts, reports.options(self.config))
        answer = self.out.answer(self.config.chat.markdown)
        with self._keyboard.listening():
            finish = show_answer(
                events,
                write=answer.write,
                end=answer.end,
                note=self.out.note,
                waiting=self.out.waiting(),
                stop_pressed=self._keyboard.stop_pressed,
            )
        self._tell_end(finish)
        self.models.warm(facts, self.session.messages())

    def _tell_end(self, finish: Finish | None) -> None:
        receipt = self.session.receipt
        if finish is None:
            self.out.note("… stopped. What was said is kept; /retry asks again.")
        elif finish.reason == "failed":
            self.out.error(EngineError(finish.error, hint=f"{finish.hint}. What was said is kept"))
        elif receipt is not None:
            if finish.reason == "length":
                self.out.note("The answer reached its limit; generation.max_tokens or local.context sets it.")
            device = reports.device(self.models[receipt.route.engine])
            self.out.note(receipt_line(receipt.route.engine, receipt.model, device, finish))

    def _refresh(self) -> None:
        """Take up what changed in config.toml; what is wrong there is told, and what was before it stays."""
        try:
            self.config = self.settings.current()
            self._want_models()
        except (ConfigError, NotYetError, EngineError) as error:
            self.out.error(error)

    def _want_models(self) -> None:
        wanted = self.config.local, LOCAL_MODE if self.mode == "local" else ""
        if wanted != self._wanted:
            self._wanted = wanted
            self.models.want(wanted[0], forbidden=wanted[1])
        self.models.settle()

    # What the commands change

    @property
    def mode(self) -> Mode:
        """How questions are routed: as set in this chat, else as config.toml says."""
        return self._mode or self.config.routing.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        with contextlib.suppress(ShammahError):  # Told at the next question; here the prompt is on the screen.
            self._want_models()
            self.models.start()

    def change_setting(self, key: str, value: str) -> None:
        """Change a setting in config.toml and here."""
        self.settings.set(key, value)
        if key == "routing.mode":
            self._mode = None
        self._refresh()
        self.models.start()
        self.out.note(f"{key} is now {reports.shown_value(self.config, key)}, in {self.settings.path}")

    def choose_model(self, name: str) -> None:
        """Answer with another model as soon as it is ready, and remember it in config.toml."""
        for key, value in settings_for(name).items():
            self.settings.set(key, value)
        self._refresh()
        self.models.retry()
        self.models.start()
        self.out.note(f"{name} is the model from now on, in {self.settings.path}")
        if remark := licence_remark(name, self.config.local.variant):
            self.out.note(remark)

    def attach(self, name: str) -> Attachment:
        """Send a file with the next question."""
        self._files.append(read_file(name))
        return self._files[-1]

    def resume(self, conversation: Conversation) -> None:
        """Go on with a past conversation: show its end, and have the model read it in the background."""
        turns = self.session.resume(conversation)
        if turns:
            ending = {"interrupted": " … (interrupted)", "failed": " … (failed)"}.get(turns[-1].reason, "")
            self.out.say(f"› {turns[-1].question}\n{turns[-1].answer}{ending}")
        self.out.note(f"{len(turns)} turns of {conversation.id} are back.")
        self.models.warm(self.facts(), self.session.messages())

    # What the prompt asks for

    def begin(self, files: Sequence[str], earlier: Conversation | None, *, quiet: bool) -> None:
        """A word of welcome, the files of the command line, and the conversation to go on with."""
        if not quiet:
            self.out.note("shammah · what you type stays on this machine · /help shows what there is")
        self._refresh()
        if not quiet and (hub := self.models.fetches):
            self.out.note(f"A larger model is fetched from {hub} in the background; /local keeps the network out.")
        for name in files:
            self.attach(name)
        if earlier is not None:
            self.resume(earlier)

    def facts(self) -> Facts:
        """What the router needs to know now."""
        return self.models.facts(self.mode, self.config.local.enabled)

    @property
    def hub(self) -> str:
        """The hub's address, "" where it may not be asked."""
        return "" if self.mode == "local" else self.models.hub

    @property
    def model_folder(self) -> Path:
        """The folder of the model that answers now."""
        return self.models.answering(self.facts()).spec.folder

    def next_mode(self) -> str:
        """Go round the modes; returns what to tell."""
        self.mode = "local" if self.mode == "auto" else "auto"
        return f"{self.mode} (cloud is not part of this version yet)"

    def bottom_line(self, width: int) -> str:
        """The line under the prompt; looks at states only.

        It is painted only while the prompt waits, so a model that has become ready takes over here, too.
        """
        self.models.settle()
        try:
            engine = self.models.answering(self.facts())
        except EngineError as error:
            return bottom_line(Status("nobody", "", self.mode, notice=str(error)), width)
        finish = self.session.receipt.finish if self.session.receipt else Finish("stop")
        status = Status(
            engine=engine.model,
            state=reports.way(self.models.state) or reports.state_word(engine),
            mode=self.mode,
            speed=finish.timing.tokens_per_s,
            filled=finish.usage.prompt_tokens + finish.usage.completion_tokens,
            context=reports.context_of(engine),
        )
        return bottom_line(status, width)

    def read_ahead(self, text: str) -> None:
        """Have the model read a long text that is not sent yet; what is changed in it later is read again then."""
        if is_command(text):
            return
        with contextlib.suppress(EngineError):
            self.models.read_ahead(self.facts(), [*self.session.messages(), Message("user", text)])

    def completions(self) -> Mapping[Completes, Callable[[], Sequence[str]]]:
        """What Tab offers for each kind of argument."""
        return {
            "setting": lambda: [setting.key for setting in settings()],
            "conversation": lambda: [summary.id for summary in self.store.conversations()],
            "model": lambda: ["starter", "auto", *SIZES],
        }

    def values_of(self, key: str) -> Sequence[str]:
        """What Tab offers for a setting's value."""
        return next((_values(setting) for setting in settings() if setting.key == key), ())


def _values(setting: Setting) -> Sequence[str]:
    return ("true", "false") if setting.kind is bool else setting.choices
