"""What lies in the models folder: found, told apart, deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shammah.errors import ModelError
from shammah.models import store

ROOT = Path(__file__).parents[1]
REPO = "onnx-community/Qwen2.5-0.5B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(models: Path, repo: str = REPO, commit: str = COMMIT, recipe: str = "r1", finished: bool = True) -> Path:
    """A repository's folder as the loader leaves it, with 100 bytes of model."""
    folder = store.folder_for(models, repo, commit) / f"prepared-0123-{recipe}"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x" * 100)
    if finished:
        (folder / store.PREPARED).write_text(json.dumps({"notes": ["It runs as downloaded"]}), encoding="utf-8")
    return folder


def test_a_prepared_model_is_found_by_its_repository(tmp_path: Path) -> None:
    folder = put(tmp_path)
    assert store.prepared(tmp_path, REPO) == folder
    assert store.prepared(tmp_path, "other/model") is None


def test_what_is_not_finished_cannot_be_loaded(tmp_path: Path) -> None:
    put(tmp_path, finished=False)
    assert store.prepared(tmp_path, REPO) is None
    assert [found.prepared for found in store.stored(tmp_path)] == [None]


def test_the_newest_preparation_wins(tmp_path: Path) -> None:
    old, new = put(tmp_path, recipe="r1"), put(tmp_path, commit="f" * 40)
    os.utime(old / store.PREPARED, (1, 1))
    assert store.prepared(tmp_path, REPO) == new


def test_a_folder_tells_its_repository_and_its_size(tmp_path: Path) -> None:
    put(tmp_path)
    (found,) = store.stored(tmp_path)
    assert (found.repo, found.folder.name.rpartition("@")[2]) == (REPO, COMMIT[:12])
    assert found.bytes > 100


def test_a_file_that_is_there_twice_by_a_link_counts_once(tmp_path: Path) -> None:
    folder = put(tmp_path)
    before = store.stored(tmp_path)[0].bytes
    os.link(folder / "model.onnx", folder.parent / "again.onnx")
    assert store.stored(tmp_path)[0].bytes == before


def test_notes_of_a_prepared_model_are_read(tmp_path: Path) -> None:
    assert store.notes(put(tmp_path)) == ["It runs as downloaded"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"notes": 7}', "\x00"])
def test_a_damaged_note_file_says_nothing(tmp_path: Path, text: str) -> None:
    folder = put(tmp_path)
    (folder / store.PREPARED).write_text(text, encoding="utf-8")
    assert store.notes(folder) == []


def test_removing_deletes_every_commit_and_tells_what_it_freed(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, commit="f" * 40)
    assert store.remove(tmp_path, REPO) > 200
    assert store.stored(tmp_path) == []


def test_what_the_disk_refuses_to_remove_stays_whole(tmp_path: Path) -> None:
    folder = put(tmp_path)
    # Another thing of the name that a folder has while it is being deleted.
    (tmp_path / f"{store.REMOVED}{folder.parent.name.replace('@', '-')}").touch()
    with pytest.raises(ModelError, match="cannot be deleted"):
        store.remove(tmp_path, REPO)
    assert store.prepared(tmp_path, REPO) == folder
    assert (folder / "model.onnx").is_file()


def test_what_a_removal_that_was_killed_left_goes_with_the_next(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / f"{store.REMOVED}owner--name-0123" / "download").mkdir(parents=True)
    assert [found.repo for found in store.stored(tmp_path)] == [REPO]
    store.remove(tmp_path, REPO)
    assert list(tmp_path.iterdir()) == []


MAKER = """
import sys
from pathlib import Path
from shammah.models import store
from tests.test_models_store import REPO, put
print(flush=True)
while True:
    put(Path(sys.argv[1]))
    store.remove(Path(sys.argv[1]), REPO)
"""


def test_what_another_process_removes_meanwhile_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                assert all(found.bytes >= 0 for found in store.stored(tmp_path))
        finally:
            other.kill()


def test_removing_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not on this machine"):
        store.remove(tmp_path, REPO)


def test_no_models_folder_is_no_model(tmp_path: Path) -> None:
    assert store.stored(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["owner/name", "Qwen/Qwen2.5-0.5B-Instruct", "a/b"])
def test_an_owner_and_a_name_are_a_repository(name: str) -> None:
    assert store.is_repository(name)


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "../b", "a/..", "/a", "a/b ", "a\\b", "~/model", "-a/b"])
def test_other_names_are_none(name: str) -> None:
    assert not store.is_repository(name)
