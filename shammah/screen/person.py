"""How the chat hears a person, on whatever terminal: a line at the prompt, a stop during an answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from shammah.screen.input_history import InputHistory


class LineReader(Protocol):
    """The prompt."""

    history: InputHistory

    def read(self, default: str = "", *, vi: bool = False, in_editor: bool = False) -> str:
        """The next input; EOFError where the person leaves."""
        ...


class Signals(Protocol):
    """What comes from the system and not as a key."""

    def take_interrupt(self) -> bool:
        """Whether an interrupt came since the last call."""
        ...

    def ending_held(self) -> AbstractContextManager[None]:
        """A time in which a signal that ends the process is an interrupt first."""
        ...

    def pause(self) -> None:
        """Stop the process as Ctrl-Z does; returns when it goes on."""
        ...


class Listener(Protocol):
    """The keyboard while an answer runs."""

    def listening(self) -> AbstractContextManager[None]:
        """The time of an answer."""
        ...

    def stop_pressed(self) -> bool:
        """Whether Ctrl-C was pressed since the last call."""
        ...

    def take_interrupt(self) -> bool:
        """Whether an interrupt came from outside since the last call."""
        ...

    def choice(self, keys: str, ask: Callable[[], None]) -> str:
        """Ask, and wait for one of these keys, inside `listening`; "" where the person wants none of them.

        What was typed before the question was shown answers nothing.

        Raises:
            KeyboardInterrupt: the person presses Ctrl-C.
        """
        ...
