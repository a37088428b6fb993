"""Which token comes next: greedy or drawn, as the settings say, and the same again for the same seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shammah.errors import ModelError
from shammah.message import Options
from shammah.worker.sampling import DEFAULT_TOP_K, Sampler, Sampling, chosen, model_defaults

DRAWS = 4000
LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=80)


def logits(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def logs(*probabilities: float) -> NDArray[np.float32]:
    return np.log(logits(*probabilities))


def draws(sampling: Sampling, row: NDArray[np.float32], count: int = DRAWS, seed: int = 1) -> list[int]:
    sampler = Sampler(sampling, seed, [])
    return [sampler.pick(row) for _ in range(count)]


def assert_distribution(drawn: Sequence[int], wanted: dict[int, float]) -> None:
    """Pearson's chi-square against a bound that a right sampler exceeds once in a million seeds."""
    found = Counter(drawn)
    assert found.keys() <= wanted.keys()
    expected = {token: share * len(drawn) for token, share in wanted.items()}
    distance = sum((found[token] - count) ** 2 / count for token, count in expected.items())
    freedom = len(wanted) - 1
    assert distance < freedom + 4.75 * math.sqrt(2 * freedom) + 2 * 4.75**2


# Greedy


@given(values=LOGITS)
def test_greedy_takes_the_likeliest_and_of_equals_the_first(values: list[float]) -> None:
    assert Sampler(Sampling(), None, []).pick(logits(*values)) == int(np.argmax(logits(*values)))


@given(values=LOGITS, seed=st.integers(0, 2**32 - 1))
def test_one_candidate_is_greedy_at_any_temperature(values: list[float], seed: int) -> None:
    row = logits(*values)
    assert row[Sampler(Sampling(1.7, top_k=1), seed, []).pick(row)] == row.max()


# Seeds


@given(values=LOGITS, seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_draws_the_same_tokens(values: list[float], seed: int) -> None:
    sampling = Sampling(temperature=1.5, top_k=20, top_p=0.9, repetition_penalty=1.1)
    assert draws(sampling, logits(*values), 8, seed) == draws(sampling, logits(*values), 8, seed)


def test_other_seeds_and_no_seed_draw_other_tokens() -> None:
    row = np.zeros(50, dtype=np.float32)
    assert draws(Sampling(1.0), row, 40, seed=1) != draws(Sampling(1.0), row, 40, seed=2)
    unseeded = [tuple(Sampler(Sampling(1.0), None, []).pick(row) for _ in range(1)) for _ in range(40)]
    assert len(set(unseeded)) > 1


# Distributions, computed by hand


def test_temperature_one_draws_as_the_model_says() -> None:
    assert_distribution(draws(Sampling(1.0), logs(0.5, 0.3, 0.2)), {0: 0.5, 1: 0.3, 2: 0.2})


@pytest.mark.parametrize(("temperature", "first"), [(0.5, 16 / 17), (1.0, 4 / 5), (2.0, 2 / 3)])
def test_temperature_raises_the_odds_of_4_to_1_to_their_power(temperature: float, first: float) -> None:
    assert_distribution(draws(Sampling(temperature), logs(0.8, 0.2)), {0: first, 1: 1 - first})


def test_a_very_small_temperature_is_greedy() -> None:
    assert set(draws(Sampling(1e-6), logits(1.0, 1.01, 0.99), 50)) == {1}


def test_top_k_leaves_the_k_likeliest_in_their_proportion() -> None:
    assert_distribution(draws(Sampling(1.0, top_k=2), logs(0.1, 0.45, 0.3, 0.15)), {1: 0.6, 2: 0.4})


def test_top_k_beyond_the_vocabulary_leaves_all() -> None:
    assert set(draws(Sampling(1.0, top_k=1000), logits(0, 0, 0), 100)) == {0, 1, 2}


def test_without_top_k_the_candidates_are_bounded() -> None:
    assert len(set(draws(Sampling(5.0), logits(*(place / 100 for place in range(500)))))) <= DEFAULT_TOP_K


@pytest.mark.parametrize(
    ("top_p", "wanted"),
    [
        (0.0, {2: 1.0}),
        (0.45, {2: 1.0}),
        (0.55, {2: 5 / 8, 0: 3 / 8}),
        (0.75, {2: 5 / 8, 0: 3 / 8}),
        (0.85, {2: 0.5, 0: 0.3, 1: 0.2}),
        (1.0, {2: 0.5, 0: 0.3, 1: 0.2}),
    ],
)
def test_top_p_leaves_the_fewest_that_together_reach_it(top_p: float, wanted: dict[int, float]) -> None:
    assert_distribution(draws(Sampling(1.0, top_p=top_p), logs(0.3, 0.2, 0.5)), wanted)


def test_top_p_counts_what_temperature_and_top_k_left() -> None:
    # The odds 5:3:2 squared are 25:9:4; of the first two, 25/34 = 0.735 reaches 0.7 alone.
    assert set(draws(Sampling(0.5, top_k=2, top_p=0.7), logs(0.5, 0.3, 0.2), 100)) == {0}
    assert set(draws(Sampling(0.5, top_k=2, top_p=0.75), logs(0.5, 0.3, 0.2), 100)) == {0, 1}


# Repetition penalty


def test_the_penalty_divides_positive_and_multiplies_negative_logits_of_the_prompt() -> None:
    penal = Sampling(repetition_penalty=2.0)
    assert Sampler(penal, None, [0]).pick(logits(2.0, 1.5)) == 1
    assert Sampler(penal, None, [0]).pick(logits(2.0, 0.9)) == 0
    assert Sampler(penal, None, [0, 0, 0]).pick(logits(-1.0, -1.9)) == 1
    assert Sampler(penal, None, [0]).pick(logits(-1.0, -2.1)) == 0


def test_the_penalty_counts_each_token_once_and_also_those_just_picked() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), None, [])
    # 2 and 1.5; then 1 and 1.5; then 1 and 0.75, for ever.
    assert [sampler.pick(logits(2.0, 1.5)) for _ in range(4)] == [0, 1, 0, 0]


def test_the_penalty_comes_before_the_temperature() -> None:
    row = logits(2 * math.log(8), math.log(2))
    sampler = Sampler(Sampling(1.0, repetition_penalty=2.0), 3, [0, 1])
    # Both halved: log 8 and log 2 / 2, so the odds are 8 to the root of 2.
    first = 8 / (8 + math.sqrt(2))
    assert_distribution([sampler.pick(row) for _ in range(DRAWS)], {0: first, 1: 1 - first})


def test_the_logits_given_stay_as_they_are() -> None:
    row = logits(2.0, 1.5, -1.0)
    Sampler(Sampling(0.8, top_k=2, top_p=0.9, repetition_penalty=1.3), 1, [0, 2]).pick(row)
    assert row.tolist() == [2.0, 1.5, -1.0]


# Where the settings come from


def generation_config(folder: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
    return folder


def test_the_models_own_settings_and_stop_ids_are_read(tmp_path: Path) -> None:
    given = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1}
    folder = generation_config(tmp_path, given | {"eos_token_id": [151645, 151643]})
    assert model_defaults(folder) == (Sampling(0.7, 20, 0.8, 1.1), frozenset({151645, 151643}))


def test_a_model_that_does_not_sample_is_greedy_and_one_stop_id_is_enough(tmp_path: Path) -> None:
    folder = generation_config(tmp_path, {"do_sample": False, "temperature": 0.7, "eos_token_id": 2})
    assert model_defaults(folder) == (Sampling(), frozenset({2}))


def test_the_starter_stops_at_the_ends_of_turn_and_text(starter: Path) -> None:
    _, stops = model_defaults(starter)
    assert stops == {0, 2}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        "7",
        {},
        {"eos_token_id": None},
        {"eos_token_id": []},
        {"eos_token_id": ["</s>"]},
        {"eos_token_id": 2, "do_sample": True, "temperature": "hot"},
        {"eos_token_id": 2, "top_k": [1]},
    ],
)
def test_a_missing_or_broken_file_is_told_with_a_way_out(tmp_path: Path, content: object) -> None:
    if content is not None:
        generation_config(tmp_path, content)
    with pytest.raises(ModelError, match=r"generation_config\.json") as told:
        model_defaults(tmp_path)
    assert told.value.hint


def test_what_the_user_set_wins_over_the_model() -> None:
    model = Sampling(0.7, 20, 0.8, 1.1)
    assert chosen(model, Options()) == model
    assert chosen(model, Options(temperature=0.0)) == Sampling(0.0, 20, 0.8, 1.1)
    assert chosen(model, Options(top_k=5, top_p=0.5, repetition_penalty=1.0)) == Sampling(0.7, 5, 0.5, 1.0)
