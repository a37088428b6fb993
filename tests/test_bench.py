"""scripts/bench and scripts/promises in short: they measure and show, and when quick they leave the reports alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the scripts drive a terminal of POSIX", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
REPORTS = (ROOT / "docs" / "performance.md", ROOT / "docs" / "promises.md")


def _stamps() -> list[int]:
    return [report.stat().st_mtime_ns if report.exists() else 0 for report in REPORTS]


@pytest.fixture(scope="module")
def bench() -> str:
    """What a quick bench shows. It ends with status 1 on a machine that is too slow or busy for the aims."""
    before = _stamps()
    command = [sys.executable, str(ROOT / "scripts" / "bench"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert _stamps() == before
    return done.stdout


def test_a_quick_bench_measures_every_part(bench):
    for part in ("The start", "The starter", "Where the start goes", "Drawing an answer"):
        assert f"\n{part}\n" in bench


def test_the_chat_imports_nothing_that_only_the_worker_needs(bench):
    row = next(line for line in bench.splitlines() if "packages of the worker in the chat" in line)
    assert row.split()[7:] == ["none", "(aim", "none:", "held)"]


def test_the_chat_takes_at_most_60_megabytes(bench):
    rows = [line for line in bench.splitlines() if "memory of the chat" in line]
    assert len(rows) == 2 and all("held" in row for row in rows), rows


def test_quick_promises_are_shown_and_not_written():
    before = _stamps()
    command = [sys.executable, str(ROOT / "scripts" / "promises"), "--quick", "--only", "trial_config"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| 5 | a config save is all or nothing" in done.stdout
    assert ", quick, load " in done.stdout
    assert _stamps() == before
