"""The engines of this machine: the starter inside the package, and one larger model that may be on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shammah.config import Local
from shammah.errors import ModelError
from shammah.local.client import Broken, LocalEngine, ModelSpec, Off
from shammah.local.client import Ready as Loaded
from shammah.message import Message
from shammah.models import catalog, store
from shammah.models.bootstrap import Bootstrap, Downloading, Failed, Loading, Plan, Preparing, Ready, State, Waiting
from shammah.models.catalog import size_text
from shammah.models.machine import memory
from shammah.models.wanted import Automatic, Source, Wanted, wanted
from shammah.paths import STARTER
from shammah.router import Facts, Mode, ModelState, choose

RETRY_AFTER = 60.0
"""Seconds after which a question tries again what failed and may work later."""
COUNT_PATIENCE = 0.5
"""Seconds that a question may wait for its tokens to be counted."""
SCARCE = 0.5
"""The share of `routing.reserve_ram_gb` below which the free memory is too little to begin an answer with a model.

All of it was free when the model was loaded: since then, other programs have come to need it.
"""


@dataclass(frozen=True)
class Order:
    """What was asked for; another order replaces the model, the same one keeps it."""

    wanted: Wanted
    context: int
    threads: int
    backend: str
    keep_download: bool
    forbidden: str


class LocalModels(Mapping[str, LocalEngine]):
    """The engines by name: "starter", and "local" once a larger model is loaded or being loaded.

    A new model is made ready beside the one that answers, and takes its place in `settle`, between two answers.
    """

    def __init__(self, plan: Plan, on_change: Callable[[], None]) -> None:
        self._plan = plan
        self._reserve_gb = 0.0
        self._on_change = on_change
        self._starter: LocalEngine | None = None
        self._serving: tuple[Order, Bootstrap] | None = None
        self._coming: tuple[Order, Bootstrap] | None = None
        self._conversation: Sequence[Message] = ()

    # As a mapping

    def __getitem__(self, name: str) -> LocalEngine:
        return self._engines()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines())

    def __len__(self) -> int:
        return len(self._engines())

    def _engines(self) -> dict[str, LocalEngine]:
        found = {"starter": self._starter} if self._starter else {}
        if self._serving and self._serving[1].engine:
            found["local"] = self._serving[1].engine
        return found

    # What is wanted

    def want(self, local: Local, *, reserve_gb: float = 0.0, forbidden: str = "") -> None:
        """Take the settings for what is wanted; what differs from it is ended or replaced, new ones wait for `start`.

        `reserve_gb` is the memory to leave to the rest of the machine, 0 where that does not matter. `forbidden` says
        why nothing may be fetched, and what to do about it; "" where it may.

        Raises:
            ModelError: `local.repo` names no model; everything stays as it is.
        """
        target = wanted(local) if local.enabled else None
        self._want_starter(local)
        if reserve_gb != self._reserve_gb:
            self._reserve_gb = reserve_gb
            self.retry()  # What did not fit may fit now.
        if target is None:
            self._end_coming()
            self._end_serving()
            return
        order = Order(target, local.context, local.threads, local.backend, local.keep_download, forbidden)
        if self._keeps(self._serving, order):
            self._end_coming()
        elif not self._keeps(self._coming, order):
            self._end_coming()
            self._begin(order)

    def _want_starter(self, local: Local) -> None:
        spec = ModelSpec("starter", STARTER, local.context, local.threads) if local.enabled else None
        if self._starter and self._starter.spec != spec:
            self._starter.close()
            self._starter = None
        if spec and self._starter is None:
            plan = self._plan
            log = plan.logs / "worker.log"
            self._starter = LocalEngine("starter", spec, plan.worker_environment, log, self._on_change)

    def _begin(self, order: Order) -> None:
        plan = replace(
            self._plan,
            context=order.context,
            threads=order.threads,
            backend=order.backend,
            keep_download=order.keep_download,
            reserve_gb=lambda: self._reserve_gb,
            forbidden=self._plan.forbidden or order.forbidden,
        )
        beside = self._serving is not None and self._serving[1].engine is not None
        made = order, self._bootstrap(order.wanted, plan)
        if beside:
            self._coming = made
        else:
            self._end_serving()
            self._serving = made

    def _bootstrap(self, target: Wanted, plan: Plan) -> Bootstrap:
        made = Bootstrap(
            target,
            plan,
            is_beside=lambda: self._serving is not None and self._coming is not None and self._coming[1] is made,
            conversation=lambda: self._conversation,
            on_change=self._on_change,
        )
        return made

    @staticmethod
    def _keeps(current: tuple[Order, Bootstrap] | None, order: Order) -> bool:
        """Whether what runs is what is ordered; whether it may be fetched matters only until it is here."""
        if current is None:
            return False
        had, bootstrap = current
        return had == order or (bootstrap.engine is not None and replace(had, forbidden=order.forbidden) == order)

    def _end_coming(self) -> None:
        if self._coming:
            self._coming[1].close()
            self._coming = None

    def _end_serving(self) -> None:
        if self._serving:
            self._serving[1].close()
            self._serving = None

    # At work

    def start(self) -> None:
        """Start what is not running, in the background; what failed a while ago and may work now, too."""
        if self._starter and isinstance(self._starter.state, Off):
            self._starter.start()
        for _, bootstrap in filter(None, (self._serving, self._coming)):
            if not bootstrap.started or self._try_again(bootstrap):
                bootstrap.start()

    def start_best(self) -> None:
        """Start only the one that gives the better answer: for a single question the others are in the way."""
        if self._serving:
            self._serving[1].bring()
        if "local" not in self and self._starter:
            self._starter.start()

    def retry(self) -> None:
        """Begin again what failed."""
        for _, bootstrap in filter(None, (self._serving, self._coming)):
            if isinstance(bootstrap.state, Failed):
                bootstrap.start()

    @staticmethod
    def _try_again(bootstrap: Bootstrap) -> bool:
        state = bootstrap.state
        due = time.monotonic() - bootstrap.failed_at > RETRY_AFTER
        return bootstrap.engine is None and isinstance(state, Failed) and state.retryable and due

    def settle(self, *, asked: bool = False) -> None:
        """Between two answers: a model that has become ready, or needs the room, takes the place of the one before.

        One that only needs the room waits where a question was `asked`, which the one before can answer now.
        """
        if self._serving is None or self._coming is None:
            return
        old, new = self._serving[1], self._coming[1]
        if new.crowded and not asked:
            self._serving, self._coming = self._coming, None
            new.take_room(old)
        elif isinstance(new.state, Ready):
            self._serving, self._coming = self._coming, None
            threading.Thread(target=old.close, name="end of a model").start()  # Painting must not wait for it.

    # What is known

    @property
    def state(self) -> State | None:
        """How far the wanted model is; None where the starter is all that is wanted."""
        current = self._coming or self._serving
        return current[1].state if current else None

    @property
    def hub(self) -> str:
        """The hub's address, "" where nothing may be fetched."""
        return "" if self._plan.forbidden else self._plan.endpoint

    @property
    def absent(self) -> bool:
        """Whether the wanted model must be fetched before it can answer."""
        current = self._coming or self._serving
        here = {found.repo for found in store.stored(self._plan.models) if found.prepared}
        match current and current[0].wanted:
            case Source(repo=repo):
                return store.is_repository(repo) and repo not in here
            case Automatic(variant=variant):
                return not any(model.repo in here for model in catalog.of_variant(variant))
            case _:
                return False

    @property
    def notes(self) -> list[str]:
        """What the person should know of the larger model."""
        return self._serving[1].notes if self._serving else []

    def facts(self, mode: Mode, enabled: bool, patient: bool = False, messages: Sequence[Message] = ()) -> Facts:
        """What the router needs to know now; with `messages`, also how long they are and what they need."""
        if self._serving is None:
            return Facts(mode, enabled, patient)
        bootstrap = self._serving[1]
        state, stage = _in_words(bootstrap)
        known = Facts(mode, enabled, patient, state, bootstrap.model, stage)
        engine = bootstrap.engine
        if not messages or engine is None or not isinstance(engine.state, Loaded):
            return known
        known = replace(known, local_context=engine.state.context, short_of_memory=self._shortage())
        counted = engine.count(messages, COUNT_PATIENCE)
        if counted is None:
            return known
        speed = engine.reading_speed
        wait_s = (counted.tokens - counted.cached) / speed if speed else None
        return replace(known, prompt_tokens=counted.tokens, wait_s=wait_s)

    def _shortage(self) -> str:
        """What memory is lacking to answer now, "" where there is enough."""
        free = memory().available
        if free >= self._reserve_gb * 1e9 * SCARCE:
            return ""
        return f"only {size_text(free)} are free of the {self._reserve_gb:g} GB of memory for other programs"

    def answering(self, facts: Facts) -> LocalEngine:
        """The engine that would answer now, if Claude is not asked."""
        return self[choose(replace(facts, mode="local")).engine]

    def warm(self, facts: Facts, messages: Sequence[Message]) -> None:
        """Have the engine that would answer read the conversation in the background, and any that comes later."""
        self._conversation = messages
        self.answering(facts).warm(messages)

    def read_ahead(self, facts: Facts, messages: Sequence[Message]) -> None:
        """The same for a question that may still change."""
        self.answering(facts).warm(messages)

    def close(self) -> None:
        """End every process."""
        self._end_coming()
        self._end_serving()
        if self._starter:
            self._starter.close()


def _in_words(bootstrap: Bootstrap) -> tuple[ModelState, str]:
    """The state in the router's words, and what it says of it."""
    engine = bootstrap.engine
    match bootstrap.state:
        case Ready():
            return "ready", ""
        case Waiting():
            return "fetching", "being looked for"
        case Downloading(done=done, of=of):
            return "fetching", f"downloading ({done * 100 // max(of, 1)} %)"
        case Preparing():
            return "fetching", "being prepared"
        case Failed(cause=cause) if engine is None or isinstance(_error(engine), ModelError):
            return "failed", cause
        case Loading() | Failed():
            return ("restarting" if engine and engine.was_ready else "loading"), ""


def _error(engine: LocalEngine) -> Exception | None:
    return engine.state.error if isinstance(engine.state, Broken) else None
