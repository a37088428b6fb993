"""Files that are put in the place of others: whole, whoever else writes them, and whatever killed the last writer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from shammah.files import LEFT_S, replace

ROOT = Path(__file__).resolve().parent.parent
WRITER = """
import sys
from pathlib import Path
from shammah.files import replace
for _ in range(100):
    replace(Path(sys.argv[1]), sys.argv[2].encode() * 10_000)
"""


def test_of_several_writers_at_once_all_succeed_and_the_file_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    writers = [subprocess.Popen([*command, letter], cwd=ROOT) for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4

    assert (tmp_path / "file").read_bytes() in [letter * 10_000 for letter in (b"a", b"b", b"c", b"d")]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_goes_and_what_another_is_writing_stays(tmp_path: Path) -> None:
    left, others = tmp_path / ".file.new-1", tmp_path / ".file.new-2"
    for path in (left, others):
        path.touch()
    before = time.time() - LEFT_S - 1
    os.utime(left, (before, before))

    replace(tmp_path / "file", b"new")

    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "file"]
