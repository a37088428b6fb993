"""Everything that can answer, by its name: the models of this machine, and Claude; what the router is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from shammah.cloud.access import Cloud
from shammah.config import Config
from shammah.engine import Engine
from shammah.message import Message, Notice, Options
from shammah.models.engines import LocalModels
from shammah.router import Facts, Mode, choose


class Engines(Mapping[str, Engine]):
    """The engines by name: "starter", "local" and "claude", each while it is there.

    In mode local there is no "claude": nothing above can ask what does not exist.
    """

    def __init__(self, models: LocalModels, cloud: Cloud) -> None:
        self.models = models
        self.cloud = cloud
        self._told: set[str] = set()

    def __getitem__(self, name: str) -> Engine:
        if name == "claude" and self.cloud.engine is not None:
            return self.cloud.engine
        return self.models[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.models
        if self.cloud.engine is not None:
            yield "claude"

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def facts(self, config: Config, mode: Mode, messages: Sequence[Message] = (), *, patient: bool = False) -> Facts:
        """What the router needs to know now; with `messages`, also how long they are."""
        here = self.models.facts(mode, config.local.enabled, patient, messages)
        limit = Options(config.generation.max_tokens).limit
        return with_cloud(replace(here, max_tokens=limit), self.cloud, config)

    def answering(self, facts: Facts) -> Engine:
        """The engine that would answer now.

        Raises:
            EngineError: nobody may.
        """
        return self[choose(facts).engine]

    def warm(self, facts: Facts, messages: Sequence[Message]) -> None:
        """Have the model of this machine that would answer read the conversation in the background."""
        if facts.enabled:
            self.models.warm(facts, messages)

    def news(self, options: Options, answers: str) -> list[Notice]:
        """What the person should know of the key, and of Claude where it `answers`; each said once."""
        claude = self.cloud.engine if answers == "claude" else None
        without = [name for name in claude.ignores(options) if name not in self._told] if claude is not None else []
        self._told.update(without)
        told = f"Claude takes no {', no '.join(without)}; that setting counts here only".replace("_", " ")
        return [*self.cloud.news(asked=claude is not None), *([Notice(told)] if without else [])]

    def close(self) -> None:
        """End every process and every connection."""
        self.models.close()
        self.cloud.close()


def with_cloud(known: Facts, cloud: Cloud, config: Config) -> Facts:
    """What is known, and what the router needs to know of Claude."""
    return replace(
        known,
        cloud=cloud.state,
        cloud_name=config.cloud.model,
        cloud_trouble=cloud.trouble,
        cloud_way_out=cloud.way_out,
        allowed=config.cloud.allowed,
    )
