"""The family as data: what it says of each model, and that its predictions meet what was measured or listed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.errors import ModelError
from shammah.models import catalog
from shammah.models.catalog import FAMILY, find, needs_of_folder


@pytest.mark.parametrize(
    ("size", "billions"), [("0.5b", 0.49), ("1.5b", 1.54), ("3b", 3.09), ("7b", 7.61), ("14b", 14.7)]
)
def test_the_shapes_have_as_many_parameters_as_their_makers_say(size: str, billions: float) -> None:
    shape = find(size).shape
    assert (shape.body + shape.head * (1 if shape.shared else 2)) / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize(("size", "kilobytes"), [("0.5b", 24.6), ("1.5b", 57), ("3b", 74), ("7b", 115), ("14b", 393)])
def test_the_cache_of_a_token_takes_what_was_measured(size: str, kilobytes: float) -> None:
    assert find(size).shape.cache_token / 1e3 == pytest.approx(kilobytes, rel=0.01)


def test_the_prepared_size_of_the_smallest_is_what_was_written() -> None:
    assert find("0.5b").prepared_bytes / 1e6 == pytest.approx(471, rel=0.01)
    assert find("1.5b").prepared_bytes / 1e6 == pytest.approx(1245, rel=0.01)


@pytest.mark.parametrize("model", [model for model in FAMILY if model.listed_bytes], ids=lambda model: model.name)
def test_the_predicted_download_is_near_the_listed_one(model: catalog.Model) -> None:
    unlisted = replace(model, listed_bytes=None)
    assert unlisted.download_bytes == pytest.approx(model.download_bytes, rel=0.03)


def test_names_and_repositories_are_those_of_the_hub() -> None:
    assert find("0.5b").repo == "onnx-community/Qwen2.5-0.5B-Instruct"
    assert find("1.5B", "coder").repo == "onnx-community/Qwen2.5-Coder-1.5B-Instruct"


def test_every_size_has_both_variants() -> None:
    assert [(model.variant, model.size) for model in FAMILY] == [
        (variant, size) for variant in ("instruct", "coder") for size in ("0.5b", "1.5b", "3b", "7b", "14b")
    ]


def test_only_repositories_that_were_seen_count_as_existing() -> None:
    seen = {model.name for model in FAMILY if model.exists}
    assert seen == {
        "Qwen2.5-0.5B-Instruct",
        "Qwen2.5-1.5B-Instruct",
        "Qwen2.5-Coder-0.5B-Instruct",
        "Qwen2.5-Coder-1.5B-Instruct",
        "Qwen2.5-Coder-3B-Instruct",
    }


@pytest.mark.parametrize("variant", catalog.VARIANTS)
def test_three_billion_are_for_research_only_and_all_others_are_free(variant: str) -> None:
    licences = {size: find(size, variant).licence for size in catalog.SIZES}
    assert licences.pop("3b") == "Qwen Research: for research only"
    assert set(licences.values()) == {"Apache-2.0"}
    assert find("3b", variant).research_only


@pytest.mark.parametrize(("size", "variant"), [("2b", "instruct"), ("", "instruct"), ("auto", "coder"), ("3b", "math")])
def test_what_is_not_in_the_family_is_refused_with_what_is(size: str, variant: str) -> None:
    with pytest.raises(ModelError, match=r"There is no Qwen2\.5 of") as caught:
        find(size, variant)
    assert "0.5b, 1.5b, 3b, 7b, 14b" in caught.value.hint
    assert "coder" in caught.value.hint


@given(st.sampled_from(FAMILY), st.integers(1, 32_768), st.integers(0, 32_768))
def test_a_longer_context_never_needs_less(model: catalog.Model, context: int, more: int) -> None:
    assert model.needs.peak(context + more) >= model.needs.peak(context) > model.loaded_bytes


def test_the_predicted_memory_is_what_a_worker_was_measured_to_hold() -> None:
    assert find("0.5b").needs.peak(4096) / 1e6 == pytest.approx(851, rel=0.05)
    assert find("1.5b").needs.peak(4096) / 1e6 == pytest.approx(1922, rel=0.05)


def test_the_longest_context_that_fits_is_the_longest() -> None:
    needs = find("1.5b").needs
    longest = needs.longest(3_000_000_000)
    assert needs.peak(longest) <= 3_000_000_000 < needs.peak(longest + 1)
    assert needs.longest(1_000_000_000) == 0


def folder(shared: bool) -> dict[str, object]:
    """The genai_config.json of a 0.5B, as far as memory goes."""
    decoder = {"hidden_size": 896, "num_hidden_layers": 24, "num_key_value_heads": 2, "head_size": 64}
    return {
        "model": {"vocab_size": 151_936, "decoder": decoder},
        "search": {"past_present_share_buffer": shared},
    }


def test_a_prepared_folder_needs_what_its_model_needs() -> None:
    model = find("0.5b")
    needs = needs_of_folder("mine", model.prepared_bytes, folder(shared=True))
    assert needs is not None
    assert needs.peak(4096) == pytest.approx(model.needs.peak(4096), rel=0.05)


def test_a_folder_that_runs_as_downloaded_needs_what_was_measured_of_one() -> None:
    needs = needs_of_folder("mine", 483_000_000, folder(shared=False))
    assert needs is not None
    assert needs.peak(640) / 1e9 == pytest.approx(1.84, rel=0.15)


@pytest.mark.parametrize(
    "config", [{}, {"model": None}, {"model": {"vocab_size": "many", "decoder": {}}}, {"model": []}]
)
def test_a_folder_that_does_not_tell_its_shape_is_not_predicted(config: dict[str, object]) -> None:
    assert needs_of_folder("mine", 1, config) is None
