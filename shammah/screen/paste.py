"""A keyboard on which a paste stays a paste, whatever bytes it holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

BURST = 0.05
"""Seconds: what follows a paste sooner than this was not typed by a person but belongs to the paste."""


def merge_pastes(presses: list[KeyPress], in_paste: bool) -> list[KeyPress]:
    """Make one paste of a paste and all that follows it; `in_paste` if a paste has just gone before.

    A text may hold the sequence that ends a paste: what comes after it would be taken for keys, Enter among them.
    """
    merged: list[KeyPress] = []
    for press in presses:
        if press.key == Keys.BracketedPaste or in_paste:
            in_paste = True
            merged.append(KeyPress(Keys.BracketedPaste, press.data))
        else:
            merged.append(press)
    return merged


def create_keyboard(clock: Callable[[], float] = time.monotonic) -> Input:
    """The terminal's input for prompt_toolkit."""
    if os.name == "nt":
        return create_input()  # The console reader of Windows tells pastes by itself.

    import sys

    from prompt_toolkit.input.vt100 import Vt100Input

    class Keyboard(Vt100Input):
        _pasted = -BURST

        def read_keys(self) -> list[KeyPress]:
            presses = merge_pastes(super().read_keys(), clock() - self._pasted < BURST)
            if any(press.key == Keys.BracketedPaste for press in presses):
                self._pasted = clock()
            return presses

    return Keyboard(sys.stdin)
