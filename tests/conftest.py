"""What many tests share: the starter's folder, Qwen's tokenizer, a started engine, a home of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from shammah.environment import worker_environment
from shammah.local.client import LocalEngine, ModelSpec
from shammah.paths import STARTER, Home

# Tests of the worker's own code import the runtimes into this process; they report home unless told before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# How long one example takes says nothing on a machine that is busy with other work.
settings.register_profile("shammah", deadline=None)
settings.load_profile("shammah")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """All tests run on up to four processors; those that are asked for by name in this process, where --pdb works."""
    return 0 if config.invocation_params.args else min(os.cpu_count() or 1, 4)


@pytest.fixture(scope="session")
def starter() -> Path:
    """The folder of the model inside the package."""
    return STARTER


@pytest.fixture(scope="session")
def qwen() -> Path:
    """A folder with Qwen2.5's tokenizer and its test cases, which are no part of this repository."""
    root = os.environ.get("SHAMMAH_TEST_DATA") or str(Path(__file__).parents[2] / "shared" / "data")
    folder = Path(root) / "qwen2.5"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"no Qwen2.5 tokenizer in {folder}; name its parent in SHAMMAH_TEST_DATA")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """The starter behind a worker process, started once for the tests of a module."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    started = LocalEngine("starter", ModelSpec("starter", STARTER, 2048, 1), worker_environment(), log)
    started.start()
    yield started
    started.close()
