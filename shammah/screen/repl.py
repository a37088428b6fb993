"""The chat: read a line; a slash is a command, anything else a question."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from shammah.attachments import Attachment, named_files, read_file, secret_of, with_files
from shammah.cloud.spending import Spending
from shammah.config import Config, Local
from shammah.engines import Engines
from shammah.errors import ConfigError, EngineError, HistoryError, ModelError, ShammahError, UsageError
from shammah.history.store import Conversation, Store
from shammah.message import Finish, Message
from shammah.models.wanted import licence_remark, settings_for
from shammah.router import Facts, Mode, choose
from shammah.screen import actions, reports
from shammah.screen.answer import receipt_line, sent_and_cost, show_answer
from shammah.screen.commands import carry_out, is_command
from shammah.screen.output import Output
from shammah.screen.person import LineReader, Listener
from shammah.screen.states import context_of, device, state_word, way
from shammah.screen.steps import Ask, Edit, Leave, Step
from shammah.screen.toolbar import Status, bottom_line
from shammah.session import Outgoing, Question, Session
from shammah.settings import Save, Settings

LOCAL_MODE = "Local mode fetches nothing: /auto allows it, or run shammah models pull NAME"
NOTHING_CHANGED = "Nothing was changed."
STAYS = "what you type stays on this machine"
STARTER_ONLY = (
    " The starter answers, and nothing is fetched in this run; /setup asks again, and so does the next start."
)
FETCHING_OFF = "Fetching is off: /set local.fetch true allows it, or run shammah models pull NAME"


class Chat:
    """The conversation on a terminal: `run` reads and carries out, commands act on its parts."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        engines: Engines,
        store: Store,
        spending: Spending,
        out: Output,
        keyboard: Listener,
        ask_setup: Callable[[Save], bool],
    ) -> None:
        """`ask_setup` asks the set-up questions and saves the answers; false where the person stopped it."""
        self.session = session
        self.settings = settings
        self.config: Config = settings.current()
        self.engines = engines
        self.models = engines.models
        self.spending = spending
        self.store = store
        self.out = out
        self._keyboard = keyboard
        self._ask_setup = ask_setup
        self._mode: Mode | None = None
        """The mode that was typed here; None: the one of config.toml."""
        self._files: list[Attachment] = []
        """What /file sends with the next question."""
        self._wanted: tuple[Local, str] | None = None
        """What the models were last asked for; `_accepted`: the last of it that names a model."""
        self._accepted: Local | None = None

    # The loop

    def run(self, prompt: LineReader) -> None:
        """Read and carry out lines until the person leaves."""
        step: Step | None = None
        with contextlib.suppress(EOFError):
            while not isinstance(step, Leave):
                step = self._carry_out(step if isinstance(step, Ask) else self._read(prompt, step or Edit()))

    def _read(self, prompt: LineReader, edit: Edit) -> str:
        """The next line; EOFError where the person leaves."""
        self._keyboard.take_interrupt()  # One that came too late for the answer is not meant for the next.
        line = prompt.read(edit.text, vi=self.config.chat.editing_mode == "vi", in_editor=edit.in_editor)
        if trouble := prompt.history.take_trouble():
            self.out.note(trouble)
        return line

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
        files = self.files_of(line)
        return Ask(Question(with_files(line, files), secret_of(line, files)))

    def files_of(self, line: str) -> list[Attachment]:
        """The files that go with a question: those sent for, and those it names."""
        files, self._files = self._files + named_files(line), []
        return files

    def _ask(self, question: Question) -> None:
        """Ask a question and show the answer."""
        self._refresh()
        self.models.start()
        self.engines.cloud.want(self.config.cloud, self.mode)
        events = self.session.ask(question, self.facts, reports.options(self.config), self._permit)
        answer = self.out.answer(self.config.chat.markdown)
        try:
            with self._keyboard.listening():
                finish = show_answer(
                    events,
                    write=answer.write,
                    end=answer.end,
                    note=self.out.note,
                    waiting=self.out.waiting(),
                    stop_pressed=self._keyboard.stop_pressed,
                )
        except EngineError as error:
            self.out.error(error)
            self._tell_sent()
            self.tell_news("")
            return
        self._tell_end(finish)
        self.engines.warm(self.facts(), self.session.messages())

    def _permit(self, outgoing: Outgoing) -> bool:
        """Show what would leave this machine, and let the person decide; called while an answer is waited for.

        Raises:
            KeyboardInterrupt: they stop the question.
        """
        self.out.note(reports.outgoing_line(outgoing))
        while True:
            match self._keyboard.choice("ynv", lambda: self.out.note(_SEND_IT)):
                case "y":
                    return True
                case "v":
                    self.out.say(reports.outgoing_text(outgoing))
                case _:
                    return False

    def _tell_end(self, finish: Finish | None) -> None:
        receipt = self.session.receipt
        if finish is None:
            kept = "What was said is kept; " if self.session.exchanges[-1].answer else ""
            self.out.note(f"… stopped. {kept}/retry asks again.")
            self._tell_sent()
        elif finish.reason == "failed":
            kept = "What was said is kept; /continue goes on from there"
            self.out.error(EngineError(finish.error, hint=f"{finish.hint}. {kept}"))
            self._tell_sent()
        elif receipt is not None:
            if finish.reason == "length":
                self.out.note("The answer reached its limit; generation.max_tokens or local.context sets it.")
            if self.mode == "cloud" and receipt.route.engine != "claude":
                self.out.note(f"{receipt.route.why}.")  # Not who was asked for: that needs no /why.
            where = device(self.engines[receipt.route.engine])
            self.out.note(receipt_line(receipt.route.engine, receipt.model, where, finish))
        self.tell_news(receipt.route.engine if receipt else "")

    def tell_news(self, answers: str) -> None:
        """Tell what there is to know of the key, and of Claude where it `answers`, once."""
        for fresh in self.engines.news(reports.options(self.config), answers):
            self.out.note(fresh.told)

    def _tell_sent(self) -> None:
        """Tell what has left this machine for an answer that did not come to its end."""
        receipt = self.session.receipt
        if receipt and receipt.finish.spent.sent_bytes:
            self.out.note(" · ".join([receipt.model, *sent_and_cost(receipt.finish.spent)]))

    def _refresh(self) -> None:
        """Take up what changed in config.toml; what is wrong there is told, and what was before it stays."""
        before = self.config
        try:
            self.config = self.settings.current()
            if self.config.routing.mode != before.routing.mode:
                self._take_mode_of_file()
            if self.config.chat.system != before.chat.system == self.session.conversation.system:
                self.session.set_system(self.config.chat.system)
            self._want_models()
        except ShammahError as error:
            self.out.error(error)

    def _take_mode_of_file(self) -> None:
        """Of a change here and one in the file the later counts; but only the person here lifts their own /local."""
        given = self.config.routing.mode
        if self._mode == "local" and given in ("auto", "cloud"):
            self.out.note(f"config.toml says {given} now; this chat stays local, as you typed; /{given} changes that.")
            return
        before, self._mode = self.mode, None
        if before != given:
            self.out.note(f"config.toml says {_MODES[given]}.")

    def _want_models(self) -> None:
        """Have the models that the settings ask for; the wrong name of one leaves those before at work."""
        forbidden = LOCAL_MODE if self.mode == "local" else "" if self.config.local.fetch else FETCHING_OFF
        wanted = self.config.local, forbidden
        if wanted != self._wanted:
            self._wanted = wanted
            try:
                self.models.want(self.config.local, forbidden=forbidden)
                self._accepted = self.config.local
            except ModelError as error:
                if self._accepted:  # Whether it may be fetched counts for them, too.
                    self.models.want(self._accepted, forbidden=forbidden)
                place = self.settings.place("local.repo")
                raise ConfigError(f"local.repo{place}: {error}", hint=error.hint) from error
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
        self.start()

    def change_setting(self, key: str, value: str) -> None:
        """Change a setting in config.toml and here."""
        self.settings.set(key, value)
        if key == "routing.mode":
            self._mode = None
        self._refresh()
        self.start()
        self.out.note(f"{key} is now {reports.shown_value(self.config, key)}, in {self.settings.path}")

    def set_up(self, *, first: bool = False) -> None:
        """Ask the set-up questions, and take the answers up at once; at the `first` run none means no fetching."""
        try:
            saved = self._ask_setup(self.settings.change)
        except ShammahError as error:
            saved = False
            self.out.error(error)
        if not saved:
            self.out.note(NOTHING_CHANGED + (STARTER_ONLY if first else ""))
        if first and not saved:
            self.settings.override("local.fetch", False)
        self._refresh()
        self.engines.cloud.want(self.config.cloud, self.mode)
        if saved:
            reads = STAYS if self.session.private else self._who_reads()
            self.out.note(f"{reads[:1].upper()}{reads[1:]}.")
        if not first:
            self.models.retry()
            self.models.start()

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

    def begin_new(self) -> None:
        """Begin another conversation; this one stays in the history."""
        self.session.new(self.config.chat.system)

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
            ending = {"interrupted": " … (interrupted)", "failed": " … (failed)"}.get(turns[-1].reason, "")
            self.out.say(f"› {turns[-1].question}")
            answer = self.out.answer(self.config.chat.markdown)
            answer.write(f"{turns[-1].answer}{ending}")
            answer.end()
        self.out.note(f"{reports.turns(len(turns))} of {conversation.id} {'is' if len(turns) == 1 else 'are'} back.")
        self.engines.warm(self.facts(), self.session.messages())

    # What the prompt asks for

    def begin(
        self,
        files: Sequence[str],
        earlier: Conversation | None,
        *,
        quiet: bool,
        private: bool = False,
        first: bool = False,
    ) -> None:
        """A word of welcome, at the first run the set-up, the files of the command line, and what to go on with."""
        if not quiet:
            kept = private or (earlier is not None and earlier.private)
            reads = STAYS if kept else self._who_reads()
            self.out.note(f"shammah · {reads} · /help shows what there is")
        if first:
            self.set_up(first=True)
        else:
            self._refresh()
        if not quiet and (hub := self.models.fetches):
            self.out.note(f"A larger model that fits is fetched from {hub} in the background; /local prevents it.")
        for name in files:
            self.attach(name)
        if earlier is not None:
            self.resume(earlier)
        if private:
            self.keep_private(actions.WHOLLY)

    def _who_reads(self) -> str:
        """Where what is typed goes, in a few words."""
        if self.mode == "cloud":
            return "what you type goes to Claude"
        if self.may_leave:
            asked = " if you say yes" if self.mode == "ask" else ""
            return f"Claude is asked where the model here cannot answer{asked}"
        return STAYS

    def start(self) -> None:
        """Start in the background what is going to answer; called when the prompt is on the screen."""
        self.models.start()
        cloud = self.engines.cloud
        cloud.want(self.config.cloud, self.mode)
        if self.may_leave:
            cloud.import_ahead()

    def facts(self, messages: Sequence[Message] = ()) -> Facts:
        """What the router needs to know now; of a conversation with these messages, also how long it is."""
        return replace(self.engines.facts(self.config, self.mode, messages), private=self.session.private)

    @property
    def may_leave(self) -> bool:
        """Whether the person lets questions go to Claude without naming it each time; in mode ask they are asked."""
        return self.mode in ("cloud", "ask") or (self.mode == "auto" and self.config.cloud.allowed)

    @property
    def hub(self) -> str:
        """The hub's address, "" where it may not be asked."""
        return "" if self.mode == "local" or not self.config.local.fetch else self.models.hub

    @property
    def model_folder(self) -> Path:
        """The folder of the model of this machine that answers now."""
        return self.models.answering(replace(self.facts(), mode="local")).spec.folder

    def use_cloud(self) -> None:
        """Have Claude answer from now on.

        Raises:
            UsageError: nobody has a key here.
        """
        self.engines.cloud.want(self.config.cloud, "cloud")
        if self.engines.cloud.state == "no key":
            refusal = UsageError(self.engines.cloud.trouble, hint=self.engines.cloud.way_out)
            self.engines.cloud.want(self.config.cloud, self.mode)
            raise refusal
        self.engines.cloud.look_again()
        self.mode = "cloud"

    def next_mode(self) -> str:
        """Go round the modes; returns what to tell."""
        following: dict[Mode, Mode] = {"auto": "local", "local": "cloud", "cloud": "auto", "ask": "auto"}
        if following[self.mode] != "cloud":
            self.mode = following[self.mode]
            return _MODES[self.mode]
        try:
            self.use_cloud()
        except UsageError as error:
            self.mode = "auto"
            return f"{_MODES['auto']} ({error})"
        return _MODES["cloud"]

    def bottom_line(self, width: int) -> str:
        """The line under the prompt; looks at states only.

        It is painted only while the prompt waits, so a model that has become ready takes over here, too.
        """
        self.models.settle()
        try:
            facts = self.facts()
            route = choose(facts)
        except EngineError as error:
            return bottom_line(Status("nobody", "", self.mode, notice=str(error)), width)
        engine = self.engines[route.engine]
        last = self.session.receipt
        finish = last.finish if last else Finish("stop")
        counted = last is None or last.route.engine == route.engine  # Others count in tokens of their own.
        status = Status(
            engine=engine.model,
            state=way(self.models.state) or state_word(engine),
            mode=self.mode,
            speed=finish.timing.tokens_per_s,
            filled=finish.usage.prompt_tokens + finish.usage.completion_tokens,
            context=context_of(engine) if counted else 0,
        )
        return bottom_line(status, width)

    def read_ahead(self, text: str) -> None:
        """Have the model read a long text that is not sent yet; what is changed in it later is read again then."""
        if is_command(text):
            return
        with contextlib.suppress(EngineError):
            facts = replace(self.facts(), mode="local")
            self.models.read_ahead(facts, [*self.session.messages(), Message("user", text)])


_SEND_IT = "Send it? y sends, n has it answered here, v shows all of it"
_MODES: dict[Mode, str] = {
    "auto": "auto: the router chooses who answers",
    "local": "local: only models on this machine answer",
    "cloud": "cloud: Claude answers, questions leave this machine",
    "ask": "ask: you are asked before a question leaves",
}
