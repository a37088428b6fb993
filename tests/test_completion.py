"""What Tab offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from shammah.attachments import named_files
from shammah.screen.completion import ChatCompleter


def offered(text: str) -> list[str]:
    completer = ChatCompleter(lambda: ["k3f9tx"])
    return [completion.text for completion in completer.get_completions(Document(text), CompleteEvent())]


def test_a_slash_offers_commands() -> None:
    assert offered("/sta") == ["/status"]
    assert set(offered("/s")) >= {"/save", "/search", "/sessions", "/set", "/setup", "/status", "/system"}


def test_arguments_are_offered_by_their_kind() -> None:
    assert offered("/set chat.m") == ["chat.markdown"]
    assert offered("/set chat.markdown f") == ["false"]
    assert offered("/resume k") == ["k3f9tx"]
    assert offered("/model s") == ["starter"]
    assert offered("/help /un") == ["/undo"]
    assert offered("/retry c") == offered("/continue c") == ["cloud"]
    assert offered("/export js") == ["json"]
    assert offered("/set no.such t") == []


@pytest.mark.parametrize("before", ["/file ", "/save ", "see @", "!cat "])
def test_paths_are_offered_where_a_file_is_named(before: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    assert offered(f"{before}{tmp_path}/no") == ["tes.txt"]


@pytest.mark.parametrize("start", ["@{}/my", '@"{}/my', '@"{}/my fi'])
def test_a_path_with_a_blank_is_offered_in_quotes_as_it_is_read(start: str, tmp_path: Path) -> None:
    (tmp_path / "my file.txt").write_text("x", encoding="utf-8")
    assert offered(f"see {start.format(tmp_path)}") == [f'@"{tmp_path}/my file.txt"']
    assert [file.text for file in named_files(f'see @"{tmp_path}/my file.txt"')] == ["x"]


@pytest.mark.parametrize("text", ["", "hello", "hello wor", "/undo x"])
def test_an_ordinary_question_offers_nothing(text: str) -> None:
    assert offered(text) == []
