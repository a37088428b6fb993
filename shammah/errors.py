"""What can go wrong that a person can act on: a message, and a hint that names the next step.

ShammahError
├── UsageError        the command line or a slash command is not understood
├── ConfigError       a setting, or the file it stands in
├── HistoryError      the database of conversations
├── HubError          the hub, or what it sent, cannot be used
└── EngineError       an engine could not answer
    ├── ModelError    the model's files cannot be used
    ├── WorkerError   the model worker died, hung or ran out of memory
    └── CloudError    Claude could not be asked, or did not answer
"""

from __future__ import annotations

from typing import Literal


class ShammahError(Exception):
    """The root: `str(error)` says what is wrong with the value, `error.hint` what to do next."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ShammahError):
    """The command line or a slash command is not understood."""


class ConfigError(ShammahError):
    """A setting is unknown or has a wrong value, or config.toml cannot be read or written."""


class HistoryError(ShammahError):
    """The database of conversations cannot be opened, read or written."""


class HubError(ShammahError):
    """A model cannot be fetched; `retryable` tells whether the same try may work later."""

    def __init__(self, message: str, *, hint: str, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class EngineError(ShammahError):
    """An engine could not answer."""


class ModelError(EngineError):
    """The model's files are missing or cannot be used."""


class WorkerError(EngineError):
    """The model worker died, hung or ran out of memory."""


CloudTrouble = Literal[
    "key", "credit", "budget", "model", "too long", "refused", "limit", "overloaded", "offline", "other"
]
"""What is in the way: the key is missing or wrong, no credit is left, the daily budget is spent, the model is unknown,
the conversation is too long, the request or the answer is refused, too many requests came, their servers are busy or
failing, they cannot be reached, anything else."""


class CloudError(EngineError):
    """Claude could not be asked, or did not answer; `trouble` tells the router what kind of thing is in the way."""

    def __init__(self, message: str, *, hint: str, trouble: CloudTrouble = "other") -> None:
        super().__init__(message, hint=hint)
        self.trouble = trouble
