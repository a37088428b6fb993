"""What the commands show, as rows of a name and a text; computed from the parts, written nowhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from shammah import __version__, machine
from shammah.config import Config, settings, toml_text, value_of
from shammah.history.export import to_json, to_markdown
from shammah.history.search import search
from shammah.history.store import Store
from shammah.local.client import Broken, Loading, LocalEngine, Off, Ready
from shammah.message import Options
from shammah.models import automatic, bootstrap, store
from shammah.models.engines import LocalModels
from shammah.paths import STARTER, Home
from shammah.router import Facts, choose
from shammah.screen.toolbar import share
from shammah.session import Session

Rows = list[tuple[str, str]]


def state_word(engine: LocalEngine) -> str:
    """The engine's state in a word, with the cause where it failed."""
    match engine.state:
        case Ready():
            return "ready"
        case Loading():
            return "loading"
        case Broken(error=error):
            return f"failed: {error}"
        case Off():
            return "not started"


def way(state: bootstrap.State | None) -> str:
    """How far the larger model is on its way, for the bottom line; "" where it is ready or none is wanted."""
    if state is None or not state.model:  # None was chosen yet, or none is here and none may be fetched.
        return ""
    match state:
        case bootstrap.Waiting(model=model):
            return f"{short(model)}: looking for it"
        case bootstrap.Downloading():
            return f"{short(state.model)}: {_transfer(state)}"
        case bootstrap.Preparing(model=model, step=step, share=share):
            return f"{short(model)}: {step}, {share:.0%}".replace("%", " %")
        case bootstrap.Loading(model=model):
            return f"{short(model)}: loading"
        case bootstrap.Failed(model=model, cause=cause):
            return f"{short(model)} failed: {cause}"
        case _:
            return ""


def short(model: str) -> str:
    """A model's name without what all of the family share."""
    return model.removeprefix("Qwen2.5-").removesuffix("-Instruct")


def _transfer(state: bootstrap.Downloading) -> str:
    parts = [f"{state.done / 1e6:,.0f} of {state.of / 1e6:,.0f} MB"]
    if state.watching:
        return f"{parts[0]}, fetched by another chat"
    if state.rate > 0:
        parts += [f"{state.rate / 1e6:.1f} MB/s", duration((state.of - state.done) / state.rate)]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words, as "1 min 22 s".

    >>> duration(82.4)
    '1 min 22 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def device(engine: LocalEngine) -> str:
    """Where the model runs, as its session tells; empty while it is not loaded."""
    return engine.state.device if isinstance(engine.state, Ready) else ""


def context_of(engine: LocalEngine) -> int:
    """Tokens of conversation that the engine keeps; 0 while that is not known."""
    return engine.state.context if isinstance(engine.state, Ready) else 0


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


def models(found: LocalModels, facts: Facts) -> Rows:
    """The models that can answer here."""
    answering = choose(facts).engine
    rows = [
        (("* " if name == answering else "  ") + engine.model, f"{_where(engine)} · {state_word(engine)}")
        for name, engine in found.items()
    ]
    if line := way(found.state):
        rows.append(("", line))
    return [*rows, ("", "/model NAME takes a size, OWNER/NAME or a folder; shammah models list shows what fits here")]


def _where(engine: LocalEngine) -> str:
    return "inside the package, knows shammah itself only" if engine.name == "starter" else str(engine.spec.folder)


def catalogue(models: Path, config: Config) -> Rows:
    """What `shammah models list` shows: every size with its needs, and whether it fits and is here."""
    rows = [("starter", "inside the package, nothing to download, knows shammah itself only")]
    here = {found.repo: found for found in store.stored(models) if found.prepared}
    for entry in automatic.entries(models, config):
        mark = f" · on this disk, {here.pop(entry.repo).bytes / 1e6:,.0f} MB" if entry.repo in here else ""
        rows.append((entry.name, entry.text + mark))
    rows += [(repo, f"on this disk, {found.bytes / 1e6:,.0f} MB") for repo, found in here.items()]
    return rows


def status(found: LocalModels, facts: Facts, config: Path, history: Path) -> Rows:
    """Model, state, memory and files."""
    engine = found.answering(facts)
    rows = [
        ("answers", f"{engine.model}: {choose(facts).why}"),
        ("state", _state_in_full(engine)),
        ("memory", str(machine.memory())),
    ]
    if line := way(found.state):
        rows.append(("on its way", line))
    if isinstance(found.state, bootstrap.Failed):
        rows.append(("", f"{found.state.hint}."))
    rows += [("note", note) for note in found.notes]
    pid = engine.pid
    held = None if pid is None else machine.memory_of(pid)
    if held is not None:
        rows.append(("worker", f"process {pid}, {held / 1e6:.0f} MB"))
    return [*rows, ("mode", facts.mode), ("settings", str(config)), ("history", str(history))]


def _state_in_full(engine: LocalEngine) -> str:
    match engine.state:
        case Ready(context=context, device=device, seconds=seconds, why=why):
            because = f". {why}" if engine.name == "local" and why else ""
            return f"ready on {device}, {context:,} tokens of context, loaded in {seconds:.1f} s{because}"
        case _:
            return state_word(engine)


def context(session: Session, size: int) -> Rows:
    """How full the context is, and what is left out of it."""
    usage = session.receipt.finish.usage if session.receipt else None
    filled = usage.prompt_tokens + usage.completion_tokens if usage else 0
    full = f"{filled:,} of {size:,} tokens ({share(filled, size)})" if size else "the model is not loaded yet"
    answered = sum(1 for exchange in session.exchanges if exchange.answer)
    kept = answered - min(session.left_out, answered)
    return [
        ("context", full),
        ("turns", f"{kept} of {answered} in context" + ("" if kept == answered else "; the oldest are left out")),
        ("system prompt", "kept" if session.conversation.system else "none"),
    ]


def conversations(store: Store, limit: int = 20) -> Rows:
    """Past conversations, the last first."""
    rows = [(c.id, f"{_when(c.updated)} · {c.turns} turns · {c.title}") for c in store.conversations(limit)]
    return rows or [("", "No conversation is saved yet.")]


def hits(store: Store, words: str) -> Rows:
    """Where the words occur."""
    rows = [(hit.conversation, f"{_when(hit.when)} · {' '.join(hit.snippet.split())}") for hit in search(store, words)]
    return rows or [("", f"Nothing was found for {words}.")]


def export(session: Session, store: Store, form: str) -> str:
    """The conversation as "json" or "md"."""
    turns = store.turns(session.conversation.id)
    write = to_json if form == "json" else to_markdown
    return write(session.conversation, turns)


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


PACKAGES = (
    "onnxruntime",
    "onnxruntime-genai",
    "onnx",
    "huggingface-hub",
    "numpy",
    "tokenizers",
    "jinja2",
    "prompt-toolkit",
)


def doctor(folder: Path, endpoint: str, model: Path) -> Rows:
    """What works, what does not, and the next step for each.

    `endpoint` is the hub to ask whether it answers, "" where it may not be asked; `model` the folder in use.
    """
    import platform  # Late: this report alone needs it.

    from shammah.environment import worker_environment
    from shammah.local.providers import provider_rows

    return [
        ("shammah", __version__),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *((name, _version(name)) for name in PACKAGES),
        ("memory", str(machine.memory())),
        ("processors", _processors()),
        ("starter", "ready to load" if (STARTER / "model.onnx").is_file() else "missing: install shammah again"),
        *provider_rows(model, worker_environment()),
        *(("model", f"{found.repo}, {found.bytes / 1e6:,.0f} MB") for found in store.stored(Home(folder).models)),
        ("hub", _hub(endpoint)),
        ("claude", "not asked: this version sends nothing"),
        ("folder", _folder(Home(folder))),
    ]


def _hub(endpoint: str) -> str:
    import urllib.error  # Late: this report alone needs them.
    import urllib.request

    if not endpoint:
        return "not asked: local mode, or HF_HUB_OFFLINE is set"
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=5):
            return f"{endpoint} answers"
    except urllib.error.HTTPError:
        return f"{endpoint} answers"
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "reason", cause)
        return f"{endpoint} does not answer: {reason}; check the network, a proxy, or HF_ENDPOINT"


def _version(name: str) -> str:
    from importlib import metadata  # Late: it brings email and zipfile, a tenth of the start.

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"missing: pip install {name}"


def _processors() -> str:
    physical, logical = machine.processors()
    return f"{physical or '?'} physical, {logical or '?'} logical"


def _folder(home: Home) -> str:
    if not home.folder.exists():
        return f"{home.folder} is made with the first question"
    if not os.access(home.folder, os.W_OK):
        return f"{home.folder} cannot be written to: change its rights, or set SHAMMAH_HOME to another folder"
    return f"{home.folder} is there and can be written to"


def columns(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Rows as lines of two columns; on a narrow screen the text goes below its name."""
    import textwrap

    wide = max((len(name) for name, _ in rows), default=0)
    if wide + 24 > width:
        return [
            line
            for name, text in rows
            for line in (
                name,
                *textwrap.wrap(text, max(width - 4, 16), initial_indent="    ", subsequent_indent="    "),
            )
        ]
    lines: list[str] = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(width - wide - 2, 16)) or [""]
        lines.append(f"{name:<{wide}}  {wrapped[0]}".rstrip())
        lines += [" " * (wide + 2) + line for line in wrapped[1:]]
    return lines
