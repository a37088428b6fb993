"""The keyboard while an answer runs: Ctrl-C stops it, all other keys wait for the next prompt."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from shammah.screen.person import Signals
from shammah.screen.terminal import PASTE_OFF, PASTE_ON

_STOP = {Keys.ControlC, Keys.SIGINT}
_ENTER = {Keys.ControlM, Keys.ControlJ}
_LOOK_EVERY = 0.02
"""Seconds between two looks for a key that is waited for."""


class Keyboard:
    """Reads keys without waiting for them; use inside `listening()`."""

    def __init__(self, keys: Input, signals: Signals) -> None:
        self._input = keys
        self._signals = signals
        self.take_interrupt = signals.take_interrupt
        self._waiting: list[KeyPress] = []

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the keyboard over: no echo, and a paste comes as one piece."""
        self._waiting = []
        with self._signals.ending_held(), self._input.raw_mode():
            _write(PASTE_ON)
            try:
                yield
            finally:
                _write(PASTE_OFF)
                self._keep()

    def stop_pressed(self) -> bool:
        """Whether Ctrl-C was pressed since the last call."""
        stop = self.take_interrupt()
        for press in self._input.read_keys():
            if press.key in _STOP:
                stop = True
            elif press.key == Keys.ControlZ:
                self._signals.pause()
            elif press.key != Keys.ControlD:
                self._waiting.append(press)
        return stop

    def choice(self, keys: str, ask: Callable[[], None]) -> str:
        """Ask, and wait for one of these keys; what was typed before the question was shown answers nothing.

        Raises:
            KeyboardInterrupt: the person presses Ctrl-C.
        """
        if self.stop_pressed():
            raise KeyboardInterrupt
        ask()
        while True:
            time.sleep(_LOOK_EVERY)
            if self.take_interrupt():
                raise KeyboardInterrupt
            for press in [*self._input.read_keys(), *self._input.flush_keys()]:
                if press.key in _STOP:
                    raise KeyboardInterrupt
                if press.key in _ENTER | {Keys.Escape, Keys.ControlD}:
                    return ""
                if press.data and press.data.lower() in keys:
                    return press.data.lower()

    def _keep(self) -> None:
        """Give the keys to the next prompt; Enter only starts a line there, so nothing is sent unseen."""
        self.stop_pressed()
        self._waiting += [press for press in self._input.flush_keys() if press.key not in _STOP]
        while self._waiting and self._waiting[-1].key in _ENTER:
            self._waiting.pop()
        lines = [KeyPress(Keys.ControlJ, "\n") if press.key in _ENTER else press for press in self._waiting]
        store_typeahead(self._input, lines)


def _write(sequence: str) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(sequence)
        sys.stdout.flush()
