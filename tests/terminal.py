"""The real program in a real terminal: `python -m shammah` on a pty, its screen read by pyte. POSIX only."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pexpect
import psutil
import pyte

from shammah.history.opening import open_store

ROOT = Path(__file__).resolve().parent.parent
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
CTRL_C, CTRL_D, CTRL_J, CTRL_U, CTRL_Z = "\x03", "\x04", "\x0a", "\x15", "\x1a"
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
LEAVES = "Ctrl-C again leaves"
SHORT = ("--max-tokens", "12", "--temperature", "1", "--seed", "1")
"""Arguments for short answers, always the same."""
PIECE = 512
"""Characters sent at once."""
PATIENCE = 30.0
"""Seconds to wait for what must come; a busy machine takes a while."""
LONGEST_STEP = 1.0
"""Seconds: where more pass between two looks, the machine stood still, and the program with it."""


def variables(home: Path, **more: str) -> dict[str, str]:
    """An environment of nothing but what the program needs, with its own home."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    own = {"HOME": str(home.parent), "SHAMMAH_HOME": str(home), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    own["HF_HUB_OFFLINE"] = "1"  # A test that wants a hub has one of its own.
    return {**kept, **own, "PYTHONPATH": str(ROOT), **more}


def settle(home: Path) -> None:
    """Write a config.toml where there is none, as the set-up questions would; it holds a default."""
    if not (home / "config.toml").exists():
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "config.toml").write_text('[local]\nsize = "auto"\n')
        (home / "config.toml").chmod(0o600)


class Terminal:
    """A terminal with the chat in it: type into it, wait for what it shows."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "shammah"),
        late: float = 0.0,
        first_run: bool = False,
    ) -> None:
        """`late` is how many seconds the screen takes to answer the program's questions, as a far one does.

        A home without settings gets some, so that nothing is asked; with `first_run` it stays bare.
        """
        home.parent.mkdir(parents=True, exist_ok=True)
        if not first_run:
            settle(home)
        self.home = home
        self._answers: list[tuple[float, str]] = []
        self._screen = _Screen(columns, rows, lambda reply: self._answers.append((time.monotonic() + late, reply)))
        self._stream = pyte.Stream(self._screen)
        self._chunks: list[tuple[float, str]] = []
        self._raw = ""
        self.child = pexpect.spawn(
            command[0],
            [*command[1:], *arguments],
            dimensions=(rows, columns),
            env=variables(home, **(environment or {})),
            cwd=str(home.parent),
            encoding="utf-8",
            codec_errors="replace",
        )
        self.child.delaybeforesend = None
        self.child.ptyproc.delayafterclose = self.child.ptyproc.delayafterterminate = 0.02
        self.before = self.attributes()

    # What it shows

    @property
    def raw(self) -> str:
        """Everything the program wrote, escape codes and all."""
        self.pump()
        return self._raw

    @property
    def chunks(self) -> list[tuple[float, str]]:
        """Everything the program wrote, with the time (`time.monotonic`) each part was seen."""
        return self._chunks

    @property
    def display(self) -> str:
        """The screen, row by row."""
        self.pump()
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip()

    @property
    def line(self) -> str:
        """The row with the cursor."""
        self.pump()
        return str(self._screen.display[self._screen.cursor.y]).rstrip()

    @property
    def at_prompt(self) -> bool:
        """Whether the prompt waits: its sign, or a further line of the input, with the bottom line below."""
        self.pump()
        cursor = self._screen.cursor
        row = self._screen.display[cursor.y]
        below = "".join(self._screen.display[cursor.y + 1 :]).strip()
        listens = self._raw.rfind(PASTE_ON) > self._raw.rfind(PASTE_OFF)
        return bool(listens and below and cursor.x >= 2 and row[:2] in ("› ", "> ", "  "))

    @property
    def ended(self) -> bool:
        """Whether the program has ended; all it wrote is read then."""
        self.pump()
        return not self.child.isalive()

    def attributes(self) -> list[object]:
        """How the terminal is set (termios)."""
        return list(termios.tcgetattr(self.child.child_fd))

    # What a person does

    def press(self, keys: str) -> None:
        """Send keys, the last of them in one piece: what comes in two may be taken for a paste and what follows it."""
        part = len(keys) % PIECE or PIECE
        while keys:  # A pty takes little at once; reading meanwhile keeps both ends from waiting for each other.
            self.child.send(keys[:part])
            keys, part = keys[part:], PIECE
            self.pump(0)

    def paste(self, text: str) -> None:
        """Paste as a terminal with bracketed paste does."""
        self.press(f"\x1b[200~{text}\x1b[201~")

    def enter(self, line: str) -> int:
        """Type a line and Enter, wait until it was taken; returns the place in `raw` where its output begins."""
        start = len(self.raw)
        self.press(line + "\r")
        self.until(lambda: PASTE_OFF in self.raw[start:], f"{line!r} was not taken")
        return start

    def ask(self, line: str, seconds: float = PATIENCE) -> str:
        """Type a line and Enter, wait until the prompt is back; returns what was written meanwhile."""
        start = self.enter(line)
        self.until(lambda: self.at_prompt, f"no prompt after {line!r}", seconds)
        return self.raw[start:]

    def begin(self, question: str, characters: int = 40) -> int:
        """Ask and wait until the answer has so many characters; returns the place in `raw` where it begins."""
        at = self.send(question)
        self.until(lambda: len(self.raw) >= at + characters, "the answer does not grow")
        return at

    def send(self, question: str) -> int:
        """Ask and wait until Ctrl-C would stop it; returns the place in `raw` where the answer is to begin."""
        start = self.enter(question)
        self.until(lambda: PASTE_ON in self.raw[start:], "it does not listen")
        return self.raw.index(PASTE_ON, start) + len(PASTE_ON)

    def leave(self, interrupt: Callable[[], None] | None = None) -> int:
        """Press Ctrl-C twice at an empty line, or interrupt so; returns the exit status.

        A busy machine may let pass the time in which the second counts; then it is done again.
        """
        interrupt, start = interrupt or (lambda: self.press(CTRL_C)), len(self.raw)
        while PASTE_OFF not in self.raw[start:]:
            interrupt()
            self.wait_for(LEAVES)
            interrupt()
            self.until(lambda: PASTE_OFF in self.raw[start:] or LEAVES not in self.display, "it does not leave")
            if PASTE_OFF not in self.raw[start:]:
                self.pump(0.5)  # The hint goes first, also where it leaves.
        return self.wait_end()

    def clear(self) -> None:
        """Stop what is being answered and clear the line."""
        if not self.at_prompt:
            self.press(CTRL_C)
            self.until(lambda: self.at_prompt, "no prompt")
        if self.line != "›":
            self.press(CTRL_C)
            self.until(lambda: self.line == "›", "the line is not cleared")

    def resize(self, columns: int, rows: int = 24) -> None:
        """Give the window another size, and wait until the prompt, if it is there, was painted anew."""
        prompt, start = self.at_prompt, len(self.raw)
        changed = (rows, columns) != (self._screen.lines, self._screen.columns)
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)
        if prompt and changed:
            self.until(lambda: PASTE_ON in self.raw[start:] and self.at_prompt, "the prompt is not painted anew")

    # Waiting

    def pump(self, seconds: float = 0.0) -> None:
        """Read what the program writes, for so long."""
        end = time.monotonic() + seconds
        while True:
            while self._answers and self._answers[0][0] <= time.monotonic():
                self.child.send(self._answers.pop(0)[1])
            try:
                text = self.child.read_nonblocking(65_536, timeout=max(0.0, min(end - time.monotonic(), 0.05)))
            except pexpect.TIMEOUT:
                text = ""
            except pexpect.EOF:
                return
            if text:
                self._chunks.append((time.monotonic(), text))
                self._raw += text
                self._stream.feed(text)
            elif time.monotonic() >= end:
                return

    def until(self, condition: Callable[[], bool], trouble: str, seconds: float = PATIENCE) -> None:
        """Wait until the condition holds."""
        waited, last = 0.0, time.monotonic()
        while not condition():
            now = time.monotonic()
            waited, last = waited + min(now - last, LONGEST_STEP), now
            assert waited < seconds, f"{trouble}; the program {self._state()}; the screen:\n{self.display}"
            self.pump(0.01)

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until the screen shows the text."""
        self.until(lambda: text in self.display, f"{text!r} was not shown", seconds)

    def wait_ready(self, who: str = "starter") -> None:
        """Wait for the prompt and for the model."""
        self.wait_for(f"{who} answers · ready")
        self.until(lambda: self.at_prompt, "no prompt")

    def wait_end(self, seconds: float = PATIENCE) -> int:
        """Wait for the program's end; returns its exit status, negative for a signal."""
        self.until(lambda: self.ended, "it has not ended", seconds)
        self.child.wait()
        return -self.child.signalstatus if self.child.signalstatus else int(self.child.exitstatus or 0)

    def _state(self) -> str:
        """What the program is at: whether it waits for ever or was only given too little time shows here."""
        try:
            found = psutil.Process(self.pid)
            times = found.cpu_times()
            return f"is {found.status()}, {found.num_threads()} threads, {times.user + times.system:.2f} s of processor"
        except psutil.Error:
            return "has ended"

    # Its processes

    @property
    def pid(self) -> int:
        """The program's process number."""
        return int(self.child.pid)

    def workers(self) -> list[psutil.Process]:
        """The model workers that it runs."""
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_worker(child)]

    def answering_worker(self) -> int:
        """The worker that answers, as /status tells."""
        found = re.search(r"process (\d+)", self.ask("/status"))
        assert found, self.display
        return int(found[1])

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def hang_up(self) -> list[psutil.Process]:
        """Take the terminal away from under the program; returns its workers."""
        workers = self.workers()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self.child.child_fd)  # In its place, since the rest of this object goes on reading.
        os.close(nothing)
        return workers

    def kill(self) -> list[psutil.Process]:
        """End the program at once; returns its workers, which have to end by themselves."""
        workers = self.workers()
        self.child.kill(signal.SIGKILL)
        self.until(lambda: self.ended, "it cannot be killed")
        return workers

    def close(self) -> None:
        """Leave nothing behind."""
        workers = self.workers()
        if self.child.isalive():
            self.signal(signal.SIGKILL)
            self.child.wait()
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        self.child.close(force=True)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Screen(pyte.Screen):
    """A screen that answers the program's questions and changes its size as terminals do."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], object]) -> None:
        super().__init__(columns, rows)
        self._answer = answer

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Rows go from the foot, and from the top only where the cursor would be lost; pyte takes all from the top."""
        lines = lines or self.lines
        lost = max(self.cursor.y + 1 - lines, 0)
        rows = {y - lost: row for y, row in self.buffer.items() if lost <= y < lost + lines}
        self.buffer.clear()
        self.buffer.update(rows)
        self.cursor.y -= lost
        self.lines = lines
        super().resize(lines, columns)
        self.set_margins()
        self.ensure_hbounds()

    def write_process_input(self, data: str) -> None:
        self._answer(data)


@contextlib.contextmanager
def terminal(home: Path, *arguments: str, **how: object) -> Iterator[Terminal]:
    """A terminal for a while."""
    opened = Terminal(home, *arguments, **how)  # type: ignore[arg-type]  # passed on as they are
    try:
        yield opened
    finally:
        opened.close()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all these processes end soon."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def left_as_it_was(ended: Terminal) -> bool:
    """Whether the terminal is set as before, with bracketed paste off and the cursor shown."""
    paste_off = ended.raw.rfind(PASTE_OFF) > ended.raw.rfind(PASTE_ON)
    cursor_shown = ended.raw.rfind("\x1b[?25h") > ended.raw.rfind("\x1b[?25l")
    return ended.attributes() == ended.before and paste_off and cursor_shown


def turns(home: Path) -> list[tuple[str, str, str]]:
    """The question, answer and reason of each turn in the history, oldest first."""
    with open_store(home / "history.db") as store:
        found = [turn for summary in store.conversations(1000) for turn in store.turns(summary.id, undone=True)]
    return [(turn.question, turn.answer, turn.reason) for turn in sorted(found, key=lambda turn: turn.id)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "shammah.worker" in process.cmdline()
    except psutil.Error:
        return False
