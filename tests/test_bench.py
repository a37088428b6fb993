"""scripts/bench and scripts/promises in short: they measure and show, and when quick they leave the reports alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the scripts drive a terminal of POSIX", allow_module_level=True)

from shammah.loader.prepare.recipe import prepare

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


@pytest.fixture(scope="module")
def bench_of_a_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a quick bench shows of the tiny export and of what is prepared from it."""
    export, prepared = (tmp_path_factory.mktemp("bench") / name for name in ("tiny", "prepared"))
    shutil.copytree(ROOT / "tests" / "data" / "tiny_export", export)
    prepare(export, "onnx/model_q4f16.onnx", prepared, lambda _step, _share: None, 1)
    of_the_prepared = [part for name in ("first-word", "drafts", "settings") for part in (f"--{name}", str(prepared))]
    before = _stamps()
    only = ["--only", "huge pages", "--only", "slices"]
    script = str(ROOT / "scripts" / "bench")
    command = [sys.executable, script, "--quick", "--compare", str(export), *of_the_prepared, *only]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert _stamps() == before
    return done.stdout


@pytest.mark.parametrize(
    "part",
    [
        "tiny: as downloaded, prepared, and llama.cpp",
        "prepared: from a cold start to the first token",
        "prepared: the second turn",
        "prepared: drafts from the text itself",
        "prepared: settings",
        "prepared: slices of a prompt",
    ],
)
def test_a_quick_bench_of_a_model_measures_every_part(bench_of_a_model, part):
    assert f"\n{part}\n" in bench_of_a_model


def test_the_first_turn_was_read_before_the_second(bench_of_a_model):
    row = next(line for line in bench_of_a_model.splitlines() if "read in the first turn" in line)
    tokens, read = (int(word.replace(",", "")) for word in re.findall(r"[\d,]+(?= tokens| of them)", row))
    assert tokens > read > 0.8 * tokens


def test_quick_promises_are_shown_and_not_written():
    before = _stamps()
    command = [sys.executable, str(ROOT / "scripts" / "promises"), "--quick", "--only", "trial_config"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| 5 | a config save is all or nothing" in done.stdout
    assert ", quick, load " in done.stdout
    assert _stamps() == before
