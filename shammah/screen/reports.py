"""What the commands show, as rows of a name and a text; computed from the parts, written nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from shammah import machine
from shammah.cloud.prices import dollars
from shammah.cloud.spending import Day
from shammah.config import Config, settings, toml_text, value_of
from shammah.engine import Engine
from shammah.engines import Engines
from shammah.errors import EngineError
from shammah.history.export import to_json, to_markdown
from shammah.history.search import search
from shammah.history.store import Cost, Store
from shammah.local.client import LocalEngine, Ready
from shammah.message import Notice, Options, Timing, Usage
from shammah.models import bootstrap
from shammah.models.engines import COUNT_PATIENCE
from shammah.models.machine import memory
from shammah.router import Facts, choose
from shammah.screen.answer import cost, sent_and_cost, size
from shammah.screen.rows import Rows
from shammah.screen.states import context_of, state_word, way
from shammah.screen.toolbar import share
from shammah.session import Outgoing, Receipt, Session


def options(config: Config) -> Options:
    """How to generate, from the settings."""
    given = config.generation
    return Options(given.max_tokens, given.temperature, given.top_k, given.top_p, given.repetition_penalty, given.seed)


def shown_value(config: Config, key: str) -> str:
    """A setting's value as config.toml would write it."""
    value = value_of(config, key)
    return "unset" if value is None else toml_text(value)


def settings_table(config: Config, start: str = "") -> Rows:
    """Keys that begin with `start`, each with its value and meaning."""
    return [(f"{s.key} = {shown_value(config, s.key)}", s.meaning) for s in settings() if s.key.startswith(start)]


def models(found: Engines, facts: Facts) -> Rows:
    """The models that can answer here."""
    answering = _answering(facts)[0]
    rows = [
        (("* " if name == answering else "  ") + engine.model, f"{_where(engine)} · {state_word(engine)}")
        for name, engine in found.items()
    ]
    if line := way(found.models.state):
        rows.append(("", line))
    return [*rows, ("", "/model NAME takes a size, OWNER/NAME or a folder; shammah models list shows what fits here")]


def _answering(facts: Facts) -> tuple[str, str]:
    """The name of the engine that would answer now, "" where nobody would; and why."""
    try:
        route = choose(facts)
    except EngineError as error:
        return "", f"{error}. {error.hint}"
    return route.engine, route.why


def _where(engine: Engine) -> str:
    if not isinstance(engine, LocalEngine):
        return "Claude, by Anthropic"
    return "inside the package, knows shammah itself only" if engine.name == "starter" else str(engine.spec.folder)


def status(engines: Engines, facts: Facts, config: Path, history: Path) -> Rows:
    """Model, state, memory, Claude and files."""
    (name, why), found = _answering(facts), engines.models
    engine = engines.get(name)
    rows = [("answers", f"{engine.model if engine else 'nobody'}: {why}")]
    if engine:
        rows.append(("state", _state_in_full(engine)))
    rows.append(("memory", str(memory())))
    line = way(found.state)
    if isinstance(found.state, bootstrap.Failed):
        line = Notice(line or found.state.cause, found.state.hint).told
    if line:
        rows.append(("larger model", line))
    rows += [("note", note) for note in found.notes]
    pid = engine.pid if isinstance(engine, LocalEngine) else None
    held = None if pid is None else machine.memory_of(pid)
    if held is not None:
        rows.append(("worker", f"process {pid}, {held / 1e6:.0f} MB"))
    rows += [("mode", facts.mode), ("claude", claude(facts, engines.cloud.warning))]
    return [*rows, ("settings", str(config)), ("history", str(history))]


def claude(facts: Facts, warning: str) -> str:
    """Whether Claude may be asked, and can; `warning` as `Cloud.warning`."""
    if facts.mode == "local":
        return "never asked: mode local sends nothing"
    if facts.private:
        return f"never asked in this conversation: {facts.private}"
    if facts.cloud == "no key":
        return "not set up: no key is here; shammah setup asks for it"
    when = {
        "cloud": "each question goes there",
        "ask": "asked when you say yes",
        "auto": "asked while the model here cannot answer" if facts.allowed else "asked only with /cloud",
    }[facts.mode]
    return " · ".join(filter(None, [f"{facts.cloud_name}, {when}", facts.cloud_trouble, warning]))


def _state_in_full(engine: Engine) -> str:
    match engine.state if isinstance(engine, LocalEngine) else None:
        case Ready(context=context, device=device, seconds=seconds, why=why):
            because = f". {why}" if engine.name == "local" and why else ""
            return f"ready on {device}, {context:,} tokens of context, loaded in {seconds:.1f} s{because}"
        case _:
            return state_word(engine)


def receipt(last: Receipt) -> Rows:
    """All there is to know of the last answer: who gave it and why, tokens, time, what was sent, what it costs."""
    finish = last.finish
    asked = "answered by" if finish.usage.completion_tokens else "asked"
    rows = [(asked, f"{last.route.engine} · {last.model}"), ("why", last.route.why)]
    if finish.reason in ("interrupted", "failed"):
        rows.append(("ended", f"{finish.reason}: {finish.error}" if finish.error else "stopped"))
    rows += [("before", told) for told in last.before]
    sent = ", ".join(sent_and_cost(finish.spent))
    return [*rows, ("tokens", _tokens(finish.usage)), ("time", _time(finish.timing)), ("left this machine", sent)]


def _tokens(usage: Usage) -> str:
    cached = f", {usage.cached_tokens:,} of them from the cache" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens:,} in{cached}; {usage.completion_tokens:,} out"


def _time(timing: Timing) -> str:
    speed = f", {timing.tokens_per_s:.0f} tokens per second" if timing.tokens_per_s else ""
    return f"first word after {timing.first_token_s:.1f} s, {timing.total_s:.1f} s in all{speed}"


def costs(conversation: Cost, days: Sequence[Day], budget_usd: float) -> Rows:
    """What Claude has cost, in this conversation and on each of the last days."""
    asked = conversation.requests
    here = f"{_cost(conversation.usd, conversation.unknown, conversation.estimated)} · {_requests(asked)}"
    rows = [("this conversation", f"{here}, {size(conversation.sent_bytes)} sent" if asked else "nothing was sent")]
    rows += [
        (day.date, f"{_cost(day.cost_usd, day.unknown, day.estimated)} · {_requests(day.requests)}") for day in days
    ]
    budget = f"{dollars(budget_usd)} a day, passed by one request at most"
    return [*rows, ("budget", budget if budget_usd else "none; cloud.daily_budget_usd sets one")]


def _cost(usd: float, unknown: int, estimated: int = 0) -> str:
    """A sum of money, and how many requests it leaves out because their price is not known."""
    parts = [cost(usd, estimated=bool(estimated))] if usd or not unknown else []
    return " and ".join([*parts, f"{_requests(unknown)} of a price not known"] if unknown else parts)


def _requests(count: int) -> str:
    return f"{count:,} request" + ("" if count == 1 else "s")


def outgoing_line(outgoing: Outgoing) -> str:
    """What would leave this machine, in one line."""
    before = sum(message.role == "user" for message in outgoing.messages) - 1
    with_it = f"this question, {before} exchange{'' if before == 1 else 's'} before it" if before else "this question"
    system = ["the system prompt"] if any(message.role == "system" for message in outgoing.messages) else []
    parts = [with_it, *system, f"{outgoing.characters:,} characters"]
    if outgoing.withheld:
        ones = "exchange stays" if outgoing.withheld == 1 else "exchanges stay"
        parts.append(f"{outgoing.withheld} private {ones} here")
    return f"To Claude ({outgoing.model}) would go: {', '.join(parts)}."


def outgoing_text(outgoing: Outgoing) -> str:
    """What would leave this machine, word for word."""
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in outgoing.messages)


def context(session: Session, engine: Engine | None) -> Rows:
    """How full the context of who answers is, and what is left out of it; None where nobody would answer."""
    answered = sum(1 for exchange in session.exchanges if exchange.answer)
    if engine and engine.name == "claude":
        kept = sum(1 for exchange in session.exchanges if exchange.answer and not exchange.stays)
        place, others = "go to Claude", "the private ones stay here"
    else:
        kept = answered - min(session.left_out, answered)
        place, others = "in context", "the oldest are left out"
    return [
        ("context", _filled(session, engine)),
        ("turns", f"{kept} of {answered} {place}" + ("" if kept == answered else f"; {others}")),
        ("system prompt", "kept" if session.conversation.system else "none"),
    ]


def _filled(session: Session, engine: Engine | None) -> str:
    """How full the context is; of Claude, which tells no size, how much the last answer took."""
    if engine is None:
        return "nobody answers now; /status tells why"
    if not isinstance(engine, LocalEngine):
        return _taken(session.receipt, engine)
    if not (size := context_of(engine)):
        return "the model is not loaded yet"
    messages = session.messages()
    counted = engine.count(messages, COUNT_PATIENCE) if messages else None
    if messages and counted is None:
        return f"{engine.model} is at work and did not count yet"
    filled = counted.tokens if counted else 0
    return f"{filled:,} of {size:,} tokens ({share(filled, size)})"


def _taken(last: Receipt | None, engine: Engine) -> str:
    if last is None or last.route.engine != engine.name:
        return f"not counted yet by {engine.model}"
    return f"{last.finish.usage.prompt_tokens + last.finish.usage.completion_tokens:,} tokens with the last answer"


def conversations(store: Store, limit: int = 20) -> Rows:
    """Past conversations, the last first."""
    rows = [(c.id, f"{_when(c.updated)} · {turns(c.turns)} · {c.title}") for c in store.conversations(limit)]
    return rows or [("", "No conversation is saved yet.")]


def turns(count: int) -> str:
    """So many turns.

    >>> turns(1)
    '1 turn'
    """
    return f"{count:,} turn" + ("" if count == 1 else "s")


def hits(store: Store, words: str) -> Rows:
    """Where the words occur."""
    rows = [(hit.conversation, f"{_when(hit.when)} · {' '.join(hit.snippet.split())}") for hit in search(store, words)]
    return rows or [("", f"Nothing was found for {words}.")]


def export(session: Session, store: Store, form: str) -> str:
    """The conversation as "json" or "md"."""
    write = to_json if form == "json" else to_markdown
    return write(session.conversation, store.turns(session.conversation.id))


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
