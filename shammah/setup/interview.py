"""Asks the questions, one after another, and gathers the answers; changes nothing.

which model -> fetch it now or later -> may Claude be asked -> its key
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shammah.config import Config
from shammah.environment import Environment
from shammah.models import automatic, store
from shammah.models.machine import Machine
from shammah.models.names import name_of
from shammah.models.store import is_repository
from shammah.paths import Home
from shammah.setup import questions
from shammah.setup.claude import ClaudeQuestions, Consent
from shammah.setup.offer import Offer, Offers, offers
from shammah.setup.person import Person, asked
from shammah.setup.questions import Choice, Question


@dataclass(frozen=True)
class Answers:
    """What a person answered; `choice` None: the model stays as it was, `fetch` None: there was nothing to fetch."""

    choice: Choice | None
    fetch: bool | None
    consent: Consent


@dataclass(frozen=True)
class Interview:
    """What the questions depend on: who is asked, where things lie, what is set now; `first` where nothing is yet.

    `machine` looks at this machine, given the folder of the models.
    """

    person: Person
    home: Home
    environment: Environment
    now: Config
    first: bool
    machine: Callable[[Path], Machine] = automatic.machine_anew

    def ask(self) -> Answers:
        """Ask everything.

        Raises:
            StoppedError: the person has ended it.
        """
        offered = self.person.wait("Looking at what this machine can run", self._look)
        choice = self._which(offered)
        fetch = self._whether_to_fetch(choice, offered)
        consent = ClaudeQuestions(self.person, self.home, self.environment, self.now.cloud).ask()
        return Answers(None if choice == self._present else choice, fetch, consent)

    def _look(self) -> Offers:
        local, reserve_gb = self.now.local, self.now.routing.reserve_ram_gb
        return offers(self.machine(self.home.models), local.context, reserve_gb, self._here())

    def _here(self) -> set[str]:
        """The repositories that are prepared on this disk."""
        return {found.repo for found in store.stored(self.home.models) if found.prepared}

    @property
    def _present(self) -> Choice | None:
        """The model that the settings name; None at first."""
        local = self.now.local
        if self.first:
            return None
        if local.repo:
            return Choice("starter") if local.repo == "starter" else Choice(repo=local.repo)
        return Choice("starter") if local.size == "starter" else Choice(local.size, local.variant)

    def _which(self, offered: Offers) -> Choice:
        # A size and not "auto": with more memory free, auto would fetch another model than the one agreed to.
        default = self._present or Choice(offered.automatic["instruct"])
        self.person.show(offered, default)
        now = f", {offered.automatic[default.variant]} now" if default.name.startswith("auto") else ""
        about = "Type a size, or 1.5b coder for code; starter for none, auto for the largest that fits at each start."
        understand = partial(questions.model, default=default)
        return asked(self.person, Question(about, "Model", default, default.name + now, understand))

    def _whether_to_fetch(self, choice: Choice, offered: Offers) -> bool | None:
        offer = None if choice.repo else offered.find(choice.size, choice.variant)
        repo = offer.model.repo if offer else choice.repo
        if not is_repository(repo) or repo in self._here():
            return None
        if self.environment.hf_offline:
            self.person.say("HF_HUB_OFFLINE is set, so nothing is fetched.")
            return None
        for obstacle in offer.found.obstacles if offer else ():
            self.person.say(f"{repo.partition('/')[2]} {obstacle.text}.")
        return asked(self.person, self._fetching(choice, repo, offer))

    def _fetching(self, choice: Choice, repo: str, offer: Offer | None) -> Question[bool]:
        size = f"{offer.model.download_text} come" if offer else "It comes"
        host = urlsplit(self.environment.hf_endpoint).netloc
        name = choice.repo or (name_of(offer.model) if offer else "")
        about = (
            f"Fetch {repo.partition('/')[2]} now? {size} from {host}, while the starter answers. "
            f"Later means when you run: shammah models pull {name}"
        )
        default = self.now.local.fetch and (offer is None or not offer.found.obstacles)
        return Question(about, "Now or later", default, "now" if default else "later", questions.when)
