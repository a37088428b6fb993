"""The set-up questions on a terminal: the table of models, a line to answer in, and the key typed unseen."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeVar

from prompt_toolkit.input import Input

from shammah.config import load, set_values, toml_text
from shammah.environment import Environment
from shammah.machine import Memory
from shammah.paths import Home
from shammah.screen.field import PromptField
from shammah.screen.lines import LineKeyboard, typed_line
from shammah.screen.output import Output
from shammah.screen.paste import create_keyboard
from shammah.screen.person import Listener, Signals
from shammah.screen.printer import use_color
from shammah.screen.safe_text import safe_text
from shammah.screen.terminal import ENDING, Terminal, knows_lines_only
from shammah.screen.typeahead import Keyboard
from shammah.settings import Save
from shammah.setup.interview import Answers, Interview
from shammah.setup.offer import HEAD, Offers
from shammah.setup.person import StoppedError
from shammah.setup.questions import Choice
from shammah.setup.write import changes, save

T = TypeVar("T")
STARTER = "starter: nothing to fetch; it knows shammah itself, and little else"
_TICK = 0.05


class Field(Protocol):
    """A line to answer in."""

    def read(self, prompt: str, *, hidden: bool = False) -> str:
        """What is typed after the prompt, with `hidden` without a trace of it; raises `StoppedError`."""
        ...

    def repaint(self) -> None:
        """Show the line again, after the process was stopped and goes on."""
        ...


class SetUp:
    """The set-up questions, asked on this terminal."""

    def __init__(self, environment: Environment, out: Output, keyboard: Listener, field: Field) -> None:
        self._environment = environment
        self._out = out
        self._person = _AtTerminal(out, keyboard, field)

    def run(self, save_settings: Save) -> Answers | None:
        """Ask, and save what was answered; None where the person stopped, and nothing was changed.

        Raises:
            ConfigError: config.toml is wrong, or something cannot be saved.
        """
        home = Home(self._environment.home)
        now, first = load(home.config), not home.config.exists()
        self._person.say("At most four questions. Enter takes what stands in brackets; Ctrl-C changes nothing.")
        try:
            answers = Interview(self._person, home, self._environment, now, first).ask()
        except StoppedError:
            return None
        save(answers, now, home.folder, save_settings)
        said = [f"{key} = {toml_text('' if value is None else value)}" for key, value in changes(answers, now).items()]
        self._out.note(f"Saved in {home.config}: {', '.join(said)}")
        if answers.consent.key is not None:
            self._out.note(f"The key is kept in {home.credentials}")
        return answers


class _AtTerminal:
    """The person, as `setup.interview` asks them."""

    def __init__(self, out: Output, keyboard: Listener, field: Field) -> None:
        self._out = out
        self._keyboard = keyboard
        self._field = field

    def say(self, text: str, indent: str = "") -> None:
        width = max(self._out.width() - 1, 20)
        lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        self._out.say("\n".join(lines))

    def show(self, offers: Offers, default: Choice) -> None:
        machine = offers.machine
        memory = Memory(machine.memory_total, machine.memory_available)
        self._out.end_line()
        self.say(f"Which model is to answer here? Memory: {memory}.")
        rows = [HEAD, *(offer.row for offer in offers.of_variant("instruct"))]
        lines = _table(rows)
        if max(map(len, lines)) < self._out.width():
            self._out.say("\n".join(lines))
        else:
            for size, download, peak, speed, first, verdict in rows[1:]:
                about = f"{size}: {verdict}; {download} to fetch, {peak} of memory, {speed} tokens/s after {first}"
                self.say(about, indent="  ")
        self.say(STARTER)
        if default.repo:
            self.say(f"{default.repo} is what answers now.")

    def ask(self, prompt: str) -> str:
        answer = self._field.read(safe_text(prompt))
        self._out.end_line()
        return answer

    def ask_hidden(self, prompt: str) -> str:
        return self._field.read(prompt, hidden=True)

    def wait(self, words: str, work: Callable[[], T]) -> T:
        self._out.note(f"{words} …")
        future: Future[T] = Future()
        thread = threading.Thread(target=_carry_out, args=(work, future), daemon=True, name=words)
        with self._keyboard.listening():
            thread.start()
            while thread.is_alive():
                if self._keyboard.stop_pressed():
                    raise StoppedError
                thread.join(_TICK)
        return future.result()


def _carry_out(work: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(work())
    except Exception as cause:  # The edge of a thread: raised again where the result is waited for.
        future.set_exception(cause)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines of columns, all but the first and the last to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *cells, last]).rstrip())
    return lines


def field(keys: Input, signals: Signals, lines_only: bool) -> Field:
    """The line to answer in that suits the terminal."""
    return LineField(signals) if lines_only else PromptField(keys)


def set_up_alone(environment: Environment) -> Answers | None:
    """Ask the questions without a chat around them; None where the person stopped."""
    path = Home(environment.home).config
    lines_only = knows_lines_only(environment.term)
    color = not lines_only and use_color(sys.stdout, environment.no_color, environment.term)
    terminal, keys = Terminal(lines_only), create_keyboard()
    keyboard = LineKeyboard(terminal) if lines_only else Keyboard(keys, terminal)
    line = field(keys, terminal, lines_only)
    asked = SetUp(environment, Output(sys.stdout, color, lines_only), keyboard, line)
    with _signals_put_back(), terminal.guarded(lambda: None, line.repaint):
        return asked.run(lambda changed: set_values(path, changed))


@contextlib.contextmanager
def _signals_put_back() -> Iterator[None]:
    """What the terminal's guard does with signals ends with the block: a download after it is stopped by Ctrl-C."""
    names = [name for name in ("SIGINT", "SIGTSTP", *ENDING) if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


class LineField:
    """On a terminal of lines: what is typed comes a line at a time, in the terminal's own echo."""

    def __init__(self, signals: Signals) -> None:
        self._interrupted = signals.take_interrupt
        self._prompt = ""

    def read(self, prompt: str, *, hidden: bool = False) -> str:
        """What is typed after the prompt."""
        if hidden and os.name == "nt":
            return _hidden_on_windows(prompt)
        self._prompt = prompt
        self.repaint()
        try:
            with _no_echo() if hidden else contextlib.nullcontext():
                line = typed_line(self._interrupted)
        except EOFError:
            line = None
        self._prompt = ""
        if hidden or line is None:
            sys.stdout.write("\n")
        if line is None:
            raise StoppedError
        return line

    def repaint(self) -> None:
        """Write the prompt again."""
        sys.stdout.write(self._prompt)
        sys.stdout.flush()


def _hidden_on_windows(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt)
    except (KeyboardInterrupt, EOFError):
        raise StoppedError from None


@contextlib.contextmanager
def _no_echo() -> Iterator[None]:
    import termios  # POSIX only, where the caller has looked.

    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
