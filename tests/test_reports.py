"""What the commands show, as rows of a name and a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from shammah.cli import run
from shammah.errors import UsageError
from shammah.screen.commands import find
from shammah.screen.rows import columns


@pytest.mark.parametrize("width", [24, 80])
def test_a_text_without_a_name_stands_at_the_edge(width: int) -> None:
    assert columns([("", "Nothing was found.")], width) == ["Nothing was found."]


def test_on_a_narrow_screen_a_text_goes_below_its_name_and_no_empty_line_stands_for_one() -> None:
    rows = [("local.enabled", "Run models here"), ("", "/set shows all")]
    assert columns(rows, 30) == ["local.enabled", "    Run models here", "    /set shows all"]


def test_the_name_of_a_package_is_not_broken_at_its_hyphens() -> None:
    lines = columns([("cuda", "not there: onnxruntime-genai-cuda is missing")], 40)
    assert any("onnxruntime-genai-cuda" in line for line in lines)


@pytest.mark.parametrize("line", ["/", "//", "/!"])
def test_signs_alone_are_no_slip_in_a_command_and_are_led_to_the_help(line: str) -> None:
    with pytest.raises(UsageError) as told:
        find(line)
    assert told.value.hint.startswith("/help shows all commands")


def test_a_model_that_is_chosen_but_not_here_is_told_with_what_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(tmp_path / "home"))
    assert run(["models", "use", "1.5b"]) == run(["models", "use", "starter"]) == 0
    chosen, absent, back = capsys.readouterr().out.splitlines()
    assert chosen.startswith("1.5b is the model from now on")
    assert absent == "Qwen2.5-1.5B-Instruct is not on this machine; shammah models pull 1.5b fetches it."
    assert back.startswith("starter is the model")


def test_the_list_of_models_tells_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(tmp_path / "home"))
    assert run(["models", "list"]) == 0
    *models, how = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Qwen2.5-1.5B-Instruct ") for line in models)
    assert "shammah models pull 1.5b" in how
