"""A keyboard on which a paste stays a paste, whatever bytes it holds."""

from __future__ import annotations

import sys
from itertools import groupby

from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

BURST = 0.05
"""Seconds: what follows a paste sooner than this was not typed by a person but belongs to the paste."""
_BLANKS = (Keys.ControlM, Keys.ControlJ, Keys.ControlI)
"""The ends of lines and Tab, as they are read of a paste without marks."""


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


def unmarked_pastes(presses: list[KeyPress]) -> list[KeyPress]:
    """Make a paste of a text with Enter in it that was read at once: no person types so fast.

    For consoles that mark no pastes, where the first line would be sent alone.
    """
    if not (any(_is_text(press) for press in presses) and any(press.key == Keys.ControlM for press in presses)):
        return presses
    made: list[KeyPress] = []
    for pasted, run in groupby(presses, lambda press: _is_text(press) or press.key in _BLANKS):
        keys = list(run)
        made += [KeyPress(Keys.BracketedPaste, "".join(press.data for press in keys))] if pasted else keys
    return made


def _is_text(press: KeyPress) -> bool:
    return not isinstance(press.key, Keys)


if sys.platform == "win32":

    def create_keyboard() -> Input:
        """The terminal's input for prompt_toolkit."""
        from prompt_toolkit.eventloop.win32 import wait_for_handles
        from prompt_toolkit.input.win32 import Win32Input

        class Keyboard(Win32Input):
            def read_keys(self) -> list[KeyPress]:
                presses = merge_pastes(unmarked_pastes(super().read_keys()), False)
                while presses and presses[-1].key == Keys.BracketedPaste and self._goes_on():
                    more = super().read_keys()
                    if not more:  # Keys that were let go, or the mouse.
                        break
                    presses += merge_pastes(more, True)
                return presses

            def _goes_on(self) -> bool:
                return wait_for_handles([self.handle], timeout=int(BURST * 1000)) is not None

        return Keyboard(sys.stdin)

else:

    def create_keyboard() -> Input:
        """The terminal's input for prompt_toolkit."""
        import select

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
