"""Which model a machine gets: made-up machines from a small laptop to a server, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.errors import ModelError
from shammah.models.catalog import FAMILY, SIZES, Model, Needs, find
from shammah.models.choose import PATIENCE, check_memory, choose, fit, predicted_first_token_s, speed_text, tokens_per_s
from shammah.models.machine import Machine

GB = 1_000_000_000


def machine(
    available_gb: float, bandwidth_gb: float | None = 30, disk_gb: float | None = 100, processors: int = 4
) -> Machine:
    """A machine with AVX2; memory free, bandwidth and disk in GB."""
    return Machine(
        memory_total=round(available_gb * 1.5 * GB),
        memory_available=round(available_gb * GB),
        processors=processors,
        instructions=frozenset({"avx2"}),
        disk_free=None if disk_gb is None else round(disk_gb * GB),
        bandwidth=None if bandwidth_gb is None else bandwidth_gb * GB,
    )


SMALL_LAPTOP = machine(2.2, 12)
LAPTOP = machine(5, 25)
DESKTOP = machine(12, 40)
SERVER = machine(60, 150, processors=32)
MEASURED = Machine(25 * GB, 16 * GB, 2, frozenset({"avx2", "avx512_vnni"}), bandwidth=25e9, disk_free=80 * GB)
"""The machine that the figures come from."""


@pytest.mark.parametrize(
    ("found", "size"),
    [
        pytest.param(SMALL_LAPTOP, "0.5b", id="4 GB laptop"),
        pytest.param(LAPTOP, "1.5b", id="8 GB laptop"),
        pytest.param(DESKTOP, "1.5b", id="16 GB desktop"),
        pytest.param(SERVER, "1.5b", id="64 GB server"),
        pytest.param(machine(60, 6), "0.5b", id="slow memory"),
        pytest.param(machine(60, 2), None, id="far too slow memory"),
        pytest.param(machine(12, 40, processors=1), "1.5b", id="one processor"),
        pytest.param(machine(12, disk_gb=1.5), "0.5b", id="little disk"),
        pytest.param(machine(12, disk_gb=0.5), None, id="no disk"),
        pytest.param(machine(12, disk_gb=None), "1.5b", id="disk not known"),
        pytest.param(machine(12, bandwidth_gb=None), "1.5b", id="bandwidth not known"),
        pytest.param(machine(1.5), None, id="memory in use by others"),
        pytest.param(machine(0), None, id="no memory"),
    ],
)
def test_auto_takes_the_largest_that_runs_well(found: Machine, size: str | None) -> None:
    choice = choose(found, context=4096, reserve_gb=1.0)
    assert (choice.model.size if choice.model else None) == size


def test_a_containers_limit_counts_not_the_machines_memory() -> None:
    inside = replace(SERVER, memory_available=round(2.2 * GB))
    assert choose(inside, 4096, 1.0).model == find("0.5b")


def test_the_choice_is_told_with_its_numbers_and_what_keeps_the_next_larger_away() -> None:
    choice = choose(LAPTOP, 4096, 1.0)
    assert "Qwen2.5-1.5B-Instruct is the largest for this machine: about 2.0 GB of memory and" in choice.why
    assert "Qwen2.5-3B-Instruct would give" in choice.why


def test_the_starter_answers_with_the_reason_where_nothing_fits() -> None:
    choice = choose(machine(1.2), 4096, 1.0)
    assert choice.model is None
    assert choice.why.startswith("The starter answers: Qwen2.5-0.5B-Instruct needs about")
    assert "200 MB are free beside the 1 GB for other programs" in choice.why


def test_a_model_on_this_disk_needs_no_more_of_it_and_no_memory_to_be_prepared() -> None:
    found = machine(1.87, disk_gb=0)
    assert choose(found, 4096, 1.0).model is None
    assert choose(found, 4096, 1.0, here=[find("0.5b").repo]).model == find("0.5b")


def test_a_model_that_was_fetched_by_name_exists() -> None:
    assert choose(SERVER, 4096, 1.0, here=[find("7b").repo]).model == find("7b")


@pytest.mark.parametrize("variant", ["instruct", "coder"])
def test_research_only_is_never_taken_without_being_asked_for(variant: str) -> None:
    everything = [model.repo for model in FAMILY if model.size in ("0.5b", "1.5b", "3b")]
    assert choose(SERVER, 4096, 1.0, variant, everything).model == find("1.5b", variant)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ModelError, match="variant math"):
        choose(SERVER, 4096, 1.0, "math")


def test_the_list_says_of_each_model_what_speaks_against_it() -> None:
    causes = {size: {one.cause for one in fit(find(size), LAPTOP, 4096, 1.0).obstacles} for size in SIZES}
    assert causes == {
        "0.5b": set(),
        "1.5b": set(),
        "3b": {"licence", "speed", "unknown"},
        "7b": {"memory", "speed", "unknown"},
        "14b": {"memory", "speed", "unknown"},
    }
    texts = [one.text for one in fit(find("3b"), LAPTOP, 4096, 1.0).obstacles]
    assert any("is not known to exist" in text for text in texts)


@pytest.mark.parametrize(("speed", "text"), [(0.01, "<0.1"), (0.5, "0.5"), (9.94, "9.9"), (9.96, "10"), (35.8, "36")])
def test_a_speed_is_told_with_as_many_digits_as_it_is_worth_and_never_as_none(speed: float, text: str) -> None:
    assert speed_text(speed) == text


machines = st.builds(
    machine,
    available_gb=st.floats(0, 128),
    bandwidth_gb=st.none() | st.floats(0.5, 500),
    disk_gb=st.none() | st.floats(0, 100),
    processors=st.integers(1, 128),
)
contexts = st.integers(64, 131_072)
reserves = st.floats(0, 16)
variants = st.sampled_from(["instruct", "coder"])
ALL = [model.repo for model in FAMILY]


def rank(model: Model | None) -> int:
    return -1 if model is None else SIZES.index(model.size)


@given(machines, contexts, reserves, variants, st.sampled_from([[], ALL]))
def test_a_choice_fits_in_memory_and_is_fast_enough(
    found: Machine, context: int, reserve: float, variant: str, here: list[str]
) -> None:
    choice = choose(found, context, reserve, variant, here)
    if choice.model is None:
        return
    assert choice.peak_bytes + reserve * GB <= found.memory_available + 1
    assert choice.tokens_per_s >= PATIENCE
    assert choice.model.variant == variant
    assert not choice.model.research_only
    assert choice.model.exists or choice.model.repo in here


@given(machines, contexts, reserves, st.sampled_from([[], ALL]), st.floats(0, 64))
def test_more_memory_never_chooses_a_smaller_model(
    found: Machine, context: int, reserve: float, here: list[str], more_gb: float
) -> None:
    larger = replace(found, memory_available=found.memory_available + round(more_gb * GB))
    less, more = (choose(one, context, reserve, here=here).model for one in (found, larger))
    assert rank(more) >= rank(less)


@given(machines, contexts, reserves, st.sampled_from([[], ALL]), st.integers(0, 100_000))
def test_a_longer_context_never_chooses_a_larger_model(
    found: Machine, context: int, reserve: float, here: list[str], longer: int
) -> None:
    less, more = (choose(found, tokens, reserve, here=here).model for tokens in (context, context + longer))
    assert rank(more) <= rank(less)


@given(machines, contexts, reserves)
def test_what_is_chosen_passes_the_check_before_loading(found: Machine, context: int, reserve: float) -> None:
    choice = choose(found, context, reserve)
    if choice.model is not None:
        check_memory(choice.model.needs, found.memory_available, min(context, choice.model.context), reserve)


@given(st.sampled_from(FAMILY), machines)
def test_more_bandwidth_and_more_processors_never_slow_a_model_down(model: Model, found: Machine) -> None:
    known = replace(found, bandwidth=found.bandwidth or 1e10)
    faster = replace(known, bandwidth=(known.bandwidth or 0) * 2)
    wider = replace(known, processors=known.processors + 1)
    assert tokens_per_s(model, faster) >= tokens_per_s(model, known)
    assert tokens_per_s(model, wider) >= tokens_per_s(model, known)
    assert predicted_first_token_s(model, wider, 500) <= predicted_first_token_s(model, known, 500)


def test_the_speed_of_the_smallest_is_what_was_measured() -> None:
    assert tokens_per_s(find("0.5b"), MEASURED) == pytest.approx(35.8, rel=0.3)
    assert tokens_per_s(find("1.5b"), MEASURED) == pytest.approx(12.9, rel=0.3)
    assert 250 * 0.7 <= 512 / predicted_first_token_s(find("0.5b"), MEASURED, 512) <= 300 * 1.3


def test_instructions_that_are_not_known_are_taken_for_common_ones() -> None:
    unknown, none = replace(DESKTOP, instructions=None), replace(DESKTOP, instructions=frozenset())
    model = find("1.5b")
    assert tokens_per_s(model, unknown) == tokens_per_s(model, DESKTOP) > tokens_per_s(model, none)


def test_a_model_that_fits_passes_the_check_before_loading() -> None:
    check_memory(find("0.5b").needs, 2 * GB, 4096, 1.0)


def test_a_model_that_is_too_large_is_refused_with_the_numbers_and_the_next_smaller() -> None:
    with pytest.raises(ModelError) as caught:
        check_memory(find("7b").needs, 3 * GB, 4096, 1.0)
    assert "Qwen2.5-7B-Instruct needs about" in str(caught.value)
    assert "2.0 GB are free beside the 1 GB for other programs" in str(caught.value)
    assert "shammah models use 1.5b takes" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        check_memory(find("7b", "coder").needs, 3 * GB, 4096, 1.0, "coder")
    assert "shammah models use 1.5b coder takes" in caught.value.hint


def test_where_no_size_fits_the_starter_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        check_memory(find("0.5b").needs, GB, 4096, 1.0)
    assert "shammah models use starter" in caught.value.hint


def test_a_shorter_context_is_offered_where_it_would_do() -> None:
    needs = find("1.5b").needs
    with pytest.raises(ModelError, match="Qwen2") as caught:
        check_memory(needs, 3 * GB, 32_768, 1.0)
    tokens = int(caught.value.hint.rpartition("local.context at ")[2].split()[0])
    check_memory(needs, 3 * GB, tokens, 1.0)


def test_any_model_can_be_checked_and_the_hint_names_only_what_is_smaller() -> None:
    mine = Needs("mine", weights=900_000_000, largest=0, cache_token=0, slice_token=0)
    with pytest.raises(ModelError, match=r"mine needs about 1\.1 GB") as caught:
        check_memory(mine, round(1.9 * GB), 4096, 1.0)
    assert "use 0.5b" in caught.value.hint
