"""Edits of config.toml: only the setting changes, whole or not at all, and none is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shammah.config import Config, example, load, set_value, set_values
from shammah.errors import ConfigError

ROOT = Path(__file__).parents[1]

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX has modes, links and limits")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "config.toml"


def edited(path: Path, before: str, key: str, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(before.encode())
    set_value(path, key, text)
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "key", "text", "after"),
    [
        ("", "local.size", "7b", '[local]\nsize = "7b"\n'),
        ('[local]\nsize  =  "3b"  # mine\n', "local.size", "7b", '[local]\nsize  =  "7b"  # mine\n'),
        ('local.size = "3b"', "local.size", "7b", 'local.size = "7b"'),
        ('local = { size = "3b" } # x\n', "local.size", "7b", 'local = { size = "7b" } # x\n'),
        ("[local]\r\nthreads = 1\r\n", "local.threads", "2", "[local]\r\nthreads = 2\r\n"),
        ("\ufeff[local]\nthreads = 1\n", "local.threads", "2", "\ufeff[local]\nthreads = 2\n"),
        ("[mine]\nx = nan # y\n", "local.threads", "2", "[mine]\nx = nan # y\n\n[local]\nthreads = 2\n"),
        ("[chat]\nmarkdown = true", "local.threads", "2", "[chat]\nmarkdown = true\n\n[local]\nthreads = 2\n"),
        ("# note", "local.threads", "2", "# note\n\n[local]\nthreads = 2\n"),
        ("[local]\n# old\n\n# next\n[chat]\n", "local.threads", "2", "[local]\n# old\nthreads = 2\n\n# next\n[chat]\n"),
        ("[local]\n# one\nthreads = 1 # two\n", "local.threads", "unset", "[local]\n# one\n"),
        ("[local]\nthreads = 1\n", "local.size", "default", "[local]\nthreads = 1\n"),
        ('[local]\nthreads = "wrong"\n', "local.threads", "2", "[local]\nthreads = 2\n"),
    ],
)
def test_only_the_setting_changes(path: Path, before: str, key: str, text: str, after: str) -> None:
    assert edited(path, before, key, text) == after


def test_an_edit_of_the_example_changes_one_line(path: Path) -> None:
    after = edited(path, example(), "routing.mode", "local").splitlines()
    changed = [(old, new) for old, new in zip(example().splitlines(), after, strict=True) if old != new]
    assert changed == [('mode = "auto"', 'mode = "local"')]


def test_the_new_settings_are_returned(path: Path) -> None:
    assert set_value(path, "local.threads", "2").local.threads == 2
    assert set_values(path, {"local.threads": None}) == Config() == load(path)


def test_several_settings_change_at_once_or_not_at_all(path: Path) -> None:
    set_values(path, {"local.threads": 2, "chat.system": "Be brief."})
    with pytest.raises(ConfigError):
        set_values(path, {"local.threads": 3, "local.context": -1})
    assert load(path).local.threads == 2
    assert load(path).chat.system == "Be brief."


SETTINGS = {
    "local.threads": ["1", "2", "unset"],
    "chat.system": ["a # b", '"x\\ny"', "unset"],
    "local.size": ["7b", "3b"],
}
STARTS = [
    "",
    example(),
    "# a\n[mine] # b\nx = [ # c\n 1 ]\n[local] # d\n\n# e\n[mine.more]\ny = '# f'\n",
    "local.size = '3b' # a\n\n[mine]\n# b\n",
    "local = { size = '3b' } # a\n# b",
    "[local.mine]\r\n# a\r\n[chat]\r\n# b\r\n",
]


@effort(max_examples=40, deadline=None)
@given(
    start=st.sampled_from(STARTS),
    picks=st.lists(st.tuples(st.sampled_from(sorted(SETTINGS)), st.integers(0, 2)), max_size=8),
)
def test_any_row_of_edits_keeps_every_comment_and_every_foreign_section(
    tmp_path_factory: pytest.TempPathFactory, start: str, picks: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "edits.toml"
    path.write_bytes(start.encode())
    for key, pick in picks:
        try:
            set_value(path, key, SETTINGS[key][pick % len(SETTINGS[key])])
        except ConfigError as error:
            assert "mine" in str(error)  # an unknown key in a known section stands in the way
    after = path.read_bytes().decode()
    comments = [line.partition("#")[2] for line in start.splitlines() if "#" in line]
    assert [comment for comment in comments if comment not in after] == []
    assert tomli.loads(after).get("mine") == tomli.loads(start).get("mine")


@pytest.mark.parametrize(
    "broken", [b"[local", b"\xff", b"[local]\nsise = 1\n", b"local = 5\n", b"[local]\ncontext = -1\n"]
)
def test_a_broken_file_is_refused_and_left_as_it_is(path: Path, broken: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(broken)
    with pytest.raises(ConfigError, match=r"line \d"):
        set_value(path, "local.threads", "2")
    assert path.read_bytes() == broken


@posix
def test_the_home_and_all_in_it_can_be_read_by_the_owner_only(path: Path) -> None:
    set_value(path, "local.threads", "2")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


@posix
def test_a_linked_config_is_changed_where_it_lies(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "dotfiles").mkdir()
    path.symlink_to(tmp_path / "dotfiles" / "mine.toml")
    set_value(path, "local.threads", "2")
    assert path.is_symlink()
    assert load(tmp_path / "dotfiles" / "mine.toml").local.threads == 2


@posix
def test_what_a_killed_writer_left_is_cleared_by_the_next(path: Path) -> None:
    path.parent.mkdir()
    (path.parent / ".config.toml.new-0").write_bytes(b"half")
    set_value(path, "local.threads", "2")
    assert sorted(each.name for each in path.parent.iterdir()) == [".config.toml.lock", "config.toml"]


@posix
def test_a_disk_that_takes_no_more_leaves_the_old_file(path: Path) -> None:
    before = edited(path, example(), "local.threads", "1")
    code = f"""
import resource, pathlib
from shammah.config import set_value
from shammah.errors import ConfigError
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    set_value(pathlib.Path({str(path)!r}), "local.threads", "2")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "cannot be saved: File too large" in done.stdout
    assert path.read_bytes().decode() == before
    assert sorted(each.name for each in path.parent.iterdir()) == [".config.toml.lock", "config.toml"]


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ConfigError, match="cannot be saved"):
        set_value(tmp_path / "home" / "config.toml", "local.threads", "2")


def test_no_edit_is_lost_when_several_processes_save_at_once(path: Path) -> None:
    keys = ["local.threads", "generation.top_k", "generation.seed", "generation.max_tokens", "cloud.max_tokens"]
    code = """
import pathlib, sys
from shammah.config import set_value
for number in range(1, 11):
    set_value(pathlib.Path(sys.argv[1]), sys.argv[2], str(number))
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), key], cwd=ROOT) for key in keys]
    assert [process.wait(timeout=120) for process in running] == [0] * len(keys)
    saved = tomli.loads(path.read_text(encoding="utf-8"))
    assert {key: saved[key.split(".")[0]][key.split(".")[1]] for key in keys} == dict.fromkeys(keys, 10)


def test_kills_while_saving_and_broken_files_never_cost_a_config() -> None:
    """The short form of the trial; the long one is the same script with larger numbers."""
    trial = [sys.executable, str(ROOT / "scripts" / "trial_config.py"), "20", "100"]
    done = subprocess.run(trial, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills 20, unparsable 0, lost edits 0, lost comments 0" in done.stdout
