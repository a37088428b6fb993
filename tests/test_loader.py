"""The loader as a process of its own: from a bare folder to a model that can be loaded, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from shammah import environment
from shammah.config import Local
from shammah.environment import loader_environment
from shammah.errors import HubError
from shammah.models import store
from shammah.models.process import LoaderProcess
from shammah.models.protocol import Downloading, Failed, Fetch, Listed, Prepared, Preparing, Reply, decode, encode
from shammah.pull import pull
from tests.fakes import until
from tests.servers.hub import Flip, Hub, Pace, Silence, Status

REPO = "owner/a-model"
WEIGHTS = "model.onnx.data"
SIZE = 1_500_000
ROOT = Path(__file__).parents[1]
LOADER = (sys.executable, "-m", "shammah.loader")
FULL_DISK = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *LOADER)
"""The loader where no byte can be written to a file."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a hub with a repository in the runtime's own form, which needs no preparation."""
    folder = tmp_path_factory.mktemp("repository") / REPO
    folder.mkdir(parents=True)
    for name in ("genai_config.json", "tokenizer.json", "config.json"):
        (folder / name).write_text("{}")
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / WEIGHTS).write_bytes(random.Random(1).randbytes(SIZE))
    (folder / "README.md").write_text("not needed")
    return folder.parents[1]


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Iterator[Hub]:
    """A hub with that repository."""
    shutil.copytree(repository, tmp_path / "hub")
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models folder after the repository was fetched, its download kept."""
    folder = tmp_path_factory.mktemp("fetched")
    with Hub(repository) as hub:
        prepared(run(replace(request(hub, folder), keep_download=True)))
    return folder / "models"


@pytest.fixture
def kept(models: Path, tmp_path: Path) -> Path:
    """A prepared folder that was made in an earlier run, which kept the download too."""
    shutil.copytree(models, tmp_path / "models")
    return next((tmp_path / "models").glob("*/prepared-*/"))


@pytest.fixture
def here(kept: Path) -> Path:
    """The same, the download gone."""
    shutil.rmtree(kept.parent / "download")
    return kept


def request(hub: Hub, tmp_path: Path) -> Fetch:
    return Fetch(REPO, str(tmp_path / "models"), endpoint=hub.url)


class Loader:
    """One loader at work; `replies` ends with it."""

    def __init__(self, asked: Fetch, environ: Mapping[str, str] | None = None, command: Sequence[str] = LOADER) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=loader_environment({**os.environ, **(environ or {})}),
            cwd=ROOT,
        )
        assert self.process.stdin
        self.process.stdin.write(encode(asked))
        self.process.stdin.flush()
        self.replies = self._replies()

    def _replies(self) -> Iterator[Reply]:
        with self.process as process:
            assert process.stdout
            for line in process.stdout:
                yield decode(line)

    def kill(self) -> None:
        """As by kill -9."""
        self.process.kill()
        list(self.replies)


def run(asked: Fetch, environ: Mapping[str, str] | None = None) -> list[Reply]:
    """All that a loader tells."""
    return list(Loader(asked, environ).replies)


def prepared(replies: list[Reply]) -> Prepared:
    last = replies[-1]
    assert isinstance(last, Prepared), last
    return last


def refused(replies: list[Reply]) -> Failed:
    last = replies[-1]
    assert isinstance(last, Failed), last
    assert last.message and last.hint
    return last


def wait_for_bytes(replies: Iterator[Reply], count: int) -> None:
    next(reply for reply in replies if isinstance(reply, Downloading) and reply.done >= count)


def left(tmp_path: Path) -> list[str]:
    """Files below the models folder, without the prepared folder's."""
    models = tmp_path / "models"
    files = [path.relative_to(models) for path in models.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if "prepared-" not in path.parts[1])


def test_a_bare_folder_becomes_a_model_that_can_be_loaded(hub: Hub, tmp_path: Path) -> None:
    replies = run(request(hub, tmp_path))
    folder = Path(prepared(replies).folder)
    listed = replies[0]
    assert isinstance(listed, Listed)
    assert listed.commit == hub.commit(REPO)
    assert "README.md" not in [file.path for file in listed.files]
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()
    assert store.prepared(tmp_path / "models", REPO) == folder
    assert left(tmp_path) == ["lock", "manifest.json"]
    assert isinstance(replies[-2], Downloading)
    assert replies[-2].done == replies[-2].total == sum(file.size for file in listed.files)


def test_the_second_time_nothing_is_asked(hub: Hub, here: Path, tmp_path: Path) -> None:
    assert run(request(hub, tmp_path)) == [Prepared(str(here), store.notes(here))]
    assert hub.asked == []


def test_the_download_stays_when_it_is_to_be_kept_and_goes_when_it_is_not(hub: Hub, kept: Path, tmp_path: Path) -> None:
    assert (kept.parent / "download" / WEIGHTS).is_file()
    run(request(hub, tmp_path))
    assert not (kept.parent / "download").exists()


def test_without_a_network_nothing_is_asked_for_what_is_not_here(hub: Hub, tmp_path: Path) -> None:
    assert "not whole on this machine" in refused(run(replace(request(hub, tmp_path), offline=True))).message
    assert hub.asked == []


def test_without_a_network_what_is_here_is_used(hub: Hub, here: Path, tmp_path: Path) -> None:
    assert prepared(run(replace(request(hub, tmp_path), offline=True, revision="v2"))).folder == str(here)
    assert hub.asked == []


def test_a_hub_that_fails_leaves_the_version_that_is_here(hub: Hub, here: Path, tmp_path: Path) -> None:
    hub.faults["info"] = [Status(503)]
    found = prepared(run(replace(request(hub, tmp_path), revision="v2")))
    assert found.folder == str(here)
    assert "status 503" in found.notes[-1]


def test_a_repository_with_nothing_to_run_is_refused_before_the_first_byte(hub: Hub, tmp_path: Path) -> None:
    for path in (hub.folder / REPO).glob("*.onnx*"):
        path.unlink()
    (hub.folder / REPO / "genai_config.json").rename(hub.folder / REPO / "model.safetensors")
    assert "only safetensors" in refused(run(request(hub, tmp_path))).message
    assert hub.sent("resolve", "cdn") == 0


def test_a_loader_that_is_killed_costs_no_bytes(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Pace(1_000_000)]
    for part in (400_000, 900_000):
        loader = Loader(request(hub, tmp_path))
        wait_for_bytes(loader.replies, part)
        loader.kill()
    prepared(run(request(hub, tmp_path)))
    assert hub.sent("cdn", path=WEIGHTS) < 1.2 * SIZE  # What was under way when it was killed.
    assert left(tmp_path) == ["lock", "manifest.json"]


def test_a_loader_ends_with_its_parent_in_the_middle_of_a_transfer(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Silence(path=WEIGHTS)]
    with subprocess.Popen(LOADER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=loader_environment()) as loader:
        assert loader.stdin and loader.stdout
        loader.stdin.write(encode(request(hub, tmp_path)))
        loader.stdin.flush()
        while not any(asked.route == "cdn" and asked.path.endswith(WEIGHTS) for asked in hub.asked):
            assert loader.stdout.readline()
        loader.stdin.close()
        assert loader.wait(timeout=60) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a process in another group")
def test_ctrl_c_in_the_terminal_does_not_end_it(hub: Hub, tmp_path: Path) -> None:
    pace = Pace(100_000)
    hub.faults["cdn"] = [pace]
    loader = Loader(request(hub, tmp_path))
    wait_for_bytes(loader.replies, 20_000)
    pace.rate = 1e9
    os.kill(loader.process.pid, signal.SIGINT)
    prepared(list(loader.replies))


def two_at_once(asked: Fetch) -> tuple[Loader, Loader]:
    """A loader at work, and another that watches it."""
    first = Loader(asked)
    wait_for_bytes(first.replies, 20_000)
    second = Loader(asked)
    next(reply for reply in second.replies if isinstance(reply, Downloading) and reply.watching)
    return first, second


def test_one_fetches_and_the_other_watches(hub: Hub, tmp_path: Path) -> None:
    pace = Pace(30_000)
    hub.faults["cdn"] = [pace]
    first, second = two_at_once(request(hub, tmp_path))
    pace.rate = 1e9
    assert prepared(list(first.replies)) == prepared(list(second.replies))
    assert hub.sent("cdn", path=WEIGHTS) == SIZE


def test_a_watcher_takes_over_from_one_that_is_killed(hub: Hub, tmp_path: Path) -> None:
    pace = Pace(30_000)
    hub.faults["cdn"] = [pace]
    first, second = two_at_once(request(hub, tmp_path))
    first.kill()
    pace.rate = 1e9
    prepared(list(second.replies))
    assert hub.sent("cdn", path=WEIGHTS) < 1.2 * SIZE


def decay(path: Path) -> None:
    """Zeros in place of what the file holds, without a trace in its size and times."""
    times = path.stat()
    path.write_bytes(b"\0" * times.st_size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def a_day_later(folder: Path) -> None:
    """As if a prepared folder had been looked at so long ago."""
    seal = folder.with_name(f"{folder.name}.seal")
    seal.write_text(json.dumps({**json.loads(seal.read_text()), "checked": time.time() - 25 * 3600}))


def test_a_prepared_file_that_changed_on_the_disk_is_made_anew(hub: Hub, here: Path, tmp_path: Path) -> None:
    content = bytearray((here / WEIGHTS).read_bytes())
    content[5] ^= 1
    (here / WEIGHTS).write_bytes(content)
    assert prepared(run(request(hub, tmp_path))).folder == str(here)
    assert (here / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()


def test_a_prepared_file_that_decays_without_a_trace_is_found_within_a_day(
    hub: Hub, here: Path, tmp_path: Path
) -> None:
    decay(here / WEIGHTS)
    a_day_later(here)
    run(request(hub, tmp_path))
    assert (here / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no process to files of nothing")
def test_a_disk_that_takes_nothing_refuses_no_unchanged_model(hub: Hub, kept: Path, tmp_path: Path) -> None:
    a_day_later(kept)
    loader = Loader(request(hub, tmp_path), command=FULL_DISK)
    assert list(loader.replies) == [Prepared(str(kept), store.notes(kept))]


def test_a_downloaded_file_that_changed_on_the_disk_is_found_before_it_is_used(
    hub: Hub, kept: Path, tmp_path: Path
) -> None:
    shutil.rmtree(kept)
    decay(kept.parent / "download" / WEIGHTS)
    prepared(run(request(hub, tmp_path)))
    assert (kept / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()
    assert hub.sent("resolve", "cdn") == SIZE


def test_a_bit_flipped_on_the_way_never_reaches_the_model(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Flip(8_000_001, path=WEIGHTS, times=1)]
    folder = Path(prepared(run(request(hub, tmp_path))).folder)
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / REPO / WEIGHTS).read_bytes()


def test_a_new_version_lies_beside_the_old_one(hub: Hub, here: Path, tmp_path: Path) -> None:
    (hub.folder / REPO / "config.json").write_text('{"new": 1}')
    second = prepared(run(replace(request(hub, tmp_path), revision=hub.commit(REPO))))
    assert second.folder != str(here)
    assert here.is_dir()


def test_a_folder_in_the_runtimes_form_is_used_where_it_is(hub: Hub, tmp_path: Path) -> None:
    source = hub.folder / REPO
    asked = Fetch(str(source), str(tmp_path / "models"), offline=True)
    assert prepared(run(asked)).folder == str(source)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "There is no folder" in refused(run(Fetch(str(tmp_path / "none"), str(tmp_path / "models")))).message


def test_the_token_goes_to_the_hub_that_the_person_named_and_to_no_other(hub: Hub, tmp_path: Path) -> None:
    refused(run(replace(request(hub, tmp_path), file="none.onnx"), {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": ""}))
    assert not [asked for asked in hub.asked if "Authorization" in asked.headers]
    hub.token = "hf_secret"
    prepared(run(request(hub, tmp_path), {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": hub.url}))


def test_nothing_else_is_asked_and_nothing_is_written_elsewhere(hub: Hub, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    token = user / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("hf_saved")
    places = {"HOME": str(user), "USERPROFILE": str(user), "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": ""}
    prepared(run(request(hub, tmp_path), places))
    assert {asked.route for asked in hub.asked} == {"info", "tree", "resolve", "cdn"}
    assert not [asked for asked in hub.asked if "Authorization" in asked.headers]
    assert [path for path in user.rglob("*") if path.is_file()] == [token]


def test_a_full_disk_is_told_and_not_a_traceback(hub: Hub, tmp_path: Path) -> None:
    blocked = tmp_path / "models"
    blocked.write_text("a file where the folder should be")
    assert str(blocked) in refused(run(request(hub, tmp_path))).message


TINY = Path(__file__).parent / "data" / "tiny_export"


def test_an_export_is_fetched_and_rewritten(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "hub" / REPO)
    with Hub(tmp_path / "hub") as hub:
        replies = run(request(hub, tmp_path))
    folder = Path(prepared(replies).folder)
    assert (folder / "genai_config.json").is_file()
    assert any(isinstance(reply, Preparing) for reply in replies)
    assert store.prepared(tmp_path / "models", REPO) == folder
    assert not (folder.parent / "download").exists()


def test_an_export_in_a_folder_is_rewritten_beside_the_other_models(tmp_path: Path) -> None:
    asked = Fetch(str(TINY), str(tmp_path / "models"), offline=True)
    first = run(asked)
    folder = Path(prepared(first).folder)
    assert folder.is_relative_to(tmp_path / "models")
    assert prepared(run(asked)) == prepared(first)


# As the chat sees it


def test_a_loader_that_dies_at_once_is_told(tmp_path: Path) -> None:
    loader = LoaderProcess(Fetch(REPO, str(tmp_path)), {"PYTHONHOME": str(tmp_path / "none")}, None)
    last = refused(list(loader.replies()))
    assert (last.message, last.retryable) == ("The loader ended with status 1", True)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no status of a process that has ended")
def test_a_loader_ends_when_nobody_listens_any_more(hub: Hub, tmp_path: Path) -> None:
    hub.faults["cdn"] = [Silence(path=WEIGHTS)]
    loader = LoaderProcess(request(hub, tmp_path), loader_environment(), tmp_path / "logs" / "loader.log")
    replies = loader.replies()
    assert isinstance(next(replies), Listed)
    (process,) = [child for child in psutil.Process().children() if "shammah.loader" in child.cmdline()]
    replies.close()
    until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    loader.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to all that share a console")
def test_ctrl_c_ends_a_pull_while_the_hub_is_silent(hub: Hub, tmp_path: Path) -> None:
    hub.faults["info"] = [Silence()]
    here = {"SHAMMAH_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "shammah", "models", "pull", REPO]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **here}) as pulling:
        until(lambda: bool(hub.asked))
        pulling.send_signal(signal.SIGINT)
        _, told = pulling.communicate()
    assert "Stopped. What was fetched is kept" in told
    assert pulling.returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="the shell of Windows closes no stream")
@pytest.mark.parametrize("errors", ["2>&-", "2>/dev/full"])
def test_a_pull_that_can_tell_nobody_fetches_the_model_all_the_same(hub: Hub, tmp_path: Path, errors: str) -> None:
    if not Path("/dev/full").exists() and "full" in errors:
        pytest.skip("this system has no /dev/full")
    here = {"SHAMMAH_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f'exec "$@" {errors}', "sh", sys.executable, "-m", "shammah", "models", "pull", REPO]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **here})
    assert (done.returncode, done.stdout) == (0, b"")
    assert store.prepared(tmp_path / "models", REPO)


def test_a_loader_that_cannot_be_started_is_told_by_a_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "_base_executable", str(tmp_path / "none"))
    with pytest.raises(HubError, match="The loader cannot be started") as told:
        pull(REPO, Local(), 0.0, environment.read({"SHAMMAH_HOME": str(tmp_path)}))
    assert told.value.hint
