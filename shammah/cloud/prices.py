"""What Claude costs: published prices with their date, and the cost of what was counted. Unknown stays unknown.

Source: platform.claude.com/docs/en/about-claude/pricing, standard tier, read as of AS_OF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 10, 24)

CACHE_WRITE = 1.25
"""Times the price of input, for the five minutes that a conversation is kept."""
CACHE_WRITE_HOUR = 2.0
"""The same for an hour."""
MILLION = 1_000_000


@dataclass(frozen=True)
class Billed:
    """Tokens of one request as the other side counts them; the kinds of input do not overlap."""

    input: int = 0
    cache_write: int = 0
    cache_write_hour: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All that was read."""
        return self.input + self.cache_write + self.cache_write_hour + self.cache_read


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens."""

    input: float
    output: float
    cache_read: float

    def of(self, billed: Billed) -> float:
        """Dollars for one request."""
        fresh = billed.input + billed.cache_write * CACHE_WRITE + billed.cache_write_hour * CACHE_WRITE_HOUR
        return (fresh * self.input + billed.cache_read * self.cache_read + billed.output * self.output) / MILLION


@dataclass(frozen=True)
class LongPrice:
    """What every token of a request costs whose prompt is longer than `above` tokens."""

    above: int
    price: Price


PRICES = {
    "claude-fable-5-1": Price(10, 50, 0.25),
    "claude-mythos-5-1": Price(10, 50, 0.25),
    "claude-fable-5": Price(10, 50, 1.0),
    "claude-mythos-5": Price(10, 50, 1.0),
    "claude-opus-5-5": Price(4, 20, 0.2),
    "claude-opus-5": Price(5, 25, 0.5),
    "claude-opus-4-8": Price(5, 25, 0.5),
    "claude-opus-4-7": Price(5, 25, 0.5),
    "claude-opus-4-6": Price(5, 25, 0.5),
    "claude-opus-4-5": Price(5, 25, 0.5),
    "claude-sonnet-5-5": Price(2, 10, 0.1),
    "claude-sonnet-5": Price(2, 10, 0.2),
    "claude-sonnet-4-6": Price(3, 15, 0.3),
    "claude-sonnet-4-5": Price(3, 15, 0.3),
    "claude-haiku-5-5": Price(0.1, 0.5, 0.01),
    "claude-haiku-4-5": Price(1, 5, 0.1),
}
"""By the model's name without its date."""
LONG = {"claude-haiku-5-5": LongPrice(100_000, Price(0.5, 2.5, 0.05))}
"""Models whose price rises with the length of the prompt."""

HIGHEST = max(PRICES.values(), key=lambda price: (price.input, price.output, price.cache_read))
"""What a model of unknown price is counted at against the budget."""


def cost(model: str, billed: Billed) -> float | None:
    """Dollars for what was counted, None where the price is not known."""
    if billed == Billed():
        return 0.0
    price = _price(model, billed.prompt)
    return price.of(billed) if price else None


def bound(model: str, input_tokens: int, max_tokens: int) -> float:
    """The most dollars that a request can cost: all of its input written to the cache, the longest answer.

    For the budget only: where the price is not known, the highest one known stands in.
    """
    whole = Billed(cache_write=input_tokens, output=max_tokens)
    return (_price(model, input_tokens) or HIGHEST).of(whole)


def dollars(usd: float) -> str:
    """An amount as a person reads it: in cents, and below a dollar as fine as one question costs.

    >>> dollars(5), dollars(0.5), dollars(0.00123)
    ('$5.00', '$0.50', '$0.0012')
    """
    if 0 < usd < 0.0001:
        return "less than $0.0001"
    cents, fine = f"${usd:.2f}", f"${usd:.4f}"
    return cents if usd >= 1 or fine == f"{cents}00" else fine


def _price(model: str, prompt: int) -> Price | None:
    name = re.sub(r"-\d{8}$", "", model)
    long = LONG.get(name)
    return long.price if long and prompt > long.above else PRICES.get(name)
