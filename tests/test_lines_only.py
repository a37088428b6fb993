"""Which terminals get plain lines, since they cannot move their cursor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shammah.screen.terminal import knows_lines_only

WITHOUT_CURSES = """
import sys
sys.modules["_curses"] = None
from shammah.screen.terminal import knows_lines_only
print(knows_lines_only("xterm"), knows_lines_only("dumb"))
"""


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_says_so_gets_lines(term: str) -> None:
    assert knows_lines_only(term)


def test_a_python_without_curses_knows_by_the_name_only() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", WITHOUT_CURSES], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")
