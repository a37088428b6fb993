"""Brings a model to ready in the background: choose, fetch, prepare, check the memory, load."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shammah.errors import HubError, ModelError, ShammahError
from shammah.local.client import Broken, LocalEngine, ModelSpec
from shammah.local.client import Ready as Loaded
from shammah.message import Message
from shammah.models import protocol, store
from shammah.models.process import LoaderProcess
from shammah.models.wanted import Automatic, Folder, Source, Wanted


@dataclass(frozen=True)
class Waiting:
    """Nothing has begun yet, or what to take is being chosen."""

    model: str


@dataclass(frozen=True)
class Downloading:
    """`done` of `of` bytes are here, at `rate` bytes per second; `watching`: another chat fetches them."""

    model: str
    done: int
    of: int
    rate: float
    watching: bool = False


@dataclass(frozen=True)
class Preparing:
    """The download is rewritten for this machine; `share` of it, 0 to 1, is done."""

    model: str
    step: str
    share: float


@dataclass(frozen=True)
class Loading:
    """The worker loads the model."""

    model: str


@dataclass(frozen=True)
class Ready:
    """The model answers, on this provider."""

    model: str
    provider: str


@dataclass(frozen=True)
class Failed:
    """It cannot be had: why, what to do next, and whether the same try may work later."""

    model: str
    cause: str
    hint: str
    retryable: bool = False


State = Waiting | Downloading | Preparing | Loading | Ready | Failed


@dataclass(frozen=True)
class Plan:
    """How to bring a model to ready.

    `forbidden` says what to do where nothing may be fetched, "" where it may; `reserve_gb` tells the memory to leave
    to the rest of the machine. Given the context and that memory, `choose` tells the source to take for `Automatic`, by
    whether it may be fetched; `check_memory` raises ModelError where a folder's model would not fit into the memory
    that is free now, and `check_before_fetch` where a source's would not fit into all the memory there is.
    """

    models: Path
    logs: Path
    endpoint: str
    worker_environment: Mapping[str, str]
    loader_environment: Mapping[str, str]
    choose: Callable[[Automatic, int, float, bool], Source]
    check_memory: Callable[[str, Path, int, float], None]
    check_before_fetch: Callable[[Source, int, float], None] = lambda _source, _context, _reserve_gb: None
    forbidden: str = ""
    context: int = 4096
    threads: int = 0
    backend: str = "auto"
    keep_download: bool = False
    reserve_gb: Callable[[], float] = lambda: 0.0


class Bootstrap:
    """One model on its way; `engine` is there from Loading on."""

    def __init__(
        self,
        wanted: Wanted,
        plan: Plan,
        *,
        is_beside: Callable[[], bool],
        conversation: Callable[[], Sequence[Message]],
        on_change: Callable[[], None],
    ) -> None:
        """`is_beside` tells whether another model answers meanwhile, which could make room.

        `conversation` is read by the model as soon as it is loaded, so that its first answer starts sooner.
        """
        self.wanted = wanted
        self.notes: list[str] = []
        self.engine: LocalEngine | None = None
        self.started = False
        self.failed_at = 0.0
        self.crowded = False
        """Whether it waits for the memory of the model beside it: `take_room` goes on."""
        self._plan = plan
        self._is_beside = is_beside
        self._room: queue.SimpleQueue[Bootstrap | None] = queue.SimpleQueue()
        self._conversation = conversation
        self._on_change = on_change
        self._stage: State = Waiting("" if isinstance(wanted, Automatic) else wanted.name)
        self._loader: LoaderProcess | None = None
        self._closed = threading.Event()

    @property
    def state(self) -> State:
        """How far it is; replaced whole, so that a reader never sees half a change."""
        engine = self.engine
        if engine is None:
            return self._stage
        match engine.state:
            case Loaded(device=device):
                return Ready(engine.model, device)
            case Broken(error=error):
                return Failed(engine.model, str(error), error.hint, retryable=not isinstance(error, ModelError))
            case _:
                return Loading(engine.model)

    @property
    def model(self) -> str:
        """The model's name, as far as it is known."""
        return self.state.model

    def start(self) -> None:
        """Begin, or begin again after a failure; returns at once."""
        self.started = True
        self._closed.clear()
        self._room, self.crowded = queue.SimpleQueue(), False
        if self.engine:
            self.engine.close()
            self.engine = None
        threading.Thread(target=self._in_background, daemon=True, name="bootstrap").start()

    def bring(self) -> None:
        """The same in the foreground, up to where the model is being loaded or why it cannot be."""
        self.started = True
        try:
            self._bring()
        except ShammahError as error:
            self._fail(error)

    def take_room(self, other: Bootstrap) -> None:
        """End the other model, which answers no longer, and go on in the memory that it had; returns at once."""
        self.crowded = False
        self._room.put(other)

    def close(self) -> None:
        """End whatever is at work for it; what was fetched stays."""
        self._closed.set()
        self._room.put(None)
        if self._loader:
            self._loader.kill()
        if self.engine:
            self.engine.close()

    def _in_background(self) -> None:
        try:
            self.bring()
        except Exception as cause:  # The edge of a background task: it becomes a state with its cause.
            message = f"Something unforeseen: {type(cause).__name__}: {cause}"
            self._fail(HubError(message, hint="Try again with /model NAME, or run shammah doctor"))

    def _fail(self, error: ShammahError) -> None:
        self.failed_at = time.monotonic()
        retryable = isinstance(error, HubError) and error.retryable
        self._become(Failed(self._stage.model, str(error), error.hint, retryable))

    def _bring(self) -> None:
        wanted = self._choose(self.wanted) if isinstance(self.wanted, Automatic) else self.wanted
        self._become(Waiting(wanted.name))
        folder = wanted.path if isinstance(wanted, Folder) else self._fetched(wanted)
        if folder is None or self._closed.is_set():
            return
        self.notes = store.notes(folder)
        self._check_memory(wanted.name, folder)
        if not self._closed.is_set():
            self._load(wanted.name, folder)

    def _choose(self, wanted: Automatic) -> Source:
        return self._plan.choose(wanted, self._plan.context, self._plan.reserve_gb(), not self._plan.forbidden)

    def _fetched(self, source: Source) -> Path | None:
        """The folder that the loader checked or made; None when closed meanwhile."""
        known = {found.repo for found in store.stored(self._plan.models)}
        if self._plan.forbidden and store.is_repository(source.repo) and source.repo not in known:
            raise HubError(f"{source.name} is not on this machine", hint=self._plan.forbidden)
        if source.repo not in known:
            self._plan.check_before_fetch(source, self._plan.context, self._plan.reserve_gb())
        request = protocol.Fetch(
            source.repo, str(self._plan.models), source.file, endpoint=self._plan.endpoint,
            offline=bool(self._plan.forbidden), keep_download=self._plan.keep_download, threads=self._plan.threads,
        )  # fmt: skip
        self._loader = LoaderProcess(request, self._plan.loader_environment, self._plan.logs / "loader.log")
        if self._closed.is_set():
            self._loader.kill()
        for reply in self._loader.replies():
            if self._closed.is_set():
                return None
            if folder := self._follow(source.name, reply):
                return folder
        return None

    def _follow(self, name: str, reply: protocol.Reply) -> Path | None:
        match reply:
            case protocol.Downloading():
                self._become(Downloading(name, reply.done, reply.total, reply.rate, reply.watching))
            case protocol.Preparing():
                self._become(Preparing(name, reply.step, reply.share))
            case protocol.Prepared():
                return Path(reply.folder)
            case protocol.Failed():
                raise HubError(reply.message, hint=reply.hint, retryable=reply.retryable)
        return None

    def _check_memory(self, name: str, folder: Path) -> None:
        plan = self._plan
        try:
            plan.check_memory(name, folder, plan.context, plan.reserve_gb())
        except ModelError:
            if not self._is_beside():
                raise
            self.crowded = True
            self._on_change()
            if (other := self._room.get()) is None:
                return
            other.close()
            plan.check_memory(name, folder, plan.context, plan.reserve_gb())

    def _load(self, name: str, folder: Path) -> None:
        spec = ModelSpec(name, folder, self._plan.context, self._plan.threads, self._plan.backend)
        environment, log = self._plan.worker_environment, self._plan.logs / "worker.log"
        engine = LocalEngine("local", spec, environment, log, self._on_change)
        self.engine = engine
        engine.warm(self._conversation())
        engine.start()
        if self._closed.is_set():
            engine.close()

    def _become(self, stage: State) -> None:
        if not self._closed.is_set():
            self._stage = stage
            self._on_change()
