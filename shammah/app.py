"""Builds the parts and joins them: the chat, and the answer to one question. The only module that knows them all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from shammah.attachments import read_file, secret_of, with_files
from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.spending import Spending
from shammah.config import Local
from shammah.engines import Engines
from shammah.environment import Environment, loader_environment, worker_environment
from shammah.errors import HistoryError, ModelError
from shammah.exit_status import DONE
from shammah.history.opening import memory_store, open_store
from shammah.history.store import Conversation, Store
from shammah.message import Message
from shammah.models import automatic
from shammah.models.bootstrap import Failed, Plan
from shammah.models.engines import LocalModels
from shammah.models.wanted import settings_for, wanted
from shammah.paths import Home
from shammah.router import Facts
from shammah.session import MARKED, Question, Session
from shammah.settings import Save, Settings

if TYPE_CHECKING:
    from shammah.commandline import Arguments
    from shammah.config import Value


@dataclass(frozen=True)
class Parts:
    """What both the chat and one question need."""

    settings: Settings
    store: Store
    spending: Spending
    engines: Engines
    session: Session

    @property
    def models(self) -> LocalModels:
        """The engines of this machine."""
        return self.engines.models


def chat(given: Arguments, environment: Environment) -> int:
    """The chat on a terminal, until the person leaves."""
    from shammah.screen.asking import Asking
    from shammah.screen.chosen import Chosen
    from shammah.screen.completion import ChatCompleter
    from shammah.screen.lines import LineKeyboard, LinePrompt
    from shammah.screen.output import Output
    from shammah.screen.paste import create_keyboard
    from shammah.screen.printer import use_color
    from shammah.screen.prompt import Prompt
    from shammah.screen.repl import Chat
    from shammah.screen.terminal import Terminal, knows_lines_only
    from shammah.screen.typeahead import Keyboard
    from shammah.screen.welcome import welcome

    lines_only = knows_lines_only(environment.term)
    color = not lines_only and use_color(sys.stdout, environment.no_color, environment.term)
    out = Output(sys.stdout, color, lines_only)
    terminal, keys, redraw = Terminal(lines_only), create_keyboard(), _Later()
    keyboard = LineKeyboard(terminal) if lines_only else Keyboard(keys, terminal)

    def ask_setup(save: Save) -> bool:
        from shammah.screen.setup import SetUp, field  # Late: few starts ask anything.

        return SetUp(environment, out, keyboard, field(keys, terminal, lines_only)).run(save) is not None

    with _parts(given, environment, redraw) as parts:
        chosen = Chosen(parts.settings, parts.session, parts.engines, out)
        talk = Chat(
            chosen=chosen,
            asking=Asking(chosen, parts.session, parts.engines, out, keyboard),
            session=parts.session,
            engines=parts.engines,
            store=parts.store,
            spending=parts.spending,
            out=out,
            keyboard=keyboard,
            ask_setup=ask_setup,
        )
        history = None if given.no_log else Home(environment.home).input_history
        prompt: Prompt | LinePrompt
        if lines_only:
            prompt = LinePrompt(out, terminal, history, environment.editor, chosen.start)
        else:
            prompt = Prompt(
                keyboard=keys,
                completer=ChatCompleter(lambda: [summary.id for summary in parts.store.conversations()]),
                history=history,
                bottom_line=talk.bottom_line,
                next_mode=chosen.next_mode,
                color=color,
                editor=environment.editor,
                after_first_paint=chosen.start,
                while_resting=talk.read_ahead,
            )
        redraw.call = prompt.redraw
        with terminal.guarded(parts.engines.close, prompt.repaint):
            earlier = _earlier(parts, given)
            # Who names a model knows what to run; the next start without one asks.
            may_ask = not (given.quiet or given.model)
            welcome(talk, given.files, earlier, quiet=given.quiet, private=given.private, may_ask=may_ask)
            talk.run(prompt)
    return DONE


def answer_once(given: Arguments, environment: Environment, question: str) -> int:
    """Answer one question on standard output; returns the exit status."""
    from shammah.oneshot import OneShot
    from shammah.screen.printer import use_color
    from shammah.screen.reports import options

    files = [read_file(name) for name in given.files]
    with _parts(given, environment, lambda: None) as parts:
        config = parts.settings.current()
        reserve_gb, forbidden = config.routing.reserve_ram_gb, "Run shammah models pull NAME to fetch it"
        parts.models.want(config.local, reserve_gb=reserve_gb, forbidden=forbidden)
        if earlier := _earlier(parts, given):
            parts.session.resume(earlier)
        parts.engines.cloud.want(config.cloud, config.routing.mode)
        asked = Question(with_files(question, files), MARKED if given.private else secret_of(question, files))
        start = cache(parts.models.start_best)
        if config.routing.mode != "cloud" or asked.private or parts.session.private:
            start()
        if given.model and isinstance(trouble := parts.models.state, Failed):
            raise ModelError(trouble.cause, hint=trouble.hint)

        def facts(messages: Sequence[Message]) -> Facts:
            if parts.engines.cloud.state == "unreachable":
                start()  # In mode cloud, and only now: the next in turn.
            known = parts.engines.facts(config, config.routing.mode, messages, patient=True)
            return replace(known, starter=not given.model or wanted(config.local) is None)

        color = use_color(sys.stdout, environment.no_color, environment.term)
        show = OneShot(config, as_json=given.json, quiet=given.quiet, verbose=given.verbose, color=color)
        return show.run(parts.session, asked, facts, options(config), parts.engines.news)


def overrides(given: Arguments) -> dict[str, Value]:
    """The settings that the command line changes for this run."""
    said: dict[str, Value | None] = {
        "generation.max_tokens": given.max_tokens,
        "generation.temperature": 0.0 if given.greedy else given.temperature,
        "generation.top_k": given.top_k,
        "generation.seed": given.seed,
        "chat.system": given.system,
        "routing.mode": "local" if given.local else "cloud" if given.cloud else None,
    }
    model: dict[str, str] = settings_for(given.model) if given.model else {}
    return {key: value for key, value in {**said, **model}.items() if value is not None}


@contextlib.contextmanager
def _parts(given: Arguments, environment: Environment, on_change: Callable[[], None]) -> Iterator[Parts]:
    home = Home(environment.home)
    settings = Settings(home.config, overrides(given))
    config = settings.current()
    models = LocalModels(_plan(home, environment), on_change)
    # Without the larger model yet: a folder that is gone must not keep the chat from starting.
    models.want(Local(config.local.enabled, "starter", threads=config.local.threads, context=config.local.context))
    plan = CloudPlan.of(environment)
    engines = Engines(models, Cloud(plan))
    with memory_store() if given.no_log else _history(home) as store:
        try:
            yield Parts(settings, store, plan.spending, engines, Session(engines, store, config.chat.system))
        finally:
            engines.close()


def _history(home: Home) -> Store:
    try:
        return open_store(home.history)
    except HistoryError as error:
        raise HistoryError(str(error), hint=f"{error.hint}; -n goes without a history") from error


def _plan(home: Home, environment: Environment) -> Plan:
    """How a larger model is brought to ready on this machine."""
    return Plan(
        models=home.models,
        endpoint=environment.hf_endpoint,
        forbidden="HF_HUB_OFFLINE is set; unset it to let models be fetched" if environment.hf_offline else "",
        worker_environment=worker_environment(),
        loader_environment=loader_environment(),
        logs=home.logs,
        choose=lambda wanted, context, reserve_gb, may_fetch: automatic.take(
            wanted, home.models, context, reserve_gb, may_fetch=may_fetch
        ),
        check_before_fetch=automatic.check_before_fetch,
        check_memory=automatic.check_memory,
    )


def _earlier(parts: Parts, given: Arguments) -> Conversation | None:
    """The conversation that the command line goes on with."""
    if given.resume is not None:
        return parts.store.find(given.resume)
    return parts.store.last() if given.go_on else None


class _Later:
    """A call whose target is known only when everything is built."""

    def __init__(self) -> None:
        self.call: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.call()
