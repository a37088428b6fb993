"""The chat: read a line; a slash is a command, anything else a question."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shammah.attachments import Attachment, named_files, read_file, with_files
from shammah.config import Config, Setting, settings
from shammah.errors import ConfigError, EngineError, NotYetError, ShammahError, UsageError
from shammah.history.store import Store
from shammah.local.models import LocalModels, folder_of
from shammah.message import Finish
from shammah.router import Facts, Mode
from shammah.screen import reports
from shammah.screen.answer import WaitingLine, receipt_line, show_answer
from shammah.screen.commands import Ask, Completes, Edit, Leave, Next, carry_out, is_command
from shammah.screen.output import Output
from shammah.screen.prompt import Prompt
from shammah.screen.toolbar import Status, bottom_line
from shammah.screen.typeahead import Keyboard
from shammah.session import Session
from shammah.settings import Settings


class Chat:
    """The conversation on a terminal. Commands act on it; the loop is `run`."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        models: LocalModels,
        store: Store,
        out: Output,
        keyboard: Keyboard,
    ) -> None:
        self.session = session
        self.settings = settings
        self.config: Config = settings.current()
        self.models = models
        self.store = store
        self._out = out
        self._keyboard = keyboard
        self._mode: Mode | None = None
        self._files: list[Attachment] = []
        self.say, self.note, self.say_rows = out.say, out.note, out.rows

    # The loop

    def run(self, prompt: Prompt) -> None:
        """Read and carry out lines until the person leaves."""
        following: Next = Edit("")
        while not isinstance(following, Leave):
            if isinstance(following, Ask):
                following = self._attempt(lambda question=following.question: self.ask(question))  # type: ignore[misc]
                continue
            start = following if isinstance(following, Edit) else Edit("")
            try:
                line = prompt.read(start.text, vi=self.config.chat.editing_mode == "vi", in_editor=start.in_editor)
            except EOFError:
                return
            following = self._attempt(lambda line=line: self._take(line))  # type: ignore[misc]
            if prompt.history.trouble:
                self.note(prompt.history.trouble)
                prompt.history.trouble = None

    def _take(self, line: str) -> Next:
        if not line.strip() and not self._files:
            return None
        if is_command(line):
            return carry_out(self, line)
        files, self._files = self._files + named_files(line), []
        return Ask(with_files(line, files))

    def _attempt(self, action: Callable[[], Next]) -> Next:
        try:
            return action()
        except ShammahError as error:
            self._out.error(error)
        except KeyboardInterrupt:  # Ctrl-C from outside the terminal, or in a shell command.
            self._out.end_line()
        return None

    def ask(self, question: str) -> None:
        """Ask a question and show the answer."""
        self._refresh()
        facts = self.facts()
        events = self.session.ask(question, facts, reports.options(self.config))
        pieces = self._out.answer(self.config.chat.markdown)
        with self._keyboard.listening():
            finish = show_answer(
                events,
                write=pieces.write,
                end=pieces.end,
                note=self.note,
                waiting=WaitingLine(sys.stdout, self._out.width),
                stop_pressed=self._keyboard.stop_pressed,
            )
        self._tell_end(finish)
        self.models.warm(facts, self.session.messages())

    def _tell_end(self, finish: Finish | None) -> None:
        receipt = self.session.receipt
        if finish is None:
            self.note("… stopped. What was said is kept; /retry asks again.")
        elif finish.reason == "failed":
            self._out.error(EngineError(finish.error, hint=f"{finish.hint}. What was said is kept"))
        elif receipt is not None:
            if finish.reason == "length":
                self.note("The answer reached its limit; generation.max_tokens or local.context sets it.")
            engine = self.models[receipt.route.engine]
            self.note(receipt_line(receipt.route.engine, receipt.model, reports.device(engine), finish))

    def start_models(self) -> None:
        """Start the workers, in the background."""
        self.models.start()

    def open_with(self, files: Sequence[str], resume: str | None, go_on: bool, quiet: bool) -> None:
        """Begin: a word of welcome, the files of the command line, and the conversation to go on with."""
        if not quiet:
            self.note("shammah · everything stays on this machine · /help shows what there is")
        for name in files:
            self.attach(name)
        earlier = self.store.find(resume) if resume else self.store.last() if go_on else None
        if earlier is not None:
            self.resume(earlier.id)

    def completions(self) -> Mapping[Completes, Callable[[], Sequence[str]]]:
        """What Tab offers for each kind of argument."""
        return {
            "setting": lambda: [setting.key for setting in settings()],
            "conversation": lambda: [summary.id for summary in self.store.conversations()],
            "model": lambda: ["starter"],
        }

    def values_of(self, key: str) -> Sequence[str]:
        """What Tab offers for a setting's value."""
        return next((values(setting) for setting in settings() if setting.key == key), ())

    # What commands and the bottom line ask for

    def facts(self) -> Facts:
        """What the router needs to know now."""
        return self.models.facts(self.mode, self.config.local.enabled)

    @property
    def mode(self) -> Mode:
        """How questions are routed: as set in this chat, else as config.toml says."""
        return self._mode or self.config.routing.mode

    def set_mode(self, mode: Mode) -> None:
        """Route so from now on, in this chat."""
        self._mode = mode
        words = {"local": "Only models on this machine answer.", "auto": "The router chooses who answers."}
        self.note(words[mode])

    def next_mode(self) -> str:
        """Go round the modes; returns what to tell."""
        self._mode = "local" if self.mode == "auto" else "auto"
        return f"{self._mode} (cloud is not part of this version yet)"

    def bottom_line(self, width: int) -> str:
        """The line under the prompt; looks at states only."""
        try:
            engine = self.models.answering(self.facts())
        except EngineError:
            return bottom_line(
                Status("nobody", "", self.mode, notice="nobody may answer: local.enabled is false"), width
            )
        finish = self.session.receipt.finish if self.session.receipt else None
        usage = finish.usage if finish else None
        status = Status(
            engine="starter" if engine.name == "starter" else engine.model,
            state=reports.state_word(engine),
            mode=self.mode,
            speed=finish.timing.tokens_per_s if finish else 0.0,
            filled=usage.prompt_tokens + usage.completion_tokens if usage else 0,
            context=reports.context_of(engine),
        )
        return bottom_line(status, width)

    def switch_model(self, name: str) -> None:
        """Answer with another model from the next question on, and remember it in config.toml."""
        folder = folder_of(name)
        self.set_setting("local.repo", str(folder or ""))

    def model_rows(self) -> list[tuple[str, str]]:
        """The models of this machine and which one answers."""
        return reports.models(self.models, self.facts())

    def setting_rows(self, key: str = "") -> list[tuple[str, str]]:
        """Settings with values and meaning; those whose key begins with `key`."""
        rows = reports.settings_table(self.config, key)
        if not rows:
            raise UsageError(f"There is no setting {key}", hint="/set shows all")
        return rows

    def set_setting(self, key: str, value: str) -> None:
        """Change a setting in config.toml and here."""
        self.settings.set(key, value)
        if key == "routing.mode":
            self._mode = None
        self._refresh()
        self.note(f"{key} is now {reports.shown_value(self.config, key)}, in {self.settings.path}")

    def status_rows(self) -> list[tuple[str, str]]:
        """Model, state, memory and files."""
        return reports.status(self.models, self.facts(), self.settings.path, self.store.path)

    def context_rows(self) -> list[tuple[str, str]]:
        """How full the context is."""
        return reports.context(self.session, reports.context_of(self.models.answering(self.facts())))

    def conversation_rows(self) -> list[tuple[str, str]]:
        """Past conversations."""
        return reports.conversations(self.store)

    def show_search(self, words: str) -> None:
        """Show where the words occur in all conversations."""
        self.say_rows(reports.hits(self.store, words))

    def show_doctor(self) -> None:
        """Show what works here."""
        self.say_rows(reports.doctor(self.settings.path.parent))

    def resume(self, name: str) -> None:
        """Go on with a past conversation: show its end, and read it into the model's memory in the background."""
        turns = self.session.resume(self.store.find(name))
        if turns:
            last = turns[-1]
            self.say(f"› {last.question}")
            self.say(last.answer + (" … (interrupted)" if last.reason == "interrupted" else ""))
        self.note(f"{len(turns)} turns of {self.session.conversation.id} are back.")
        self.models.warm(self.facts(), self.session.messages())

    def attach(self, name: str) -> Attachment:
        """Send a file with the next question."""
        self._files.append(read_file(name))
        return self._files[-1]

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        from shammah.screen.clipboard import copy  # Late: seldom wanted.

        self.note(f"Copied through {copy(text)}.")

    def save(self, name: str) -> None:
        """Write the conversation to a file; one that exists is not overwritten."""
        path = Path(name).expanduser()
        text = reports.export(self.session, self.store, "json" if path.suffix == ".json" else "md")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as cause:
            raise UsageError(f"{name} is there already", hint="Choose another name; nothing is overwritten") from cause
        except OSError as cause:
            raise UsageError(f"{name} cannot be written: {cause.strerror}", hint="Choose another folder") from cause
        self.note(f"Written to {path}")

    def show_export(self, form: str) -> None:
        """Show the conversation as Markdown or JSON."""
        self.say(reports.export(self.session, self.store, form))

    def run_shell(self, command: str) -> None:
        """Run a command with the terminal as its own."""
        status = subprocess.run(command, shell=True, check=False).returncode
        if status:
            self.note(f"It ended with status {status}.")

    def _refresh(self) -> None:
        """Take up what changed in config.toml; a broken file is told, and the settings before it stay."""
        try:
            self.config = self.settings.current()
        except ConfigError as error:
            self._out.error(error)
            return
        try:
            self.models.want(self.config.local)
        except (NotYetError, EngineError) as error:
            self._out.error(error)
        self.models.start()


def values(setting: Setting) -> Sequence[str]:
    """The values that a setting can have, where they can be listed."""
    return ("true", "false") if setting.kind is bool else setting.choices
