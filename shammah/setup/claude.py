"""The questions about Claude: whether it may be asked, and with which key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from shammah.cloud.access import CloudPlan, check_key
from shammah.cloud.key import Found, Key, find
from shammah.cloud.prices import dollars
from shammah.config import Cloud
from shammah.environment import Environment
from shammah.errors import CloudError, ConfigError
from shammah.paths import Home
from shammah.setup.person import Person, asked
from shammah.setup.questions import yes_or_no

# Windows has no modes: a folder that was there before may be open to others.
_CLOSED = "which is as private as its folder" if os.name == "nt" else "which only you can read"


@dataclass(frozen=True)
class Consent:
    """Whether questions may go to Claude by themselves, true only where there is a key; and the key typed anew.

    A key without the consent is for `/cloud`, `/retry cloud` and `--cloud`.
    """

    allowed: bool
    key: Key | None = None


@dataclass(frozen=True)
class ClaudeQuestions:
    """Whom to ask, where a key may lie, and what is set now."""

    person: Person
    home: Home
    environment: Environment
    now: Cloud

    def ask(self) -> Consent:
        """Ask for the consent, and then for the key."""
        budget = self.now.daily_budget_usd
        most = f"until {dollars(budget)} a day are reached" if budget else "with no limit a day"
        about = (
            "May questions go to Claude, at Anthropic, while the model here loads, when it fails, or where none is? "
            f"Yes sends them the conversation and costs money, {most}; each answer says so. No keeps everything here, "
            "but for what you send with /cloud."
        )
        allowed = asked(self.person, yes_or_no(about, self.now.allowed))
        try:
            found = self.person.wait("Looking for a key that is here already", self._found)
        except ConfigError as error:
            self.person.say(f"{error}. {error.hint}. Claude stays off.")
            return Consent(False)
        return self._key(found, allowed)

    def _found(self) -> Found | None:
        return find(self.environment.anthropic_key, self.home.folder)

    def _key(self, found: Found | None, allowed: bool) -> Consent:
        if found and found.notice:
            self.person.say(found.notice.told)
        if found and found.where == "environment":
            self.person.say("The key in ANTHROPIC_API_KEY is used, and kept nowhere.")
            return self._with(found, allowed)
        self.person.say(_about_the_key(found, allowed))
        if key := self._new_key():
            return Consent(allowed, key)
        if found:
            return self._with(found, allowed)
        if allowed:
            self.person.say("Without a key Claude stays off.")
        return Consent(False)

    def _with(self, found: Found, allowed: bool) -> Consent:
        if allowed and self._wants_check(False) and (error := self._fault(found)):
            self.person.say(f"{error}. {error.hint}.")
        return Consent(allowed)

    def _new_key(self) -> Key | None:
        """A key that nothing is known to be wrong with; None for Enter alone."""
        check: bool | None = None
        while key := self._typed():
            check = self._wants_check(True) if check is None else check
            error = self._fault(Found(key, "credentials.toml")) if check else None
            if error is None:
                return key
            if error.trouble != "key":
                self.person.say(f"{error}. {error.hint}. The key is kept, unchecked.")
                return key
            self.person.say(f"{error}. Type it again, or Enter alone to go on without it.")
        return None

    def _typed(self) -> Key | None:
        while text := self.person.ask_hidden("Key: ").strip():
            try:
                return Key(text)
            except ConfigError as error:
                self.person.say(f"{error}.")
        return None

    def _wants_check(self, default: bool) -> bool:
        host = urlsplit(self.environment.anthropic_base_url).netloc
        return asked(self.person, yes_or_no(f"Check the key now, with one free call to {host}?", default))

    def _fault(self, found: Found) -> CloudError | None:
        """What is wrong with a key, or kept it from being checked; says so where it works."""
        try:
            self.person.wait("Checking the key", lambda: check_key(found, CloudPlan.of(self.environment)))
        except CloudError as error:
            return error
        self.person.say("The key works.")
        return None


def _about_the_key(found: Found | None, allowed: bool) -> str:
    enter = f"keeps the one in {found.where}" if found else "means none" + (": Claude stays off" if allowed else "")
    use = "The key for Claude" if allowed else "A key for Claude, if you want to ask it with /cloud"
    return (
        f"{use}, from platform.claude.com: it is not shown, and kept in credentials.toml, {_CLOSED}. "
        f"Enter alone {enter}."
    )
