"""A Claude on loopback and the chat's side of it, for the tests of either."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from shammah.cloud.access import Cloud, CloudPlan
from shammah.cloud.engine import ClaudeEngine
from shammah.cloud.exchange import Patience
from shammah.cloud.spending import Spending
from shammah.config import Cloud as Settings
from shammah.errors import CloudError
from shammah.message import Event, Message, Options
from tests.fakes import user
from tests.servers.claude import KEY, PIECES, Claude, Play

QUICK = Patience(2.0, silence_s=0.4, unreachable_s=0.2, pauses_s=(0.06, 0.06), offline_pauses_s=(0.06, 0.06))
AT_ONCE = replace(QUICK, retrying_s=0.0)
"""No further try."""
WHOLE = "".join(PIECES)


@dataclass
class Room:
    """A Claude, and the chat's side of it."""

    claude: Claude
    plan: CloudPlan
    cloud: Cloud

    @property
    def engine(self) -> ClaudeEngine:
        assert self.cloud.engine is not None
        return self.cloud.engine

    @property
    def spending(self) -> Spending:
        return self.plan.spending

    def ask(self, *messages: Message, options: Options | None = None) -> list[Event]:
        return list(self.engine.reply(messages or [user("Hello")], options or Options()))

    def fails(self, *messages: Message) -> CloudError:
        with pytest.raises(CloudError) as told:
            self.ask(*messages)
        assert told.value.hint
        assert "!" not in str(told.value) + told.value.hint
        return told.value


Made = Callable[..., Room]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Made]:
    """Makes a room; `url` in place of the server's own, `environment_key` "" for a key that lies elsewhere."""
    rooms: list[Room] = []

    def made(
        answer: Play | None = None,
        *,
        url: str = "",
        environment_key: str = KEY,
        patience: Patience = QUICK,
        **settings: object,
    ) -> Room:
        claude = Claude(answer).__enter__()
        spending = Spending(tmp_path / "spending.db")
        plan = CloudPlan(tmp_path, environment_key, url or claude.url, spending, patience)
        room = Room(claude, plan, Cloud(plan))
        room.cloud.want(Settings(**settings), "cloud")  # type: ignore[arg-type]
        rooms.append(room)
        return room

    yield made
    for room in rooms:
        room.cloud.close()
        room.claude.__exit__()
    gc.collect()
