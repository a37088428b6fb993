"""The engines of this machine: what the settings want, switched between two answers."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shammah.config import Local
from shammah.environment import loader_environment, worker_environment
from shammah.errors import HubError, ModelError
from shammah.message import Options
from shammah.models.bootstrap import Failed, Plan, Ready
from shammah.models.engines import LocalModels
from shammah.models.wanted import Automatic, Folder, Source, settings_for, wanted
from shammah.paths import STARTER, Home
from shammah.router import Facts
from tests.fakes import finish_of, until, user

SHORT = Options(max_tokens=3, seed=1)


def no_choice(_wanted: Automatic, _context: int, _reserve_gb: float, _may_fetch: bool) -> Source:
    raise HubError("No larger model is on this machine yet", hint="Fetch one")


def fits(_name: str, _folder: Path, _context: int, _reserve_gb: float) -> None:
    """Room for everything."""


def no_room_for_large(name: str, _folder: Path, _context: int, _reserve_gb: float) -> None:
    """No room for the model of that name."""
    if name == "large":
        raise ModelError("large needs about 9 GB of memory", hint="Close other programs")


@pytest.fixture
def plan(home: Home) -> Plan:
    return Plan(
        models=home.models,
        logs=home.logs,
        endpoint="http://127.0.0.1:9",
        worker_environment=worker_environment(),
        loader_environment=loader_environment(),
        choose=no_choice,
        check_memory=fits,
    )


@pytest.fixture
def make(plan: Plan) -> Iterator[Callable[..., LocalModels]]:
    """Makes the models of a plan, with changes; ends them after the test."""
    made: list[LocalModels] = []

    def maker(**changes: object) -> LocalModels:
        made.append(LocalModels(replace(plan, **changes), lambda: None))  # type: ignore[arg-type]
        return made[-1]

    yield maker
    for models in made:
        models.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Another model than the starter."""
    return Path(shutil.copytree(STARTER, tmp_path / "qwen"))


def ready(models: LocalModels) -> bool:
    return isinstance(models.state, Ready)


def facts(models: LocalModels) -> Facts:
    return models.facts("auto", enabled=True)


STARTER_ONLY = Local(size="starter")


def test_the_starter_answers_where_nothing_else_is_wanted(make: Callable[..., LocalModels]) -> None:
    models = make()
    models.want(STARTER_ONLY)
    assert list(models) == ["starter"]
    assert facts(models) == Facts()
    assert models.answering(Facts()).model == "starter"


def test_a_model_in_a_folder_answers_when_it_is_ready(make: Callable[..., LocalModels], folder: Path) -> None:
    models = make()
    models.want(Local(repo=str(folder)))
    assert facts(models).local == "fetching"
    models.start()
    until(lambda: ready(models))
    assert models.state == Ready("qwen", "cpu")
    chosen = models.answering(facts(models))
    assert (chosen.name, chosen.model) == ("local", "qwen")
    assert finish_of(list(chosen.reply([user("Hello")], SHORT))).reason in ("stop", "length")


def test_of_a_model_that_is_ready_the_router_is_told_how_long_the_conversation_is(
    make: Callable[..., LocalModels], folder: Path
) -> None:
    models = make()
    models.want(Local(repo=str(folder), context=1024))
    talk = [user("hello " * 200)]
    assert models.facts("auto", enabled=True, messages=talk) == facts(models)
    models.start()
    until(lambda: ready(models))
    finish = finish_of(list(models["local"].reply(talk, SHORT)))
    told = models.facts("auto", enabled=True, messages=[user("Something else: " + "hello " * 200)])
    assert told.local_context == 1024
    assert told.prompt_tokens > finish.usage.prompt_tokens > 0
    assert told.wait_s is not None
    assert told.wait_s > 0
    assert told.short_of_memory == ""
    assert models.facts("auto", enabled=True) == Facts(local="ready", local_name="qwen")


def test_memory_that_other_programs_have_taken_is_told_with_the_numbers(
    make: Callable[..., LocalModels], folder: Path
) -> None:
    models = make()
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    models.want(Local(repo=str(folder)), reserve_gb=4096.0)
    told = models.facts("auto", enabled=True, messages=[user("Hello")])
    assert told.short_of_memory.endswith("are free of the 4096 GB of memory for other programs")


def test_a_model_that_is_begun_again_waits_for_no_room_of_the_one_beside_it(
    make: Callable[..., LocalModels], folder: Path, tmp_path: Path
) -> None:
    def no_room(name: str, _folder: Path, _context: int, _reserve_gb: float) -> None:
        if (tmp_path / "full").exists():
            raise ModelError(f"{name} needs about 9 GB of memory", hint="Close other programs")

    models = make(check_memory=no_room)
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    models.want(Local(repo="owner/name"), forbidden="Local mode fetches nothing")
    (tmp_path / "full").touch()
    (folder / "model.onnx").write_bytes(b"")
    models["local"].start()
    until(lambda: facts(models).local == "failed")
    models.retry()
    until(lambda: "bootstrap" not in [thread.name for thread in threading.enumerate()])
    assert "needs about 9 GB" in facts(models).stage


def test_the_same_settings_again_change_nothing(make: Callable[..., LocalModels], folder: Path) -> None:
    models = make()
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    starter, local = models["starter"], models["local"]
    models.want(Local(repo=str(folder)))
    models.want(Local(repo=str(folder)), forbidden="local mode")
    assert (models["starter"], models["local"]) == (starter, local)


def test_only_what_changed_is_ended(make: Callable[..., LocalModels], folder: Path) -> None:
    models = make()
    models.want(Local(repo=str(folder)))
    starter = models["starter"]
    models.want(STARTER_ONLY)
    assert dict(models) == {"starter": starter}
    models.want(replace(STARTER_ONLY, context=512))
    assert models["starter"] is not starter


def test_a_new_model_takes_over_between_two_answers(
    make: Callable[..., LocalModels], folder: Path, tmp_path: Path
) -> None:
    models = make()
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    old = models["local"]
    models.want(Local(repo=str(shutil.copytree(STARTER, tmp_path / "other"))))
    models.start()
    assert models["local"] is old
    until(lambda: ready(models))
    assert facts(models).local_name == "qwen"
    models.settle()
    assert facts(models).local_name == "other"
    until(lambda: old.pid is None)


def test_without_room_for_both_the_old_model_goes_first(
    make: Callable[..., LocalModels], folder: Path, tmp_path: Path
) -> None:
    models: LocalModels

    def no_room_for_two(name: str, _folder: Path, _context: int, _reserve_gb: float) -> None:
        if name == "other" and models.get("local") and models["local"].model == "qwen" and models["local"].pid:
            raise ModelError("other needs about 9 GB of memory", hint="Close other programs")

    models = make(check_memory=no_room_for_two)
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    old = models["local"]
    models.want(Local(repo=str(shutil.copytree(STARTER, tmp_path / "other"))))
    models.start()
    answer = old.reply([user("Hello")], Options(max_tokens=50, seed=1))
    next(answer)
    time.sleep(0.5)
    assert models["local"] is old
    assert finish_of(list(answer)).reason in ("stop", "length")
    until(lambda: models.settle() or models.state == Ready("other", "cpu"))
    assert facts(models).local_name == "other"
    assert old.pid is None


def test_another_model_is_wanted_while_one_waits_for_room(
    make: Callable[..., LocalModels], folder: Path, tmp_path: Path
) -> None:
    models = make(check_memory=no_room_for_large)
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    models.want(Local(repo=str(shutil.copytree(STARTER, tmp_path / "large"))))
    models.start()
    time.sleep(0.3)
    models.want(Local(repo=str(shutil.copytree(STARTER, tmp_path / "small"))))
    models.start()
    until(lambda: models.settle() or facts(models).local_name == "small")
    until(lambda: "bootstrap" not in [thread.name for thread in threading.enumerate()])


def test_a_model_that_does_not_fit_even_alone_is_told_when_the_old_one_has_gone(
    make: Callable[..., LocalModels], folder: Path, tmp_path: Path
) -> None:
    models = make(check_memory=no_room_for_large)
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: ready(models))
    models.want(Local(repo=str(shutil.copytree(STARTER, tmp_path / "large"))))
    models.start()
    until(lambda: models.settle() or isinstance(models.state, Failed))
    assert models.state == Failed("large", "large needs about 9 GB of memory", "Close other programs")


def test_a_model_that_does_not_fit_is_refused_and_the_starter_answers(
    make: Callable[..., LocalModels], folder: Path
) -> None:
    def no_room(_name: str, _folder: Path, _context: int, _reserve_gb: float) -> None:
        raise ModelError("qwen needs about 9 GB of memory", hint="Close other programs")

    models = make(check_memory=no_room)
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: isinstance(models.state, Failed))
    assert models.state == Failed("qwen", "qwen needs about 9 GB of memory", "Close other programs")
    assert models.answering(facts(models)).name == "starter"


def test_more_memory_to_leave_is_counted_at_the_next_try(make: Callable[..., LocalModels], folder: Path) -> None:
    def no_room(_name: str, _folder: Path, _context: int, reserve_gb: float) -> None:
        if reserve_gb > 1:
            raise ModelError("qwen needs about 9 GB of memory", hint="Close other programs")

    models = make(check_memory=no_room)
    models.want(Local(repo=str(folder)), reserve_gb=2.0)
    models.start()
    until(lambda: isinstance(models.state, Failed))
    models.want(Local(repo=str(folder)), reserve_gb=0.5)
    until(lambda: ready(models))
    at_work = models["local"]
    models.want(Local(repo=str(folder)), reserve_gb=2.0)
    assert models["local"] is at_work


def test_what_must_be_fetched_is_known_before(make: Callable[..., LocalModels], home: Home) -> None:
    small = home.models / "onnx-community--Qwen2.5-0.5B-Instruct@abc" / "prepared-1"
    small.mkdir(parents=True)
    (small / "prepared.json").write_text("{}")
    models = make()
    absent = {}
    for local in (Local(), Local(variant="coder"), Local(size="0.5b"), Local(size="1.5b"), Local(repo="owner/name")):
        models.want(local)
        absent[local.variant, local.size, local.repo] = models.absent
    assert absent == {
        ("instruct", "auto", ""): False,
        ("coder", "auto", ""): True,
        ("instruct", "0.5b", ""): False,
        ("instruct", "1.5b", ""): True,
        ("instruct", "auto", "owner/name"): True,
    }


def test_a_model_that_failed_is_told_with_its_cause(make: Callable[..., LocalModels], folder: Path) -> None:
    models = make()
    (folder / "model.onnx").unlink()
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: facts(models).local == "failed")
    assert "qwen cannot be loaded" in facts(models).stage
    assert models.answering(facts(models)).name == "starter"


def test_a_failure_can_be_tried_again(make: Callable[..., LocalModels], folder: Path) -> None:
    models = make()
    graph = folder / "model.onnx"
    kept = graph.read_bytes()
    graph.unlink()
    models.want(Local(repo=str(folder)))
    models.start()
    until(lambda: facts(models).local == "failed")
    graph.write_bytes(kept)
    models.retry()
    until(lambda: ready(models))


def test_what_cannot_run_here_is_refused_before_it_is_fetched(make: Callable[..., LocalModels]) -> None:
    def refuse(source: Source, _context: int, _reserve_gb: float) -> None:
        raise ModelError(f"{source.name} needs about 11 GB of memory", hint="shammah models use 3b takes a smaller one")

    models = make(check_before_fetch=refuse)
    models.want(Local(size="14b"))
    models.start()
    until(lambda: isinstance(models.state, Failed))

    assert models.state == Failed(
        "Qwen2.5-14B-Instruct",
        "Qwen2.5-14B-Instruct needs about 11 GB of memory",
        "shammah models use 3b takes a smaller one",
    )


def test_what_may_not_be_fetched_is_told_with_the_way_out(make: Callable[..., LocalModels]) -> None:
    models = make()
    models.want(Local(repo="owner/name"), forbidden="Local mode fetches nothing")
    models.start()
    until(lambda: isinstance(models.state, Failed))
    assert models.state == Failed("name", "name is not on this machine", "Local mode fetches nothing")


def test_where_models_may_not_run_none_is_there(make: Callable[..., LocalModels]) -> None:
    models = make()
    models.want(Local(enabled=False))
    assert len(models) == 0


def test_the_settings_tell_what_is_wanted(folder: Path) -> None:
    assert wanted(Local()) == Automatic("instruct")
    assert wanted(STARTER_ONLY) is None
    assert wanted(Local(repo="starter")) is None
    assert wanted(Local(repo="owner/name", file="onnx/model_q4.onnx")) == Source(
        "name", "owner/name", "onnx/model_q4.onnx"
    )
    assert wanted(Local(repo=str(folder))) == Folder("qwen", folder)
    small = wanted(Local(size="0.5b", variant="coder"))
    assert isinstance(small, Source)
    assert small.repo == "onnx-community/Qwen2.5-Coder-0.5B-Instruct"


@pytest.mark.parametrize("name", ["nowhere", "~no-such-user/model", "x" * 5000, "a\0b"])
def test_a_name_that_stands_for_no_model_is_told_with_a_way_out(name: str) -> None:
    with pytest.raises(ModelError, match="There is no model") as told:
        settings_for(name)
    assert told.value.hint


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model in"):
        settings_for(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "size", "repo"),
    [("starter", "starter", ""), ("1.5B", "1.5b", ""), ("auto", "auto", ""), ("owner/name", None, "owner/name")],
)
def test_a_name_becomes_settings(name: str, size: str | None, repo: str) -> None:
    found = settings_for(name)
    assert (found.get("local.size"), found["local.repo"]) == (size, repo)
