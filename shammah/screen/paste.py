"""A keyboard on which a paste stays a paste, whatever bytes it holds."""

from __future__ import annotations

import os

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


def create_keyboard() -> Input:
    """The terminal's input for prompt_toolkit."""
    if os.name == "nt":
        return create_input()  # The console reader of Windows tells pastes by itself.

    import select
    import sys

    from prompt_toolkit.input.vt100 import Vt100Input

    class Keyboard(Vt100Input):
        def read_keys(self) -> list[KeyPress]:
            presses = merge_pastes(super().read_keys(), False)
            # Read on here and at once: painting a long paste takes longer than a burst may pause.
            while presses and presses[-1].key == Keys.BracketedPaste and not self.closed and self._goes_on():
                presses += merge_pastes(super().read_keys(), True)
            return presses

        def _goes_on(self) -> bool:
            return bool(select.select([self.fileno()], [], [], BURST)[0])

    return Keyboard(sys.stdin)
