"""What Claude costs: examples that a person can check by hand, and exact arithmetic beside the program's."""

from __future__ import annotations

import doctest
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.cloud import prices
from shammah.cloud.prices import HIGHEST, PRICES, Billed, bound, cost

TOKENS = st.integers(0, 2_000_000)
BILLED = st.builds(Billed, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
MODELS = st.sampled_from(sorted(PRICES))


@pytest.mark.parametrize(
    ("model", "billed", "dollars"),
    [
        ("claude-opus-4-6", Billed(input=1_000_000), 5.0),
        ("claude-opus-4-6", Billed(output=1_000_000), 25.0),
        ("claude-sonnet-4-6", Billed(cache_write=1_000_000), 3.75),
        ("claude-sonnet-4-6", Billed(cache_write_hour=1_000_000), 6.0),
        ("claude-haiku-4-5", Billed(cache_read=1_000_000), 0.1),
        ("claude-haiku-4-5-20251001", Billed(1000, 0, 0, 0, 1000), 0.006),
        ("claude-sonnet-5-5", Billed(1000, 1000, 0, 10_000, 500), 0.0105),
        ("claude-haiku-5-5", Billed(input=100_000, output=1000), 0.0105),
        ("claude-haiku-5-5", Billed(input=100_000, cache_read=1, output=1000), 0.05250005),
    ],
)
def test_an_example_costs_what_the_price_list_says(model: str, billed: Billed, dollars: float) -> None:
    assert cost(model, billed) == pytest.approx(dollars, abs=1e-12)


@given(MODELS, BILLED)
def test_cost_is_exact_to_a_billionth_of_a_dollar(model: str, billed: Billed) -> None:
    price = PRICES[model]
    if model in prices.LONG and billed.prompt > prices.LONG[model].above:
        price = prices.LONG[model].price
    fresh = billed.input + Fraction(5, 4) * billed.cache_write + 2 * billed.cache_write_hour
    exact = (
        fresh * Fraction(str(price.input))
        + billed.cache_read * Fraction(str(price.cache_read))
        + billed.output * Fraction(str(price.output))
    ) / 1_000_000
    told = cost(model, billed)
    assert told is not None
    assert abs(Fraction(told) - exact) < Fraction(1, 10**9)


@pytest.mark.parametrize("model", ["claude-of-the-future", "", "gpt", "claude-sonnet-5-5-20260101x"])
def test_what_is_not_known_stays_unknown(model: str) -> None:
    assert cost(model, Billed(input=1)) is None
    assert cost(model, Billed()) == 0.0
    assert bound(model, 10, 10) == HIGHEST.of(Billed(cache_write=10, output=10))


@given(MODELS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_no_request_costs_more_than_its_bound(model: str, fresh: int, written: int, read: int, said: int) -> None:
    billed = Billed(input=fresh, cache_write=written, cache_read=read, output=said)
    told = cost(model, billed)
    assert told is not None
    assert told <= bound(model, billed.prompt, said) * (1 + 1e-12)


def test_an_amount_is_told_in_cents_or_as_fine_as_it_is() -> None:
    assert doctest.testmod(prices).failed == 0
    assert [prices.dollars(usd) for usd in (0.0, 0.00004, 0.0001, 1.005)] == [
        "$0.00", "less than $0.0001", "$0.0001", "$1.00",
    ]  # fmt: skip


def test_the_prices_have_a_date() -> None:
    assert date(2026, 1, 1) < prices.AS_OF < date(2030, 1, 1)


def test_the_model_of_the_settings_has_a_price() -> None:
    from shammah.config import Cloud

    assert Cloud().model in PRICES
