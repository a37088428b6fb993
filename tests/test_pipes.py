"""Processes that talk over pipes: which Python runs them, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys

from shammah.environment import worker_environment
from shammah.pipes import command, spawn

LISTENER = """
import os, queue, stat
from shammah.pipes import listen

heard = queue.SimpleQueue()
listen(bytes, heard.put)
print(heard.get(), stat.S_ISCHR(os.fstat(0).st_mode), flush=True)
heard.get()
"""


def python(program: str) -> subprocess.Popen[bytes]:
    """A program of its own in the Python that runs the worker and the loader."""
    return spawn((command("")[0], "-c", program), worker_environment(), subprocess.DEVNULL)


def test_a_child_has_the_number_of_its_process_and_the_packages_of_this_one() -> None:
    with python("import os, sys; print([os.getpid(), sys.prefix, sys.executable])") as child:
        said, _ = child.communicate()
    assert said.decode().strip() == str([child.pid, sys.prefix, sys.executable])


def test_who_listens_leaves_its_standard_input_to_nobody() -> None:
    with python(LISTENER) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"one\n")
        child.stdin.flush()
        assert child.stdout.readline().split() == [rb"b'one\n'", b"True"]


def test_who_listens_ends_with_its_input() -> None:
    with python(LISTENER) as child:
        assert child.communicate(b"")[0] == b""
    assert child.returncode == 0
