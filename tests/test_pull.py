"""How far a download is, as `shammah models pull` tells it."""

from __future__ import annotations

import io

import pytest

from shammah.models.protocol import Downloading
from shammah.pull import Progress


class Screen(io.StringIO):
    """A terminal that keeps what is written on it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Screen()], ids=["a file", "a terminal of lines"])
def test_where_no_line_can_change_there_are_no_codes(out: io.StringIO) -> None:
    Progress("model", out, "dumb")(Downloading(1_000_000, 5_000_000))
    assert out.getvalue() == "1.0 of 5.0 MB\n"
