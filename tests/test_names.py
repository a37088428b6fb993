"""How a model is named: as people type a size, the same wherever a name is read; and what is told where it is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shammah.app import overrides
from shammah.cli import run
from shammah.commandline import parse
from shammah.config import Local, load
from shammah.errors import ModelError
from shammah.models.names import Name, read, suggestions
from shammah.models.wanted import Automatic, Folder, Source, licence_remark, named, settings_for, wanted
from shammah.paths import STARTER, Home

CODER = Source("Qwen2.5-Coder-1.5B-Instruct", "onnx-community/Qwen2.5-Coder-1.5B-Instruct")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("1.5b", Name("1.5b")),
        ("1.5B", Name("1.5b")),
        ("1,5b", Name("1.5b")),
        ("qwen2.5 1.5b", Name("1.5b")),
        ("Qwen 2.5 1.5b", Name("1.5b")),
        ("qwen2.5:1.5b", Name("1.5b")),
        ("1.5b coder", Name("1.5b", "coder")),
        ("1.5b code", Name("1.5b", "coder")),
        ("coder 1.5b", Name("1.5b", "coder")),
        ("coder-1.5b", Name("1.5b", "coder")),
        ("qwen2.5-coder:1.5b", Name("1.5b", "coder")),
        ("Qwen2.5-Coder-1.5B-Instruct", Name("1.5b", "coder")),
        ("Qwen2.5-1.5B-Instruct", Name("1.5b", "instruct")),
        ("1.5b instruct", Name("1.5b", "instruct")),
        ("coder", Name("", "coder")),
        ("auto coder", Name("auto", "coder")),
        ("Auto", Name("auto")),
        ("Starter", Name("starter")),
    ],
)
def test_a_name_of_the_family_is_read_as_people_type_it(typed: str, meant: Name) -> None:
    assert read(typed) == meant


@pytest.mark.parametrize("typed", ["", "7", "1.5", "qwen", "qwen3 1.5b", "1.5b 3b", "owner/1.5b", "./1.5b", r".\1.5b"])
def test_what_is_no_name_of_the_family_is_left_to_others(typed: str) -> None:
    assert read(typed) is None


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("7", ["7b"]),
        ("1,5", ["1.5b"]),
        ("14 b", ["14b"]),
        ("2b", ["1.5b", "3b"]),
        ("2b coder", ["1.5b coder", "3b coder"]),
        ("32b", ["14b"]),
        ("1.5b codr", ["1.5b coder"]),
        ("startr", ["starter"]),
        ("big", []),
        ("9" * 400, []),
    ],
)
def test_of_a_wrong_name_the_nearest_right_ones_are_known(typed: str, near: list[str]) -> None:
    assert suggestions(typed) == near


def test_a_wrong_name_is_told_with_the_nearest_right_ones() -> None:
    with pytest.raises(ModelError, match="There is no model 2b") as told:
        settings_for("2b")
    assert told.value.hint == "Did you mean 1.5b or 3b?"


def test_every_reader_of_a_name_understands_the_same() -> None:
    for typed in ("1.5b coder", "coder-1.5b", "Qwen2.5-Coder-1.5B-Instruct"):
        settings = {"local.repo": "", "local.size": "1.5b", "local.variant": "coder"}
        assert named(typed) == wanted(Local(repo=typed)) == CODER
        assert settings_for(typed) == overrides(parse(["-m", typed])) == settings


def test_a_size_alone_is_the_model_for_any_question_whatever_was_chosen_before() -> None:
    assert settings_for("1.5b") == {"local.repo": "", "local.size": "1.5b", "local.variant": "instruct"}
    assert settings_for("starter") == settings_for("starter coder") == {"local.repo": "", "local.size": "starter"}
    assert wanted(Local(size="1.5b", variant="coder")) == CODER


def test_a_variant_alone_is_the_largest_of_it_that_fits() -> None:
    assert named("coder") == Automatic("coder")
    assert settings_for("coder")["local.size"] == "auto"
    assert named("starter") is None


def test_quotes_around_a_name_say_nothing() -> None:
    assert named(f'"{STARTER}"') == Folder(STARTER.name, STARTER)
    assert named("'1.5b coder'") == CODER
    assert settings_for('"1.5b coder"') == settings_for("1.5b coder")


def test_the_licence_is_told_of_the_model_that_is_meant() -> None:
    assert licence_remark("coder 3b").startswith("The licence of Qwen2.5-Coder-3B-Instruct: Qwen Research")
    assert licence_remark("1.5b coder") == licence_remark("owner/name") == ""


def test_a_folder_with_a_model_goes_before_the_family_but_not_before_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Qwen2.5-1.5B-Instruct", "1.5b"):
        shutil.copytree(STARTER, tmp_path / name)
    (tmp_path / "coder").mkdir()
    assert named("Qwen2.5-1.5B-Instruct") == Folder("Qwen2.5-1.5B-Instruct", tmp_path / "Qwen2.5-1.5B-Instruct")
    assert isinstance(named("1.5b"), Source)
    assert named("coder") == Automatic("coder")


@pytest.mark.parametrize("words", [["1.5b", "coder"], ["1.5b coder"], ["coder-1.5b"]])
def test_a_name_of_two_words_needs_no_quotes(
    words: list[str], home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(home.folder))
    assert run(["models", "use", *words]) == 0
    local = load(home.config).local
    assert (local.size, local.variant) == ("1.5b", "coder")
    assert "that is Qwen2.5-Coder-1.5B-Instruct; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (["pull", "starter"], "The starter is inside the package"),
        (["remove", "starter"], "starter is no model that can be deleted"),
        (["remove", "coder"], "coder is no model that can be deleted"),
        (["remove", "2b"], "There is no model 2b"),
        (["pull", "1.5b", "3b"], "There is no model 1.5b 3b"),
    ],
)
def test_a_name_that_cannot_be_pulled_or_removed_is_told(
    call: list[str], error: str, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(home.folder))
    assert run(["models", *call]) != 0
    assert f"error: {error}" in capsys.readouterr().err


def test_a_variant_alone_is_pulled_as_the_largest_of_it_that_fits(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAMMAH_HOME", str(home.folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    home.models.mkdir(parents=True)
    (home.models / "machine.json").write_text('{"bytes_per_s": 24e9}')
    assert run(["models", "pull", "coder"]) == 1
    assert "Qwen2.5-Coder-" in capsys.readouterr().err
