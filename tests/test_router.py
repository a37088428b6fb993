"""Who answers, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.errors import EngineError
from shammah.router import ROWS, Facts, Route, choose, table

CAUSES = {"local": "The model worker hangs", "claude": "Claude is overloaded", "starter": "The memory was not enough"}
FACTS = st.builds(
    Facts,
    mode=st.sampled_from(["auto", "local", "cloud", "ask"]),
    enabled=st.booleans(),
    patient=st.booleans(),
    local=st.sampled_from(["none", "fetching", "loading", "restarting", "ready", "failed"]),
    local_name=st.just("qwen"),
    stage=st.sampled_from(["no memory", "two\nlines"]),
    local_context=st.sampled_from([0, 4096]),
    prompt_tokens=st.sampled_from([0, 10, 3072, 3073, 9000]),
    max_tokens=st.sampled_from([1, 1024, 1_000_000]),
    wait_s=st.sampled_from([None, 1.0, 120.0, 121.0]),
    short_of_memory=st.sampled_from(["", "only 90 MB are free"]),
    cloud=st.sampled_from(["no key", "wrong key", "no credit", "no budget", "unreachable", "ready"]),
    cloud_name=st.just("claude-x"),
    cloud_trouble=st.sampled_from(["", "The key is wrong"]),
    allowed=st.booleans(),
    private=st.sampled_from(["", "you marked it private"]),
    asked_for=st.sampled_from(["", "local", "claude"]),
    failed=st.sets(st.sampled_from(sorted(CAUSES))).map(lambda names: {name: CAUSES[name] for name in sorted(names)}),
)


def ready(**more: Any) -> Facts:
    """The local model is there."""
    return Facts(local="ready", local_name="qwen", **more)


def loading(**more: Any) -> Facts:
    """The local model is on its way."""
    return Facts(local="loading", local_name="qwen", **more)


def outcome(facts: Facts) -> Route | str:
    """The route, or what is said where there is none."""
    try:
        return choose(facts)
    except EngineError as error:
        return str(error)


# Without Claude


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (Facts(), "starter, because no larger model is chosen on this machine"),
        (ready(), "local, because qwen is ready"),
        (ready(mode="local"), "local, because qwen is ready"),
        (ready(asked_for="local", mode="cloud", cloud="ready"), "local, because qwen is ready"),
        (ready(prompt_tokens=3072, local_context=4096, wait_s=120.0), "local, because qwen is ready"),
        (ready(prompt_tokens=4046, local_context=4096, max_tokens=50), "local, because qwen is ready"),
        (loading(), "starter, because qwen is still loading"),
        (loading(mode="local", allowed=True, cloud="ready"), "starter, because qwen is still loading"),
        (loading(patient=True), "local, because qwen is chosen for this question"),
        (Facts(local="restarting", local_name="qwen"), "local, because qwen is there again in a moment"),
        (Facts(local="failed", local_name="qwen", stage="no memory"), "starter, because qwen failed: no memory"),
        (Facts(local="failed", stage="No model is here"), "starter, because no model is here"),
        (
            Facts(local="fetching", local_name="qwen", stage="downloading (34 %)"),
            "starter, because qwen is still downloading (34 %)",
        ),
        (
            Facts(local="fetching", stage="being looked for"),
            "starter, because a larger model is still being looked for",
        ),
        (
            ready(failed={"local": "The model worker hangs"}),
            "starter, because qwen failed: The model worker hangs",
        ),
        (
            ready(prompt_tokens=3073, local_context=4096),
            "local, because qwen is ready, although the conversation has 3,073 tokens "
            "and qwen keeps 4,096 with its answer, so the oldest turns are left out",
        ),
        (
            ready(wait_s=300.4),
            "local, because qwen is ready, although qwen would read for 300 s before its first word",
        ),
        (ready(short_of_memory="only 90 MB are free"), "local, because qwen is ready, although only 90 MB are free"),
    ],
)
def test_the_best_of_this_machine_answers_and_says_why(facts: Facts, why: str) -> None:
    assert choose(facts) == Route(why.partition(",")[0], why)  # type: ignore[arg-type]


# With Claude

CLAUDE: dict[str, Any] = {"cloud": "ready", "cloud_name": "claude-x"}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (loading(), "qwen is still loading"),
        (Facts(local="fetching", local_name="qwen", stage="downloading (34 %)"), "qwen is still downloading (34 %)"),
        (Facts(local="failed", local_name="qwen", stage="no memory"), "qwen failed: no memory"),
        (Facts(), "no larger model is chosen on this machine"),
        (ready(enabled=False), "local.enabled is false"),
        (ready(failed={"local": "The model worker hangs"}), "qwen failed: The model worker hangs"),
        (
            ready(prompt_tokens=9000, local_context=4096),
            "the conversation has 9,000 tokens and qwen keeps 4,096 with its answer",
        ),
        (
            ready(prompt_tokens=4047, local_context=4096, max_tokens=50),
            "the conversation has 4,047 tokens and qwen keeps 4,096 with its answer",
        ),
        (ready(wait_s=300.0), "qwen would read for 300 s before its first word"),
        (ready(short_of_memory="only 90 MB are free"), "only 90 MB are free"),
    ],
)
def test_claude_answers_what_the_local_model_cannot_where_that_is_allowed(facts: Facts, why: str) -> None:
    here = outcome(facts)
    for consent in ({"mode": "auto", "allowed": True}, {"mode": "ask"}):
        assert choose(replace(facts, **CLAUDE, **consent)) == Route("claude", f"claude, because {why}")
    for none in ({"mode": "auto"}, {"mode": "auto", "allowed": True, "asked_for": "local"}, {"mode": "local"}):
        assert outcome(replace(facts, **CLAUDE, **none)) == here


@pytest.mark.parametrize("mode", ["auto", "ask"])
def test_what_the_local_model_can_do_stays_here(mode: Any) -> None:
    assert choose(replace(ready(allowed=True, **CLAUDE), mode=mode)).engine == "local"


def test_in_mode_cloud_claude_answers_also_what_the_local_model_could() -> None:
    assert choose(ready(mode="cloud", **CLAUDE)) == Route("claude", "claude, because the mode is cloud")


def test_who_is_asked_for_answers_whatever_the_settings_say() -> None:
    assert choose(ready(asked_for="claude", **CLAUDE)) == Route("claude", "claude, because you asked for it")


@pytest.mark.parametrize(
    ("state", "trouble", "said", "step"),
    [
        ("no key", "", "Claude has no key", "shammah setup"),
        ("wrong key", "The key for Claude is not accepted", "The key for Claude is not accepted", "shammah setup"),
        ("no credit", "", "Claude's account has no credit left", "Add credit"),
        ("no budget", "", "Today's budget for Claude is spent", "cloud.daily_budget_usd"),
    ],
)
@pytest.mark.parametrize("wanted", [{"mode": "cloud"}, {"asked_for": "claude"}])
def test_what_only_the_person_can_mend_is_told_where_claude_is_wanted(
    state: Any, trouble: str, said: str, step: str, wanted: dict[str, Any]
) -> None:
    with pytest.raises(EngineError) as told:
        choose(ready(cloud=state, cloud_trouble=trouble, **wanted))
    assert str(told.value) == said
    assert step in told.value.hint
    assert "/local" in told.value.hint


def test_in_mode_cloud_the_local_model_answers_while_claude_cannot_be_reached() -> None:
    away = ready(mode="cloud", cloud="unreachable")
    assert choose(away) == Route("local", "local, because qwen is ready, and Claude cannot be reached")
    failed = ready(mode="cloud", cloud="ready", failed={"claude": "Claude is overloaded"})
    assert choose(failed) == Route("local", "local, because qwen is ready, and Claude failed: Claude is overloaded")


def test_a_trouble_that_was_met_is_told_with_its_own_next_step() -> None:
    busy = {"cloud_trouble": "Claude is overloaded", "cloud_way_out": "Ask again in a while"}
    with pytest.raises(EngineError, match="Claude is overloaded") as told:
        choose(loading(mode="cloud", cloud="unreachable", **busy))
    assert told.value.hint == "Ask again in a while"


def test_a_model_that_is_not_here_is_not_said_to_have_failed() -> None:
    absent = Facts(local="failed", local_name="qwen", stage="qwen is not on this machine")
    assert choose(absent).why == "starter, because qwen is not on this machine"


def test_in_mode_cloud_the_starter_takes_nobodys_place() -> None:
    assert outcome(loading(mode="cloud", cloud="unreachable")) == "Claude cannot be reached"
    failed = loading(mode="cloud", cloud="ready", failed={"claude": "Claude is overloaded"})
    assert outcome(failed) == "Claude is overloaded"


@pytest.mark.parametrize("consent", [{"allowed": True}, {"mode": "ask"}])
def test_the_reason_tells_what_is_in_the_way_of_both(consent: dict[str, Any]) -> None:
    told = choose(loading(cloud="wrong key", **consent))
    assert told.why == "starter, because qwen is still loading, and Claude does not accept the key"
    told = choose(loading(cloud="unreachable", cloud_trouble="Claude is overloaded", **consent))
    assert told.why == "starter, because qwen is still loading, and Claude cannot answer: Claude is overloaded"
    told = choose(ready(wait_s=300.0, cloud="unreachable", **consent))
    assert told.why.endswith("before its first word, and Claude cannot be reached")
    told = choose(loading(cloud="ready", failed={"claude": "Claude is overloaded"}, **consent))
    assert told.why == "starter, because qwen is still loading, and Claude failed: Claude is overloaded"


# Private


@pytest.mark.parametrize("mode", ["auto", "cloud", "ask", "local"])
def test_what_is_private_stays_here_in_every_mode_and_the_reason_says_what_it_is(mode: Any) -> None:
    private: dict[str, Any] = {"mode": mode, "allowed": True, "private": ".env holds secrets by its name", **CLAUDE}
    stays = "and the question stays here: .env holds secrets by its name"
    assert choose(ready(**private)).why == f"local, because qwen is ready, {stays}"
    assert choose(loading(**private)).why == f"starter, because qwen is still loading, {stays}"


def test_to_ask_claude_for_what_is_private_is_refused_with_what_it_is() -> None:
    with pytest.raises(EngineError, match="Claude cannot be asked: you marked it private") as told:
        choose(ready(asked_for="claude", private="you marked it private", **CLAUDE))
    assert "/retry local" in told.value.hint


def test_to_ask_claude_in_mode_local_is_refused() -> None:
    with pytest.raises(EngineError, match="the mode is local"):
        choose(ready(asked_for="claude", mode="local", **CLAUDE))


# Nobody


def test_where_no_model_may_run_here_and_claude_may_not_be_asked_the_way_out_is_named() -> None:
    with pytest.raises(EngineError, match=r"local\.enabled is false, and Claude may not be asked") as told:
        choose(ready(enabled=False, **CLAUDE))
    assert "/set local.enabled true" in told.value.hint


def test_where_all_have_failed_the_last_cause_is_told() -> None:
    with pytest.raises(EngineError, match="The memory was not enough"):
        choose(ready(failed={"local": "The model worker hangs", "starter": "The memory was not enough"}))


# Whatever the facts


@given(facts=FACTS)
def test_an_answer_or_a_refusal_is_one_sentence_with_its_next_step(facts: Facts) -> None:
    try:
        route = choose(facts)
    except EngineError as error:
        assert error.hint
        assert not str(error).endswith(".")
        return
    assert route.why.startswith(f"{route.engine}, because ")
    assert len(route.why) > len(f"{route.engine}, because ")
    assert "\n" not in route.why
    assert not route.why.endswith(".")


@given(facts=FACTS)
def test_nothing_leaves_without_consent(facts: Facts) -> None:
    route = outcome(facts)
    if isinstance(route, Route) and route.engine == "claude":
        assert not facts.private
        assert facts.mode != "local"
        assert facts.asked_for != "local"
        assert facts.allowed or facts.mode in ("cloud", "ask") or facts.asked_for == "claude"


@given(facts=FACTS)
def test_whatever_is_known_of_claude_changes_nothing_where_nothing_may_leave(facts: Facts) -> None:
    if facts.mode == "local" or facts.private:
        nothing = replace(facts, cloud="no key", cloud_trouble="", allowed=False)
        assert outcome(facts) == outcome(nothing)


@given(facts=FACTS)
def test_only_who_is_there_and_has_not_failed_is_asked(facts: Facts) -> None:
    route = outcome(facts)
    if not isinstance(route, Route):
        return
    assert route.engine not in facts.failed
    assert facts.enabled or route.engine == "claude"
    assert route.engine != "claude" or facts.cloud == "ready"
    assert route.engine != "local" or facts.local in ("ready", "restarting", "loading")


@given(facts=FACTS)
def test_the_same_facts_give_the_same_route(facts: Facts) -> None:
    assert outcome(facts) == outcome(facts)


# The table


def test_the_table_tells_each_row_once_and_the_last_row_always_holds() -> None:
    assert table() == [(row.when, row.then) for row in ROWS]
    assert len({when for when, _ in table()}) == len(ROWS)
    assert ROWS[-1].holds(Facts())


REACHED = [
    ready(asked_for="claude", mode="local"),
    ready(mode="cloud", **CLAUDE),
    ready(mode="cloud", cloud="unreachable"),
    ready(mode="cloud"),
    ready(),
    loading(allowed=True, **CLAUDE),
    ready(wait_s=300.0),
    loading(),
    loading(enabled=False),
]
"""Facts for each row of the table."""


def test_every_row_is_reached() -> None:
    rows = [next(place for place, row in enumerate(ROWS) if row.holds(facts)) for facts in REACHED]
    assert rows == list(range(len(ROWS)))
