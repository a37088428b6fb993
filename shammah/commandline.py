"""The parser of the command line, which tells wrong usage in our two lines."""

from __future__ import annotations

import argparse
from typing import NoReturn

from shammah.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(message[:1].upper() + message[1:], hint=f"{self.prog} --help shows what there is")
