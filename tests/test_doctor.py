"""Whether the hub answers, as /doctor tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shammah.screen.doctor import findings
from tests.servers.hub import Hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that holds nothing."""
    with Hub(tmp_path) as running:
        yield running


def told(folder: Path, endpoint: str) -> str:
    return dict(findings(folder, endpoint, folder, ""))["hub"]


def test_a_hub_that_answers_is_told(hub: Hub, tmp_path: Path) -> None:
    assert told(tmp_path, hub.url) == f"{hub.url} answers"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:1", "127.0.0.1:1 refuses the connection"),
        ("ftp://127.0.0.1", "leads to an address that is no web address"),
        ("nonsense", "leads to an address that is no web address"),
        ("", "not asked"),
    ],
)
def test_a_hub_that_does_not_answer_is_told_with_what_to_do(tmp_path: Path, endpoint: str, words: str) -> None:
    assert words in told(tmp_path, endpoint)
