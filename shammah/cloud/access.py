"""Claude as the chat sees it: whether it may be asked, what is in the way, and the engine where nothing is."""

from __future__ import annotations

import ipaddress
import math
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shammah.cloud.engine import ClaudeEngine
from shammah.cloud.exchange import Patience
from shammah.cloud.key import Found, find
from shammah.cloud.link import Link
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.environment import Environment
from shammah.errors import CloudError, CloudTrouble, ConfigError
from shammah.message import Notice
from shammah.paths import Home

if TYPE_CHECKING:
    from shammah.router import CloudState, Mode

STATES: dict[CloudTrouble, CloudState] = {
    "key": "wrong key",
    "credit": "no credit",
    "budget": "no budget",
    "offline": "unreachable",
    "overloaded": "unreachable",
    "limit": "unreachable",
}
"""What a trouble means for the next question; any other concerns only the question that met it."""
LASTS_S: dict[CloudTrouble, float] = {"key": math.inf, "credit": 300.0, "budget": 60.0}
"""Seconds that a trouble is remembered; those that are not here, `Patience.unreachable_s`."""
SEARCH_S = 2.0
"""Seconds to wait for the key: only a keyring that is locked takes longer, and then it is there at a later question."""

NO_KEY = Notice("There is no key for Claude", "Give one in /setup, or set ANTHROPIC_API_KEY; /local answers here")


@dataclass(frozen=True)
class CloudPlan:
    """How Claude is reached: the folder with credentials.toml, the variables' key and address, the budget's book."""

    folder: Path
    environment_key: str = field(repr=False)
    base_url: str
    spending: Spending
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, environment: Environment) -> CloudPlan:
        """As the variables and the home folder have it."""
        home = Home(environment.home)
        return cls(home.folder, environment.anthropic_key, environment.anthropic_base_url, Spending(home.spending))


class Cloud:
    """Holds the connection to Claude while the mode allows one, and remembers what was in the way."""

    def __init__(self, plan: CloudPlan) -> None:
        self.engine: ClaudeEngine | None = None
        """Claude, None in mode local and without a key."""
        self._plan = plan
        self._search = _Search(plan)
        self._key: Found | Notice = Notice("The key for Claude has not been looked for yet", "Ask again")
        """The key, or why there is none."""
        self._link: Link | None = None
        self._wanted: Settings | None = None
        self._met: _Met | None = None
        self._told: set[str] = set()

    @property
    def state(self) -> CloudState:
        """Whether Claude can be asked."""
        if isinstance(self._key, Notice):
            return "no key"
        return STATES[self._met.error.trouble] if self._met and self._met.counts() else "ready"

    @property
    def trouble(self) -> str:
        """What is in the way, "" where nothing is."""
        return self._obstacle.text

    @property
    def way_out(self) -> str:
        """What to do about it."""
        return self._obstacle.hint

    @property
    def _obstacle(self) -> Notice:
        if isinstance(self._key, Notice):
            return self._key
        met = self._met
        return Notice(str(met.error), met.error.hint) if met and met.counts() else Notice("")

    @property
    def warning(self) -> str:
        """What is to be said of the address that everything goes to, "" where nothing is."""
        return unencrypted(self._plan.base_url)

    def look_again(self) -> None:
        """Forget what was in the way: the next question finds out whether it still is."""
        self._met = None

    def want(self, wanted: Settings, mode: Mode) -> None:
        """Take up the settings and the mode: in mode local nothing is left that could send."""
        if mode == "local":
            self._let_go()
            return
        self._take(self._search.result())
        before, self._wanted = self._wanted, wanted
        if before and before.daily_budget_usd != wanted.daily_budget_usd:
            self._forget_budget()
        if isinstance(self._key, Notice):
            return
        if self._link is None:
            self._link = Link(self._key, self._plan.base_url, self._plan.patience)
        if self.engine is None or wanted != before:
            self.engine = ClaudeEngine(self._link, wanted, self._plan.spending, self._plan.patience, self._note)

    def import_ahead(self) -> None:
        """Import the SDK in the background, where Claude may be asked at all."""
        if self._link is not None:
            self._link.import_ahead()

    def news(self, *, asked: bool = False) -> list[Notice]:
        """What the person should know of the key's file and of the model, each said once.

        Where Claude is `asked`, also what there is to say of its address.
        """
        notices = [self._key.notice] if isinstance(self._key, Found) and self._key.notice else []
        if self._link and self._wanted and (text := self._link.advice(self._wanted.model)):
            notices.append(Notice(text))
        if asked and self.warning:
            notices.append(Notice(self.warning))
        fresh = [notice for notice in notices if notice.text not in self._told]
        self._told.update(notice.text for notice in fresh)
        return fresh

    def close(self) -> None:
        """Stop what runs and close the connections."""
        self._let_go()

    def _let_go(self) -> None:
        link, self._link, self.engine = self._link, None, None
        if link is not None:
            link.close()

    def _take(self, result: Found | Notice) -> None:
        """Use the key that was found; one that was stored since then begins with a clean sheet, also the same one."""
        if result is self._key:
            return
        if not _is_same(result, self._key):
            self._let_go()
        self._key, self._met = result, None

    def _note(self, error: CloudError) -> None:
        """An engine tells what went wrong."""
        if error.trouble in STATES:
            lasts = LASTS_S.get(error.trouble, self._plan.patience.unreachable_s)
            self._met = _Met(error, time.monotonic() + lasts)

    def _forget_budget(self) -> None:
        if self._met and self._met.error.trouble == "budget":
            self._met = None


@dataclass(frozen=True)
class _Met:
    """A trouble that was met, and until when it counts (monotonic seconds)."""

    error: CloudError
    until: float

    def counts(self) -> bool:
        return time.monotonic() < self.until


class _Search:
    """Looks for the key, again only when credentials.toml has changed."""

    def __init__(self, plan: CloudPlan) -> None:
        self._plan = plan
        self._file = Home(plan.folder).credentials
        self._seen: object = self  # Equal to no signature, so that the first look searches.
        self._answers: queue.SimpleQueue[Found | Notice] | None = None
        self._result: Found | Notice = Notice("The keyring has not answered yet", "Unlock it, and ask again")

    def result(self) -> Found | Notice:
        """The key, or why there is none."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            self._answers = queue.SimpleQueue()
            threading.Thread(target=self._look, args=(self._answers,), name="key", daemon=True).start()
            self._receive(SEARCH_S)
        else:
            self._receive(0.0)
        return self._result

    def _receive(self, seconds: float) -> None:
        if self._answers is None:
            return
        try:
            self._result = self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()
            self._answers = None
        except queue.Empty:
            return

    def _look(self, answers: queue.SimpleQueue[Found | Notice]) -> None:
        try:
            answers.put(find(self._plan.environment_key, self._plan.folder) or NO_KEY)
        except ConfigError as error:
            answers.put(Notice(str(error), error.hint))

    def _signature(self) -> object:
        try:
            found = self._file.stat()
        except OSError as cause:
            return cause.errno
        # Not ctime: `find` takes away others' rights to the file, and what it tells of that must not be lost.
        return found.st_mtime_ns, found.st_size, found.st_ino


def _is_same(one: Found | Notice, other: Found | Notice) -> bool:
    """Whether both are the same key from the same place: its faults are told with the place."""
    if isinstance(one, Notice) or isinstance(other, Notice):
        return False
    return (one.key, one.where) == (other.key, other.where)


def check_key(found: Found, plan: CloudPlan) -> None:
    """Ask one free thing of Claude with a key: the models that it may use.

    Raises:
        CloudError: it is wrong, or Claude cannot be reached.
    """
    link = Link(found, plan.base_url, plan.patience)
    try:
        link.models()
    finally:
        link.close()


def unencrypted(base_url: str) -> str:
    """The warning that others on the way can read all that goes to an address; "" for one where they cannot."""
    try:
        address = urlsplit(base_url)
        host = address.hostname or ""
    except ValueError:  # No address; whoever asks there tells it.
        return ""
    if address.scheme != "http" or _is_here(host):
        return ""
    return f"The key and the conversation go unencrypted to {host}: ANTHROPIC_BASE_URL begins with http"


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
