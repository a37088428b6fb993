"""What shammah takes from the environment, and what the model worker is given of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shammah.environment import read, worker_environment


@pytest.mark.parametrize("value", [None, "", "  "])
def test_the_home_is_in_the_users_folder_unless_it_is_set(value: str | None) -> None:
    found = read({} if value is None else {"SHAMMAH_HOME": value})
    assert found.home == Path.home() / ".shammah"


def test_a_tilde_and_a_relative_home_are_made_whole() -> None:
    assert read({"SHAMMAH_HOME": "~/x"}).home == Path.home() / "x"
    assert read({"SHAMMAH_HOME": "x"}).home == Path.cwd() / "x"


def test_no_color_counts_whatever_it_holds_and_empty_is_not_set() -> None:
    assert read({"NO_COLOR": "0"}).no_color
    assert not read({"NO_COLOR": ""}).no_color


@pytest.mark.parametrize(("value", "on"), [("1", True), ("true", True), ("0", False), ("", False), ("false", False)])
def test_a_switch_is_on_for_words_that_mean_yes(value: str, on: bool) -> None:
    assert read({"HF_HUB_OFFLINE": value}).hf_offline == on


def test_addresses_have_defaults_and_lose_their_last_slash() -> None:
    assert read({"HF_ENDPOINT": ""}).hf_endpoint == "https://huggingface.co"
    assert read({"HF_ENDPOINT": "http://127.0.0.1:9/"}).hf_endpoint == "http://127.0.0.1:9"
    assert read({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/"}).anthropic_base_url == "http://127.0.0.1:9"


def test_visual_comes_before_editor() -> None:
    assert read({"EDITOR": "ed", "VISUAL": "vi"}).editor == "vi"
    assert read({"EDITOR": "ed", "VISUAL": ""}).editor == "ed"


def test_keys_do_not_show_when_the_environment_is_printed() -> None:
    found = read({"ANTHROPIC_API_KEY": "canary-1", "HF_TOKEN": "canary-2"})
    assert (found.anthropic_key, found.hf_token) == ("canary-1", "canary-2")
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_CUSTOM_HEADERS",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "Client_Secret",
    ],
)
def test_the_worker_gets_no_secret(name: str) -> None:
    assert name not in worker_environment({name: "canary"})


def test_the_worker_gets_no_address_with_a_password_in_it() -> None:
    given = {"HTTPS_PROXY": "http://me:canary@proxy:80", "NO_PROXY": "localhost", "HTTP_PROXY": "http://proxy:80"}
    assert "canary" not in str(worker_environment(given))
    assert {"NO_PROXY", "HTTP_PROXY"} <= worker_environment(given).keys()


def test_the_worker_keeps_the_rest_and_calls_nobody() -> None:
    given = worker_environment({"PATH": "/bin", "DO_NOT_TRACK": "0", "TOKENIZERS_PARALLELISM": "true"})
    assert given["PATH"] == "/bin"
    assert {given[name] for name in ("DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")} == {"1"}
    assert given["TOKENIZERS_PARALLELISM"] == "false"
    assert given["PYTHONUTF8"] == "1"
