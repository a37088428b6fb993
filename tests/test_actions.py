"""What commands of the chat do where the system refuses; how they look on a terminal is in test_chat_pty.py."""

from __future__ import annotations

from typing import Any

import pytest

from shammah.errors import UsageError
from shammah.screen.actions import shell

UNUSED: Any = None


@pytest.mark.parametrize("command", ["echo " + "x" * 3_000_000, "echo a\0b"], ids=["too long", "zero byte"])
def test_a_command_that_the_system_does_not_take_is_told(command: str) -> None:
    with pytest.raises(UsageError, match="The command cannot be run: ") as told:
        shell(UNUSED, command)
    assert told.value.hint
