"""What the person chose, in config.toml or here: the settings, the mode and the model; who answers follows it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from shammah.config import Config, Local
from shammah.engines import Engines
from shammah.errors import ConfigError, ModelError, ShammahError, UsageError
from shammah.message import Message
from shammah.models.wanted import licence_remark, settings_for
from shammah.router import Facts, Mode, may_leave
from shammah.screen import reports
from shammah.screen.output import Output
from shammah.session import Session
from shammah.settings import Settings

LOCAL_MODE = "Local mode fetches nothing: /auto allows it, or run shammah models pull NAME"
FETCHING_OFF = "Fetching is off: /set local.fetch true allows it, or run shammah models pull NAME"
UNASKED = "Nobody has agreed to fetch a model yet: /setup asks, or run shammah models pull NAME"
ANSWERS = ("local.enabled", "local.size", "local.repo", "local.fetch", "cloud.allowed")
"""Settings of which one is in config.toml when the set-up was answered, or a person wrote what they want."""
MODES: dict[Mode, str] = {
    "auto": "auto: the router chooses who answers",
    "local": "local: only models on this machine answer",
    "cloud": "cloud: Claude answers, questions leave this machine",
    "ask": "ask: you are asked before a question leaves",
}


class Chosen:
    """The settings and the mode that hold now; a change is told, and the engines are had to follow."""

    def __init__(self, settings: Settings, session: Session, engines: Engines, out: Output) -> None:
        self.settings = settings
        self.config: Config = settings.current()
        self._session = session
        self._engines = engines
        self._out = out
        self._typed: Mode | None = None
        """The mode that was typed here; None: the one of config.toml."""
        self._wanted: tuple[Local, float, str] | None = None
        """What the models were last asked for; `_accepted`: the last of it that names a model."""
        self._accepted: Local | None = None

    # What holds now

    @property
    def mode(self) -> Mode:
        """How questions are routed: as set in this chat, else as config.toml says."""
        return self._typed or self.config.routing.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._typed = mode
        with contextlib.suppress(ShammahError):  # Told at the next question; here the prompt is on the screen.
            self._want_models()
        self.start()

    @property
    def may_leave(self) -> bool:
        """Whether the person lets questions go to Claude without naming it each time; in mode ask they are asked."""
        return may_leave(self.facts())

    @property
    def no_fetching(self) -> str:
        """Why no model may be fetched, and what allows it; "" where one may."""
        if self.mode == "local":
            return LOCAL_MODE
        if not self.config.local.fetch:
            return FETCHING_OFF
        return "" if any(map(self.settings.says, ANSWERS)) else UNASKED

    def facts(self, messages: Sequence[Message] = ()) -> Facts:
        """What the router needs to know now; of a conversation with these messages, also how long it is."""
        return replace(self._engines.facts(self.config, self.mode, messages), private=self._session.private)

    def start(self) -> None:
        """Start in the background what is going to answer; called when the prompt is on the screen."""
        self._engines.models.start()
        self._engines.cloud.want(self.config.cloud, self.mode)
        if self.may_leave:
            self._engines.cloud.import_ahead()

    # Changed here

    def next_mode(self) -> str:
        """Go round the modes; returns what to tell."""
        following: dict[Mode, Mode] = {"auto": "local", "local": "cloud", "cloud": "auto", "ask": "auto"}
        if following[self.mode] != "cloud":
            self.mode = following[self.mode]
            return MODES[self.mode]
        try:
            self.use_cloud()
        except UsageError as error:
            self.mode = "auto"
            return f"{MODES['auto']} ({error})"
        return MODES["cloud"]

    def use_cloud(self) -> None:
        """Have Claude answer from now on.

        Raises:
            UsageError: nobody has a key here.
        """
        cloud = self._engines.cloud
        cloud.want(self.config.cloud, "cloud")
        if cloud.state == "no key":
            refusal = UsageError(cloud.trouble, hint=cloud.way_out)
            cloud.want(self.config.cloud, self.mode)
            raise refusal
        cloud.look_again()
        self.mode = "cloud"

    def set(self, key: str, value: str) -> None:
        """Change a setting in config.toml and here."""
        self.settings.set(key, value)
        if key == "routing.mode":
            self._typed = None
        self.take_up()
        self.start()
        self._out.note(f"{key} is now {reports.shown_value(self.config, key)}, in {self.settings.path}")

    def choose_model(self, name: str) -> None:
        """Answer with another model as soon as it is ready, and remember it in config.toml."""
        self.settings.change(settings_for(name))
        self.take_up()
        self._engines.models.retry()
        self._engines.models.start()
        self._out.note(f"{name} is the model from now on, in {self.settings.path}")
        if remark := licence_remark(name):
            self._out.note(remark)
        if self.no_fetching and self._engines.models.absent:
            self._out.note(f"It is not on this machine. {self.no_fetching}.")

    # Changed in config.toml

    def take_up(self) -> None:
        """Take up what changed in config.toml; what is wrong there is told, and what was before it stays."""
        before = self.config
        try:
            self.config = self.settings.current()
            if self.config.routing.mode != before.routing.mode:
                self._take_mode_of_file()
            if self.config.chat.system != before.chat.system == self._session.conversation.system:
                self._session.set_system(self.config.chat.system)
            self._want_models()
        except ShammahError as error:
            self._out.error(error)

    def _take_mode_of_file(self) -> None:
        """Of a change here and one in the file the later counts; but only the person here lifts their own /local."""
        given = self.config.routing.mode
        if self._typed == "local" and given in ("auto", "cloud"):
            self._out.note(f"config.toml says {given} now; this chat stays local, as you typed; /{given} changes that.")
            return
        before, self._typed = self.mode, None
        if before != given:
            self._out.note(f"config.toml says {MODES[given]}.")

    def _want_models(self) -> None:
        """Have the models that the settings ask for; the wrong name of one leaves those before at work."""
        models, local = self._engines.models, self.config.local
        reserve_gb, forbidden = self.config.routing.reserve_ram_gb, self.no_fetching
        if (local, reserve_gb, forbidden) != self._wanted:
            self._wanted = local, reserve_gb, forbidden
            try:
                models.want(local, reserve_gb=reserve_gb, forbidden=forbidden)
                self._accepted = local
            except ModelError as error:
                if self._accepted:  # What may be fetched, and fits, counts for them, too.
                    models.want(self._accepted, reserve_gb=reserve_gb, forbidden=forbidden)
                place = self.settings.place("local.repo")
                raise ConfigError(f"local.repo{place}: {error}", hint=error.hint) from error
        models.settle(asked=True)
