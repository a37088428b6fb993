"""The engines asked for one question: who failed and why, what has left this machine, how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shammah.engine import Engine, Tally
from shammah.errors import EngineError
from shammah.message import Event, Finish, Notice, Reason, Spent, Timing
from shammah.router import Route


@dataclass
class Attempts:
    """What came of them: in `failed` the cause by the engine's name, in `before` the same in the receipt's words.

    `error` is what the person is told where nobody answers; `tally` counts for the engine that is asked now.
    """

    failed: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    error: EngineError | None = None
    tally: Tally = field(default_factory=Tally)
    _asked: tuple[str, str] = ("", "")
    _sent: Spent = field(default_factory=Spent)
    _lost_s: float = 0.0
    _untold: list[EngineError] = field(default_factory=list)

    def begin(self, route: Route, engine: Engine) -> list[Notice]:
        """An engine is asked; returns what to tell of those that failed since the last time."""
        self._asked = route.engine, "Claude" if route.engine == "claude" else engine.model
        self.tally = Tally()
        untold, self._untold = self._untold, []
        return [Notice(f"{error}; {self._asked[1]} answers instead", error.hint) for error in untold]

    def fail(self, error: EngineError) -> None:
        """It failed before its first piece."""
        name, known_as = self._asked
        end = self.tally.finish("failed")
        self._sent, self._lost_s = _sum(self._sent, end.spent), self._lost_s + end.timing.total_s
        self.tally = Tally()
        self.failed[name] = str(error)
        self.before.append(f"{known_as} failed: {error}")
        self._untold.append(error)
        # Who knows most tells the person most: the starter's own trouble comes last.
        self.error = self.error if self.error and name == "starter" else error

    def spent(self, event: Event) -> Spent | None:
        """All that has left this machine for the question, where the event tells of more."""
        return _sum(self._sent, event) if isinstance(event, Spent) else None

    def end(self, reason: Reason, error: EngineError | None = None) -> Finish:
        """An end that no engine told."""
        return self.whole(self.tally.finish(reason, str(error or ""), error.hint if error else ""))

    def whole(self, finish: Finish) -> Finish:
        """The end of an answer, counted from the question on, with what was sent for nothing."""
        timing, lost = finish.timing, self._lost_s
        timing = Timing(timing.first_token_s + lost, timing.total_s + lost, timing.tokens_per_s)
        return replace(finish, timing=timing, spent=_sum(self._sent, finish.spent))


def _sum(one: Spent, other: Spent) -> Spent:
    """Both together; a price that is not known leaves the sum unknown."""
    unknown = one.cost_usd is None or other.cost_usd is None
    cost = None if unknown else (one.cost_usd or 0.0) + (other.cost_usd or 0.0)
    return Spent(one.sent_bytes + other.sent_bytes, cost, one.estimated or other.estimated, other.usage)
