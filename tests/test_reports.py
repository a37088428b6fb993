"""What the commands show, as rows of a name and a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from shammah.cli import run
from shammah.config import Config, Local
from shammah.errors import UsageError
from shammah.paths import Home
from shammah.screen.catalogue import catalogue
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
    assert chosen.startswith("1.5b is the model from now on, that is Qwen2.5-1.5B-Instruct; ")
    assert absent == "Qwen2.5-1.5B-Instruct is not on this machine; shammah models pull 1.5b fetches it."
    assert back.startswith("starter is the model")


@pytest.fixture
def models(home: Home) -> Path:
    """A folder of models with 1.5b and another in it, on a machine whose memory is known."""
    for name in ("onnx-community--Qwen2.5-1.5B-Instruct", "owner--name"):
        folder = home.models / f"{name}@0123456789ab" / "prepared-x-r1"
        folder.mkdir(parents=True)
        (folder / "prepared.json").write_text("{}")
        (folder / "model.data").write_bytes(b"x" * 2_000_000)
    (home.models / "machine.json").write_text('{"bytes_per_s": 24e9}')
    return home.models


def row(lines: Sequence[str], name: str) -> str:
    return next(line for line in lines if line.startswith(f"{name}  "))


def test_the_list_has_a_line_for_each_model_by_the_name_to_type(models: Path) -> None:
    lines = catalogue(models, Config(), 80)
    assert max(map(len, lines)) <= 80
    assert row(lines, "0.5b").split()[:5] == ["0.5b", "483", "MB", "850", "MB"]
    assert "is here" in row(lines, "1.5b")
    assert row(lines, "1.5b").endswith("2 MB on this disk")
    assert row(lines, "owner/name") == "owner/name  2 MB on this disk"
    assert row(lines, "3b coder").endswith("research only")


def test_the_list_tells_once_what_holds_for_all(models: Path) -> None:
    text = " ".join(catalogue(models, Config(), 80))
    for said in ("Apache-2.0", "Qwen Research", "A chat wants 8 tokens/s", "shammah models pull 1.5b fetches one"):
        assert text.count(said) == 1


def test_on_a_narrow_screen_the_verdict_goes_below_its_model(models: Path) -> None:
    lines = catalogue(models, Config(), 50)
    assert max(map(len, lines)) <= 50
    assert lines[lines.index(row(lines, "3b coder")) + 1].startswith("    ")


def test_the_names_in_the_list_mean_the_same_where_the_settings_say_coder(models: Path) -> None:
    config = Config(local=Local(variant="coder"))
    shown = [line.split("  ")[0] for line in catalogue(models, config, 80)]
    assert {"1.5b", "1.5b coder"} <= set(shown)


def test_the_list_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(tmp_path / "home"))
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out.startswith("name ")
