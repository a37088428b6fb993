"""An edit of config.toml while the chat runs: taken up at the next question, or refused and the old one goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("these tests drive a POSIX terminal", allow_module_level=True)

from tests.servers.claude import KEY, Claude
from tests.servers.hub import Hub
from tests.terminal import Terminal, terminal

EXPORT = Path(__file__).parent / "data" / "tiny_export"
SHORT = 'generation = { max_tokens = 4, seed = 1 }\nrouting = { mode = "auto", reserve_ram_gb = 0 }\n'
STARTER = 'local = { size = "starter" }\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home where the starter answers in few words."""
    (tmp_path / "home").mkdir()
    edit(tmp_path / "home", SHORT + STARTER)
    return tmp_path / "home"


@pytest.fixture
def chat(home: Path) -> Iterator[Terminal]:
    """A chat that is ready."""
    with terminal(home, columns=120) as talk:
        talk.wait_ready()
        yield talk


@pytest.fixture
def other(tmp_path: Path, starter: Path) -> Path:
    """Another folder with a model that can be loaded."""
    shutil.copytree(starter, tmp_path / "other")
    return tmp_path / "other"


def edit(home: Path, text: str) -> None:
    """Save config.toml as an editor does, over the file before."""
    new = home / "config.new"
    new.write_text(text)
    new.replace(home / "config.toml")


def local(**settings: object) -> str:
    """The file with these settings of local."""
    return SHORT + f"local = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in settings.items())} }}\n"


def until_answers(chat: Terminal, who: str, seconds: float = 240) -> None:
    """Wait until the bottom line names who answers."""
    chat.wait_for(f"{who} answers · ready", seconds)
    chat.until(lambda: chat.at_prompt, "no prompt")


def bottom(chat: Terminal) -> str:
    """The bottom line."""
    chat.until(lambda: chat.at_prompt, "no prompt")
    return chat.display.splitlines()[-1]


# Taken up


def test_a_model_that_is_not_here_and_may_not_be_fetched_is_told_with_the_way_out(chat: Terminal) -> None:
    chat.ask("/set local.fetch false")
    shown = " ".join(chat.ask("/model 1.5b").split())
    assert "It is not on this machine. Fetching is off: /set local.fetch true allows it, or run shammah" in shown


def test_a_folder_takes_over_once_it_is_loaded(chat: Terminal, home: Path, other: Path) -> None:
    edit(home, local(repo=str(other)))
    assert "starter ·" in chat.ask("who answers?")
    until_answers(chat, "other")
    assert "local other" in chat.ask("who answers?")
    edit(home, SHORT + STARTER)
    assert "starter ·" in chat.ask("and now?")


def test_an_export_is_prepared_first_while_the_starter_answers(chat: Terminal, home: Path) -> None:
    edit(home, local(repo=str(EXPORT)))
    assert "starter ·" in chat.ask("who answers?")
    until_answers(chat, EXPORT.name)
    assert f"local {EXPORT.name}" in chat.ask("who answers?")


def test_another_size_is_looked_for_on_the_hub_and_what_fails_is_told(tmp_path: Path, home: Path) -> None:
    (tmp_path / "hub").mkdir()
    with Hub(tmp_path / "hub") as hub:
        more = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": ""}
        with terminal(home, columns=120, environment=more) as chat:
            chat.wait_ready()
            edit(home, local(size="0.5b"))
            chat.pump(0.5)
            assert not hub.asked
            assert "starter ·" in chat.ask("who answers?")
            chat.until(lambda: bool(hub.asked), "the hub is not asked")
            chat.until(lambda: "0.5B failed:" in chat.ask("/status"), "nothing is said of it")


def test_without_fetching_another_size_asks_nobody(tmp_path: Path, home: Path) -> None:
    (tmp_path / "hub").mkdir()
    with Hub(tmp_path / "hub") as hub:
        more = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": ""}
        with terminal(home, columns=120, environment=more) as chat:
            chat.wait_ready()
            edit(home, local(size="0.5b", fetch=False))
            chat.ask("who answers?")
            chat.wait_for("0.5B is not on this machine")
            assert "shammah models pull" in chat.ask("/status")
            assert not hub.asked


def test_another_backend_loads_the_model_anew(home: Path, other: Path) -> None:
    edit(home, local(repo=str(other)))
    with terminal(home, columns=120) as chat:
        until_answers(chat, "other")
        before = chat.answering_worker()
        edit(home, local(repo=str(other), backend="cpu"))
        chat.ask("who answers?")
        chat.until(lambda: before not in [worker.pid for worker in chat.workers()], "the old one goes on")
        until_answers(chat, "other")
        assert chat.answering_worker() != before


def test_the_later_of_both_modes_counts(chat: Terminal, home: Path) -> None:
    chat.ask("/local")
    edit(home, SHORT.replace("auto", "ask") + STARTER)
    chat.ask("one")
    assert "· ask" in bottom(chat)
    chat.ask("/local")
    edit(home, SHORT.replace("auto", "ask") + STARTER + "# nothing new\n")
    chat.ask("two")
    assert "· local" in bottom(chat)


def test_the_model_at_claude_and_the_system_prompt_are_those_of_the_file(home: Path) -> None:
    settings = SHORT.replace('"auto"', '"cloud"') + STARTER
    with Claude() as claude:
        edit(home, settings)
        more = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.url}
        with terminal(home, columns=120, environment=more) as chat:
            chat.wait_for("claude-sonnet-5-5 answers")
            chat.ask("one", 60)
            edit(home, settings + 'cloud = { model = "claude-haiku-4-5" }\nchat = { system = "Be brief." }\n')
            chat.ask("two")
        before, after = (asked.body for asked in claude.questions)
    assert (before["model"], after["model"]) == ("claude-sonnet-5-5", "claude-haiku-4-5")
    assert "Be brief." not in json.dumps(before)
    assert "Be brief." in json.dumps(after["system"])


def test_a_system_prompt_of_this_conversation_stays(chat: Terminal, home: Path) -> None:
    chat.ask("/system Answer in rhymes.")
    edit(home, SHORT + STARTER + 'chat = { system = "Be brief." }\n')
    chat.ask("one")
    assert "Answer in rhymes." in chat.ask("/system")
    chat.ask("/new")
    assert "Be brief." in chat.ask("/system")


# Refused


@pytest.mark.parametrize(
    ("line", "told", "hint"),
    [
        ('local = { backend = "gpu" }', "local.backend must be one of", "hint:"),
        ('local = { size = "2b" }', "local.size must be one of", "Did you mean"),
        ('routing = { mod = "local" }', "routing.mod", "Did you mean routing.mode?"),
        ("cloud = { model = 5 }", "cloud.model must be text in quotes", "For example"),
        ('local = { repo = "/nowhere/at/all" }', "local.repo", "Name one of starter"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line_and_the_old_settings_go_on(
    chat: Terminal, home: Path, line: str, told: str, hint: str
) -> None:
    edit(home, f"# first line\n{line}\n")
    shown = plain(chat.ask("does it still answer?"))
    assert told in shown
    assert "config.toml line 2" in shown
    assert hint in shown
    assert re.search(r"starter · \d+ tokens", shown)
    assert "error: " not in plain(chat.ask("and without a word?"))


def test_a_wrong_name_in_the_file_leaves_the_model_that_is_there(home: Path, other: Path) -> None:
    edit(home, local(repo=str(other)))
    with terminal(home, columns=120) as chat:
        until_answers(chat, "other")
        edit(home, local(repo="/nowhere/at/all"))
        assert "local other" in chat.ask("who answers?")
        edit(home, local(repo=str(other)))
        assert "local other" in chat.ask("and now?")


def plain(text: str) -> str:
    """What was written, on one line, without its escape codes."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split())
