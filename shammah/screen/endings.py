"""How a command of the shell ended, in words."""

from __future__ import annotations

import signal

_CONTROL_C_EXIT = 0xC000013A
"""The status of a program that Ctrl-C ended on Windows."""


def how_it_ended(status: int) -> str:
    """What to tell of an exit status as subprocess gives it: negative, or above 128 from a shell, for a signal.

    >>> how_it_ended(3)
    'It ended with status 3.'
    >>> how_it_ended(-2)
    'It was stopped with Ctrl-C.'
    >>> how_it_ended(0xC000013A)
    'It was stopped with Ctrl-C.'
    """
    if status == _CONTROL_C_EXIT:
        return "It was stopped with Ctrl-C."
    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"It ended with status {status}."
    if name == "SIGINT":
        return "It was stopped with Ctrl-C."
    return f"It was ended by {name}."
