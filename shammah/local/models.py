"""The models on this machine that may answer: the starter inside the package, and one larger model in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from shammah.config import Local
from shammah.errors import ModelError, NotYetError
from shammah.local.client import Broken, Loading, LocalEngine, ModelSpec, Off, Ready
from shammah.message import Message
from shammah.paths import STARTER
from shammah.router import Facts, Mode, ModelState, choose

SIZES = ("0.5b", "1.5b", "3b", "7b", "14b")


def folder_of(name: str) -> Path | None:
    """The folder that a model's name stands for; None for the starter.

    Raises:
        NotYetError: a size that would have to be downloaded.
        ModelError: no such folder, or no model in it.
    """
    if name in ("", "starter"):
        return None
    if name.lower() in SIZES:
        raise NotYetError(
            f"The model {name} cannot be downloaded yet: this version runs the starter and models in a folder",
            hint="Name a folder that holds a prepared model, or starter",
        )
    try:
        folder = Path(name).expanduser()
        prepared = (folder / "genai_config.json").is_file()
    except (OSError, ValueError, RuntimeError):  # Too long a name, a zero byte in it, the ~name of nobody here.
        prepared = False
    if not prepared:
        raise ModelError(
            f"There is no model in {name}: a prepared model's folder holds a genai_config.json",
            hint="Name such a folder, or starter",
        )
    return folder.resolve()


class LocalModels(Mapping[str, LocalEngine]):
    """The engines of this machine by name, started when they are wanted and switched when the choice changes."""

    def __init__(self, environment: Mapping[str, str], log: Path, on_change: Callable[[], None]) -> None:
        self._environment = environment
        self._log = log
        self._on_change = on_change
        self._engines: dict[str, LocalEngine] = {}

    def __getitem__(self, name: str) -> LocalEngine:
        return self._engines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def want(self, local: Local) -> None:
        """Take the settings for what is wanted; engines that differ from it are ended, new ones wait for `start`.

        Raises:
            EngineError: `local.repo` names no model; everything stays as it is.
        """
        folder = folder_of(local.repo)
        specs: dict[str, ModelSpec] = {}
        if local.enabled:
            specs["starter"] = ModelSpec("starter", STARTER, local.context, local.threads)
        if local.enabled and folder is not None:
            specs["local"] = ModelSpec(folder.name, folder, local.context, local.threads)
        for name in [name for name, engine in self._engines.items() if specs.get(name) != engine.spec]:
            self._engines.pop(name).close()
        for name in specs.keys() - self._engines.keys():
            self._engines[name] = LocalEngine(name, specs[name], self._environment, self._log, self._on_change)

    def start(self) -> None:
        """Start what is not running, in the background."""
        for engine in self._engines.values():
            if isinstance(engine.state, Off):
                engine.start()

    def start_best(self) -> None:
        """Start only the one that gives the better answer: for a single question the others are in the way."""
        best = self._engines.get("local") or self._engines.get("starter")
        if best is not None:
            best.start()

    def facts(self, mode: Mode, enabled: bool, patient: bool = False) -> Facts:
        """What the router needs to know now."""
        engine = self._engines.get("local")
        if engine is None:
            return Facts(mode, enabled, patient)
        cause = str(engine.state.error) if isinstance(engine.state, Broken) else ""
        return Facts(mode, enabled, patient, state_name(engine), engine.model, cause)

    def answering(self, facts: Facts) -> LocalEngine:
        """The engine that would answer now."""
        return self._engines[choose(facts).engine]

    def warm(self, facts: Facts, messages: Sequence[Message]) -> None:
        """Have the engine that would answer read the conversation in the background."""
        self.answering(facts).warm(messages)

    def close(self) -> None:
        """End every worker."""
        for engine in self._engines.values():
            engine.close()


def state_name(engine: LocalEngine) -> ModelState:
    """The engine's state in the router's words."""
    match engine.state:
        case Ready():
            return "ready"
        case Broken(error=ModelError()):
            return "failed"
        case Off() | Loading() | Broken():
            return "restarting" if engine.was_ready else "loading"
