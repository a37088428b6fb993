"""The engine that answers with a model in the worker process."""

from __future__ import annotations

import contextlib
import queue
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shammah.engine import TICK, Tally
from shammah.errors import EngineError, ModelError, WorkerError
from shammah.local.process import Ended, Pulse, WorkerProcess
from shammah.local.protocol import Count, Counted, Cut, Delta, Done, Failed, Generate, Load, Progress, Reply, Stop, Warm
from shammah.local.protocol import Ready as LoadedReply
from shammah.message import Event, Finish, Message, Options, Piece, Trimmed, Usage, Waiting

LOAD_PATIENCE = 30.0
"""Seconds a loading worker may stand still: a slow disk looks like that."""
CONTEST_PATIENCE = 400.0
"""The same where providers are tried in processes of their own before one is chosen: four of them, 90 seconds each."""
PATIENCE = 3.0
"""Seconds an answering worker may stand still."""
TOLD = 32
"""Tokens: fewer, read in one go, tell nothing of how fast a model reads."""


@dataclass(frozen=True)
class ModelSpec:
    """What the worker is to load."""

    name: str
    folder: Path
    context: int
    threads: int
    backend: str = "cpu"


@dataclass(frozen=True)
class Off:
    """No worker was started yet."""


@dataclass(frozen=True)
class Loading:
    """The worker loads the model."""


@dataclass(frozen=True)
class Ready:
    """The model can answer; `context` tokens, on `device` and why there, loaded in `seconds`."""

    context: int
    device: str
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Broken:
    """The worker cannot answer, and why."""

    error: EngineError


State = Off | Loading | Ready | Broken


class LocalEngine:
    """Obeys the Engine contract with a worker that is started, watched and, when it dies, started again."""

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        environment: Mapping[str, str],
        log: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.state: State = Off()
        self.was_ready = False
        self.busy = False
        """Whether an answer is being made."""
        self._environment = environment
        self._log = log
        self._on_change = on_change
        self._process: WorkerProcess | None = None
        self._replies: queue.SimpleQueue[tuple[WorkerProcess, Reply | Ended]] = queue.SimpleQueue()
        self._counts: queue.SimpleQueue[Counted | None] = queue.SimpleQueue()
        self._counting = -1
        self._number = 0
        self._to_warm: Sequence[Message] = ()
        self._reading = Reading()

    @property
    def model(self) -> str:
        """The model's name as a person knows it."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """The worker's process number, while there is one."""
        return self._process.pid if self._process else None

    @property
    def reading_speed(self) -> float | None:
        """Tokens of a prompt that the model reads per second, as last seen; None before it was."""
        return self._reading.speed

    def start(self) -> None:
        """Start a worker and have it load the model; returns at once."""
        self.close()
        self._number += 1
        spec = self.spec
        load = Load(self._number, str(spec.folder), spec.context, spec.threads, spec.backend)
        self._become(Loading())
        try:
            process = self._process = WorkerProcess(self._environment, self._log)
        except OSError as cause:
            self._become(Broken(WorkerError(f"The model worker cannot be started: {cause}", hint="Run shammah doctor")))
            return
        process.listen(lambda reply: self._take_note(process, load.request, reply))
        process.send(load)
        if self._to_warm:
            self.warm(self._to_warm)

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
        self._become(Off())

    def warm(self, messages: Sequence[Message]) -> None:
        """Have the worker read the conversation in the background, or as soon as there is a worker."""
        self._to_warm = messages
        if isinstance(self.state, Ready | Loading) and self._process is not None:
            self._to_warm = ()
            self._number += 1
            self._process.send(Warm(self._number, list(messages)))

    def count(self, messages: Sequence[Message], within_s: float) -> Counted | None:
        """The conversation's tokens by the model's own tokenizer; None while an answer runs, or where it takes longer.

        What is being read ahead gives way to it.
        """
        if not isinstance(self.state, Ready) or self._process is None or self.busy:
            return None
        self._number += 1
        self._counting, self._counts = self._number, queue.SimpleQueue()
        self._process.send(Count(self._number, list(messages)))
        with contextlib.suppress(queue.Empty):
            return self._counts.get(timeout=within_s)
        return None

    def reply(self, messages: Sequence[Message], options: Options) -> Generator[Event]:
        """Answer, as the Engine contract says; waits for the model where it is still loading."""
        self.busy = True
        try:
            yield from self._reply(messages, options, Tally())
        finally:
            self.busy = False

    def _reply(self, messages: Sequence[Message], options: Options, tally: Tally) -> Iterator[Event]:
        yield from self._until_ready(tally)
        process = self._process
        assert process is not None
        self._number += 1
        number = self._number
        process.send(Generate(number, list(messages), options))
        over = False
        try:
            for event in self._events(process, number, tally):
                over = isinstance(event, Finish)
                yield event
        finally:
            if not over:
                process.send(Stop(number))

    def _until_ready(self, tally: Tally) -> Iterator[Event]:
        if not isinstance(self.state, Ready | Loading):
            self.start()
        pulse = Pulse(self.pid or 0, LOAD_PATIENCE if self.spec.backend == "cpu" else CONTEST_PATIENCE)
        while isinstance(self.state, Loading):
            event = Waiting("loading")
            tally.see(event)
            yield event
            time.sleep(TICK / 2)
            if pulse.stopped():
                self._give_up(_trouble("hangs while it loads the model"))
        if isinstance(self.state, Broken):
            raise self.state.error

    def _events(self, process: WorkerProcess, number: int, tally: Tally) -> Iterator[Event]:
        pulse = Pulse(process.pid, PATIENCE)
        while True:
            try:
                sender, reply = self._replies.get(timeout=TICK)
            except queue.Empty:
                yield Waiting()
                if pulse.stopped():
                    error = _trouble("hangs")
                    self._give_up(error)
                    yield self._fault(tally, error)
                    return
                continue
            if sender is not process:
                continue
            pulse.heard()
            if not isinstance(reply, Ended) and reply.request != number:
                continue
            event = self._translate(reply, tally)
            tally.see(event)
            yield event
            if isinstance(event, Finish):
                return

    def _translate(self, reply: Reply | Ended, tally: Tally) -> Event:
        match reply:
            case Delta():
                return Piece(reply.text, reply.tokens)
            case Progress():
                return Waiting("reading", reply.done, reply.total)
            case Cut():
                return Trimmed(reply.turns, reply.context)
            case Done():
                timing = tally.finish(reply.reason).timing
                return Finish(
                    reply.reason, Usage(reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens), timing
                )
            case Failed(fatal=False):
                return self._fault(tally, ModelError(reply.message, hint=reply.hint))
            case Failed():
                error = WorkerError(reply.message, hint=reply.hint)
                self._give_up(error)
                return self._fault(tally, error)
            case Ended():
                self.start()
                return self._fault(tally, _trouble(_how(reply.status)))
            case _:
                return Waiting()

    def _fault(self, tally: Tally, error: EngineError) -> Finish:
        """A fault before the first piece is raised, a later one is an end (Engine contract, 4)."""
        if not tally.begun:
            raise error
        return tally.finish("failed", str(error), error.hint)

    def _give_up(self, error: EngineError) -> None:
        self.close()
        self._become(Broken(error))

    def _take_note(self, process: WorkerProcess, load: int, reply: Reply | Ended) -> None:
        """Runs in the listening thread: what concerns the state, at once; the rest for the answer that waits for it."""
        if process is not self._process:
            return
        match reply:
            case LoadedReply():
                self.was_ready = True
                self._become(Ready(reply.context, reply.device, reply.seconds, reply.why))
            case Failed() if reply.request == load:
                self._become(Broken(ModelError(reply.message, hint=reply.hint)))
            case Progress():
                self._reading.see(reply)
            case Counted() | Failed() if reply.request == self._counting:
                self._counts.put(reply if isinstance(reply, Counted) else None)
            case Ended():
                self._counts.put(None)
                if not isinstance(self.state, Broken):
                    self._become(Broken(_trouble(_how(reply.status))))
        self._replies.put((process, reply))

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change()


class Reading:
    """How fast a model reads prompts, from the progress that it tells: in answers, and while it reads ahead."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.speed: float | None = None
        self._clock = clock
        self._request = -1

    def see(self, progress: Progress) -> None:
        """Take note; the last prompt with something to read counts."""
        now = self._clock()
        if progress.request != self._request:
            self._request, self._since, self._done = progress.request, now, progress.done
        elif progress.done >= self._done + TOLD and now > self._since:
            self.speed = (progress.done - self._done) / (now - self._since)


def _trouble(what: str) -> WorkerError:
    return WorkerError(f"The model worker {what}", hint="Ask again: a new one is started")


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    because = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was ended by {name}{because}"
