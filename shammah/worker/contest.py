"""Which provider runs a model best here: a short run on each, the right tokens demanded, the fastest remembered.

Right is what the CPU says, since every model is checked there. Providers round differently (the CPU itself takes
activations as 8-bit numbers where a graphics card takes 16-bit ones), so equal text cannot be asked for: one near tie
decided otherwise changes all that follows. Every provider is therefore led along the CPU's tokens, and at each place
its own choice must be one that the CPU holds within half a logit of its best; AGREEMENT of the places must be so.
A provider that computes nonsense agrees at none; a good one was seen to agree at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shammah.environment import worker_environment
from shammah.local.trial import COMMAND, Heard, ask
from shammah.worker.providers import CPU, Absent, Provider, available, first_line, missing, survey
from shammah.worker.remembered import Memory, recall, remember

LIMIT = 90.0
"""Seconds for a run, load included: a graphics driver compiles for a good part of them the first time."""
AGREEMENT = 0.9
READ, WRITE = 256, 128
"""Tokens of the turn that providers are compared by."""


@dataclass(frozen=True)
class Ran:
    """A run with the right tokens: tokens a second read and written, share of places that agree."""

    provider: Provider
    read: float
    write: float
    agreement: float

    @property
    def turn(self) -> float:
        """Seconds for a turn of READ tokens in and WRITE tokens out."""
        return READ / self.read + WRITE / self.write


@dataclass(frozen=True)
class Lost:
    """A provider that is not used: why."""

    provider: Provider
    why: str


@dataclass(frozen=True)
class Contest:
    """What each provider did, which one is taken, and why in one sentence."""

    results: tuple[Ran | Lost, ...]
    winner: Provider
    why: str


Look = Callable[[], Sequence[Provider | Absent]]
"""Tells what is there."""
Command = Callable[[Provider], Sequence[str]]
"""Tells how a provider's trial is started."""


def own(_: Provider) -> Sequence[str]:
    """The command that runs a provider's trial: the same for each."""
    return COMMAND


def choose(
    folder: Path,
    backend: str,
    threads: int,
    context: int,
    look: Look = survey,
    command: Command = own,
) -> Contest:
    """The provider to load the model with; takes a contest only where there is a choice and none is remembered."""
    places = look() if backend != "cpu" else [CPU]
    providers = available(backend, places)
    if len(providers) == 1:
        return Contest((), CPU, missing(backend, places) or "The CPU is what there is to run on")
    memory = Memory.of(folder, providers, threads, backend)
    if (known := recall(folder, memory)) and (winner := _named(providers, known["winner"])):
        return Contest((), winner, known["why"])
    held = contest(folder, providers, threads, context, asked=backend, command=command)
    remember(folder, memory, held.winner.name, held.why)
    return held


def contest(
    folder: Path,
    providers: Sequence[Provider],
    threads: int,
    context: int,
    *,
    asked: str = "auto",
    limit: float = LIMIT,
    command: Command = own,
) -> Contest:
    """A run on each of the providers, one after the other; the one that was `asked` for need not be the fastest."""
    task = {"kind": "run", "folder": str(folder), "threads": threads, "context": context}

    def run(provider: Provider, tokens: Sequence[int]) -> Heard:
        told = {**task, "provider": asdict(provider), "tokens": list(tokens)}
        return ask(told, limit, worker_environment(), command(provider))

    standard = run(CPU, ())
    if standard.trouble:
        lost = Lost(CPU, _trouble(standard))
        return Contest((lost,), CPU, f"The CPU runs the model untried: {lost.why}")
    rivals = [_judged(rival, run(rival, standard.find("tokens")), standard) for rival in providers if rival != CPU]
    return _decided(folder, [_judged(CPU, standard, standard), *rivals], asked, limit, command)


def _decided(folder: Path, results: list[Ran | Lost], asked: str, limit: float, command: Command) -> Contest:
    """The first run whose provider really does most of the work; those before it are struck off."""
    for best in sorted((ran for ran in results if isinstance(ran, Ran)), key=lambda ran: rank(ran, asked)):
        if not (why := _elsewhere(folder, best.provider, limit, command)):
            return Contest(tuple(results), best.provider, _reason(best, results, asked))
        results[results.index(best)] = Lost(best.provider, why)
    return Contest(tuple(results), CPU, "; ".join(["The CPU runs the model", *map(_said_of, results)]))


def lost_later(folder: Path, provider: Provider, backend: str, threads: int, cause: object, look: Look = survey) -> str:
    """Remember that a provider failed in an answer, so that the CPU is taken from now on; a sentence that says so."""
    why = f"{provider.title} failed in an answer, so the CPU runs the model: {first_line(cause)}"
    remember(folder, Memory.of(folder, available(backend, look()), threads, backend), CPU.name, why)
    return why


def report(folder: Path) -> list[tuple[str, str]]:
    """Rows for doctor: each provider with what can be said of it, and what was measured for the model in `folder`."""
    rows = [(place.name, _state(place)) for place in survey()]
    known = recall(folder, None)
    return [*rows, ("provider", known["why"])] if known else rows


def _state(place: Provider | Absent) -> str:
    match place:
        case Provider():
            return f"there: {place.device}" if place.device else "there"
        case Absent():
            return f"not there: {place.why}; {place.hint}"


def _judged(provider: Provider, heard: Heard, standard: Heard) -> Ran | Lost:
    if heard.trouble:
        return Lost(provider, _trouble(heard))
    if provider.genai and heard.find("device").lower() == "cpu":
        return Lost(provider, "the model it loaded runs on the CPU")
    if not heard.find("rewinds"):
        return Lost(provider, "it gives other tokens after going back in a conversation")
    places = [top in near for top, near in zip(heard.find("tops"), standard.find("near"), strict=True)]
    agreement = sum(places) / len(places)
    if agreement < AGREEMENT:
        return Lost(provider, f"it gives wrong tokens: right at {sum(places)} of {len(places)} places")
    return Ran(provider, heard.find("read"), heard.find("write"), agreement)


def _trouble(heard: Heard) -> str:
    stage = heard.find("stage")
    return f"{heard.trouble} ({stage})" if stage else heard.trouble


def _elsewhere(folder: Path, provider: Provider, limit: float, command: Command) -> str:
    """Why a provider that seemed to run does not really: most heavy operations were given to another; "" if it does."""
    if provider == CPU:
        return ""
    task = {"kind": "assign", "folder": str(folder), "provider": asdict(provider)}
    heard = ask(task, limit, worker_environment(), command(provider))
    if heard.trouble:
        return f"asked which operations it runs, {heard.trouble}"
    counts: dict[str, int] = heard.find("assigned")
    ours, all_of_them = counts.get(provider.ep, 0), sum(counts.values())
    return "" if 2 * ours > all_of_them else f"it runs only {ours} of the {all_of_them} heavy operations"


def rank(ran: Ran, asked: str) -> tuple[bool, float]:
    """Orders runs: the one that was asked for first, then the shorter turn."""
    return ran.provider.name != asked, ran.turn


def _reason(best: Ran, results: Sequence[Ran | Lost], asked: str) -> str:
    others = [result for result in results if result.provider != best.provider]
    title = best.provider.title
    if best.provider.name == asked:
        title = f"{title} was asked for and"
    elif any(isinstance(other, Ran) for other in others):
        title = f"{title} is the fastest here and"
    speeds = f"{title} reads {best.read:.0f} and writes {best.write:.0f} tokens a second"
    return "; ".join([speeds, *map(_said_of, others)])


def _said_of(result: Ran | Lost) -> str:
    match result:
        case Ran():
            return f"{result.provider.title} reads {result.read:.0f} and writes {result.write:.0f}"
        case Lost():
            return f"{result.provider.title} is not used: {result.why}"


def _named(providers: Sequence[Provider], name: str) -> Provider | None:
    return next((provider for provider in providers if provider.name == name), None)
