"""From a bare home to a larger model that answers: a real chat in a terminal, a real loader, a hub on loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("these tests drive a POSIX terminal", allow_module_level=True)

from shammah.config import set_value
from shammah.models import catalog, store
from tests.servers.hub import Hub, Pace, Status
from tests.terminal import Terminal, terminal

EXPORT = Path(__file__).parent / "data" / "tiny_export"
SMALL = catalog.find("0.5b")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with two models of the family, each in small."""
    for model in (SMALL, catalog.find("1.5b")):
        shutil.copytree(EXPORT, tmp_path / "hub" / model.repo)
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models folder of a chat whose small model has become ready."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(EXPORT, folder / "hub" / SMALL.repo)
    with Hub(folder / "hub") as hub, chat(folder / "home", hub) as talk:
        until_ready(talk, SMALL.name)
    return folder / "home" / "models"


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    """A home in which the small model is on the disk."""
    settled(tmp_path / "home")
    shutil.copytree(models, tmp_path / "home" / "models")
    return tmp_path / "home"


def settled(home: Path) -> None:
    """Settings that want the small model and short answers."""
    home.mkdir(parents=True)
    set_value(home / "config.toml", "local.size", "0.5b")
    set_value(home / "config.toml", "generation.max_tokens", "12")
    set_value(home / "config.toml", "routing.reserve_ram_gb", "0")


def chat(home: Path, hub: Hub, *arguments: str) -> AbstractContextManager[Terminal]:
    """A chat that finds this hub."""
    if not home.exists():
        settled(home)
    return terminal(home, *arguments, columns=120, environment={"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": ""})


def until_ready(talk: Terminal, who: str) -> None:
    """Wait for download, preparation, check and loading, which take minutes where the machine is busy."""
    talk.wait_for(f"{who} answers · ready", seconds=240)


def test_from_a_bare_home_to_an_answer_of_the_larger_model(tmp_path: Path, hub: Hub) -> None:
    with chat(tmp_path / "home", hub) as talk:
        until_ready(talk, SMALL.name)
        talk.ask("what is the answer?")
        assert f"local {SMALL.name}" in talk.display
        assert "nothing sent" in talk.display
        talk.ask("/why")
        assert f"local, because {SMALL.name} is ready" in talk.display
    assert store.prepared(tmp_path / "home" / "models", SMALL.repo)
    assert not list((tmp_path / "home" / "models").rglob("download"))


def test_the_starter_answers_while_the_model_is_on_its_way(tmp_path: Path, hub: Hub) -> None:
    hub.faults["cdn"] = [Pace(20_000)]
    with chat(tmp_path / "home", hub) as talk:
        talk.wait_for("0.5B: 0 of 1 MB")
        talk.ask("how do I leave the chat?")
        talk.ask("/why")
        assert f"starter, because {SMALL.name} is still downloading" in talk.display


def test_a_second_start_needs_no_network(home: Path, hub: Hub) -> None:
    with chat(home, hub) as talk:
        until_ready(talk, SMALL.name)
    assert not hub.asked


def test_local_mode_asks_the_hub_nothing(tmp_path: Path, hub: Hub) -> None:
    with chat(tmp_path / "home", hub, "--local") as talk:
        talk.wait_for("is not on this machine")
        talk.ask("how do I leave the chat?")
    assert not hub.asked


def test_a_hub_that_refuses_is_told_and_can_be_asked_again(tmp_path: Path, hub: Hub) -> None:
    hub.faults["info"] = [Status(503)]
    hub.faults["tree"] = [Status(503)]
    with chat(tmp_path / "home", hub) as talk:
        talk.wait_for("0.5B failed:")
        hub.faults.clear()
        talk.ask("/model 0.5b")
        until_ready(talk, SMALL.name)


def test_another_model_takes_over_in_a_running_chat(home: Path, hub: Hub) -> None:
    with chat(home, hub) as talk:
        until_ready(talk, SMALL.name)
        talk.ask("what is the answer?")
        talk.ask("/model 1.5b")
        until_ready(talk, "Qwen2.5-1.5B-Instruct")
        talk.ask("and again?")
        assert "local Qwen2.5-1.5B-Instruct" in talk.display
