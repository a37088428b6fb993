"""Who answers, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.errors import EngineError
from shammah.router import Facts, choose

FACTS = st.builds(
    Facts,
    mode=st.sampled_from(["auto", "local", "cloud", "ask"]),
    enabled=st.just(True),
    patient=st.booleans(),
    local=st.sampled_from(["none", "fetching", "loading", "restarting", "ready", "failed"]),
    local_name=st.just("qwen"),
    stage=st.just("no memory"),
)


@pytest.mark.parametrize(
    ("facts", "engine", "why"),
    [
        (Facts(), "starter", "starter, because no larger model is chosen on this machine"),
        (Facts(local="ready", local_name="qwen"), "local", "local, because qwen is ready"),
        (Facts(local="loading", local_name="qwen"), "starter", "starter, because qwen is still loading"),
        (Facts(local="loading", local_name="qwen", patient=True), "local", "local, because qwen is chosen"),
        (Facts(local="restarting", local_name="qwen"), "local", "local, because qwen is there again in a moment"),
        (
            Facts(local="failed", local_name="qwen", stage="no memory"),
            "starter",
            "starter, because qwen failed: no mem",
        ),
        (
            Facts(local="fetching", local_name="qwen", stage="downloading (34 %)"),
            "starter",
            "starter, because qwen is still downloading (34 %)",
        ),
        (Facts(local="failed", stage="No model is here"), "starter", "starter, because no model is here"),
        (Facts(mode="local", local="ready", local_name="qwen"), "local", "local, because qwen is ready"),
        (Facts(mode="cloud"), "starter", "starter, because this version does not ask Claude yet"),
        (Facts(mode="ask"), "starter", "starter, because this version does not ask Claude yet"),
    ],
)
def test_the_best_that_is_there_answers_and_says_why(facts: Facts, engine: str, why: str) -> None:
    route = choose(facts)
    assert route.engine == engine
    assert route.why.startswith(why)


@given(facts=FACTS)
def test_somebody_always_answers_and_the_reason_is_one_sentence_about_them(facts: Facts) -> None:
    route = choose(facts)
    assert route.why.startswith(f"{route.engine}, because ")
    assert "\n" not in route.why


@given(facts=FACTS)
def test_the_same_facts_give_the_same_route(facts: Facts) -> None:
    assert choose(facts) == choose(facts)


def test_where_no_model_may_run_here_the_way_out_is_named() -> None:
    with pytest.raises(EngineError, match=r"local\.enabled is false") as told:
        choose(Facts(enabled=False, local="ready", local_name="qwen"))
    assert "/set local.enabled true" in told.value.hint
