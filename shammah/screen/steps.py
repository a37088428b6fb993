"""What the loop does after a line: ask, let the person edit, or leave."""

from __future__ import annotations

from dataclasses import dataclass

from shammah.session import Question


@dataclass(frozen=True)
class Ask:
    """Ask this question."""

    question: Question


@dataclass(frozen=True)
class Edit:
    """Let the person edit this, in their editor if `in_editor`."""

    text: str = ""
    in_editor: bool = False


@dataclass(frozen=True)
class Leave:
    """End the chat."""


Step = Ask | Edit | Leave
