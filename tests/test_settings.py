"""A running chat takes an edited config.toml up, and lives with a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shammah.config import Config, set_value
from shammah.errors import ConfigError
from shammah.settings import Settings, Watch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_an_edit_from_elsewhere_counts_at_the_next_question(path: Path) -> None:
    settings = Settings(path)
    assert settings.current() == Config()
    set_value(path, "local.threads", "3")
    assert settings.current().local.threads == 3
    path.unlink()
    assert settings.current() == Config()


def test_a_broken_file_is_told_once_and_the_last_good_settings_stay(path: Path) -> None:
    settings = Settings(path)
    settings.set("local.threads", "3")
    path.write_text("[local\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        settings.current()
    assert settings.current().local.threads == 3
    path.write_text("[local]\nthreads = 4\n", encoding="utf-8")
    assert settings.current().local.threads == 4


def test_a_setting_changed_here_counts_at_once(path: Path) -> None:
    settings = Settings(path)
    assert settings.set("chat.markdown", "off").chat.markdown is False
    assert settings.current().chat.markdown is False
    assert settings.set("chat.markdown", "default").chat.markdown is True


def test_what_the_command_line_set_wins_over_the_file_until_it_is_set_here(path: Path) -> None:
    settings = Settings(path, {"local.threads": 8})
    set_value(path, "local.threads", "3")
    assert settings.current().local.threads == 8
    settings.set("local.size", "7b")
    assert settings.current().local.threads == 8
    settings.set("local.threads", "2")
    assert settings.current().local.threads == 2


def test_a_wrong_value_on_the_command_line_is_told(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"generation\.temperature must be from 0 to 2, not 9"):
        Settings(path, {"generation.temperature": 9.0})


def test_the_watch_sees_a_file_come_change_and_go(path: Path) -> None:
    watch = Watch(path)
    assert watch.changed()
    assert not watch.changed()
    path.touch()
    assert watch.changed()
    path.write_text("x", encoding="utf-8")
    assert watch.changed()
    path.unlink()
    assert watch.changed()
    assert not watch.changed()


def test_what_a_good_file_said_is_known_while_it_is_broken(path: Path) -> None:
    settings = Settings(path)
    path.write_text('local = { size = "auto" }\n[chat]\nmarkdown = true\n')
    settings.current()
    assert settings.says("local.size")
    assert settings.says("chat.markdown")
    assert not settings.says("local.fetch")
    path.write_bytes(b"[local\xff\n")
    with pytest.raises(ConfigError):
        settings.current()
    assert settings.says("local.size")
    path.unlink()
    settings.current()
    assert not settings.says("local.size")
