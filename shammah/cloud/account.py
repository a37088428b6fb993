"""What one answer has sent and cost until now, over all its tries, and how the budget learns of it."""

from __future__ import annotations

from dataclasses import replace

from shammah.cloud import prices
from shammah.cloud.exchange import Counted, Fault, Request, Sent, Text, Thought, Told
from shammah.cloud.prices import Billed
from shammah.cloud.spending import Spending
from shammah.message import Spent, Usage

BYTES_PER_TOKEN = 4
"""About so many, for estimates."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text takes."""
    return max(1, round(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN))


class Account:
    """Counts one answer; its most possible cost is set aside from the budget until it is closed."""

    def __init__(self, spending: Spending, request: Request, budget_usd: float) -> None:
        """Raises CloudError where today's budget is spent."""
        size = request.most_tokens
        most = prices.bound(request.model, size, request.max_tokens)
        self._ticket = spending.reserve(request.model, most, budget_usd)
        self._spending = spending
        self._model = request.model
        self._unread = Billed(input=size // BYTES_PER_TOKEN)
        """An estimate of the request, for as long as the other side has not counted it."""
        self._sent = 0
        self._before: list[tuple[Billed, bool]] = []
        """What each try before this one came to, and whether that was its final count."""
        self._now: Billed | None = None
        """What this try has come to; None until something has left."""
        self._final = False
        self._said = 0
        """About so many tokens of this try have come, shown or thought."""

    def take(self, told: Told) -> None:
        """Take note of what was told of the request."""
        match told:
            case Sent(count):
                self._sent += count
                self._now = self._now or self._unread
            case Counted(billed, final):
                self._now, self._final = billed, final
            case Text(text) | Thought(text):
                self._said += estimated_tokens(text)

    def broke(self, fault: Fault) -> None:
        """A try has come to nothing; what was refused costs nothing."""
        if self._now is not None and not fault.answered:
            self._before.append((self._billed(self._now), False))
        self._now, self._final, self._said = None, False, 0

    def spent(self) -> Spent:
        """What has left and what it costs until now."""
        parts = [*self._before, *([(self._billed(self._now), self._final)] if self._now is not None else [])]
        costs = [prices.cost(self._model, billed) for billed, _ in parts]
        known = [cost for cost in costs if cost is not None]
        cost = sum(known, 0.0) if len(known) == len(costs) else None
        return Spent(self._sent, cost, not all(final for _, final in parts), self._usage())

    def close(self) -> None:
        """Tell the budget what it came to."""
        spent = self.spent()
        if spent.sent_bytes:
            self._spending.settle(self._ticket, spent.cost_usd, spent.estimated)
        else:
            self._spending.withdraw(self._ticket)

    def _billed(self, now: Billed) -> Billed:
        return now if self._final else replace(now, output=max(now.output, self._said))

    def _usage(self) -> Usage | None:
        if self._now is None:
            return None
        billed = self._billed(self._now)
        return Usage(billed.prompt, billed.cache_read, billed.output)
