"""The key for Claude: found where it was put, and shown nowhere."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from pprint import pformat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.trial_secrets import holds
from shammah.cloud.key import ENTRY, Found, Key, find, save
from shammah.errors import ConfigError
from shammah.paths import Home

CANARY = "sk-ant-" + "canary-0123456789"
ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="file modes mean little on Windows")

KEYRING = """
def get_password(service, user):
    {body}
"""


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A package keyring that answers as told, in place of the one of this machine; at first with nothing."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def answer(body: str) -> None:
        monkeypatch.delitem(sys.modules, "keyring", raising=False)
        (folder / "keyring.py").write_text(KEYRING.format(body=body), encoding="utf-8")

    answer("return None")
    return answer


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def write(home: Home, text: str, mode: int = 0o600) -> Path:
    home.folder.mkdir(mode=0o700, exist_ok=True)
    home.credentials.write_text(text, encoding="utf-8")
    home.credentials.chmod(mode)
    return home.credentials


def told_with_locals(error: BaseException) -> str:
    """A traceback with every variable of every frame, of the error and of all that led to it."""
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    causes = [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    return told + "".join(told_with_locals(cause) for cause in causes)


# Shown nowhere


def test_a_key_shows_itself_to_reveal_only() -> None:
    key = Key(CANARY)
    found = Found(key, "environment")
    shown = [
        repr(key), str(key), f"{key}", f"{key!r:>30}", f"{key:>30}", pformat(vars(found)), repr(found),
        str(dataclasses.asdict(found)), repr(copy.copy(key)), repr(copy.deepcopy([key])), json.dumps(key, default=str),
    ]  # fmt: skip
    assert not [text for text in shown if "canary" in text]
    assert key.reveal() == CANARY


def test_a_key_cannot_be_pickled() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(Key(CANARY), protocol)


def test_keys_are_compared_without_being_shown() -> None:
    assert Key(CANARY) == Key(f" {CANARY}\n")
    assert Key(CANARY) != Key(CANARY + "x")
    assert Key(CANARY) != CANARY
    assert len({Key(CANARY), Key(CANARY)}) == 1


@pytest.mark.parametrize(
    "work",
    [
        lambda _folder: Key(f"{CANARY}\x1b[201~"),
        lambda folder: find(f"{CANARY} and more", folder),
        lambda folder: find("", folder),
        lambda folder: save(folder, Key(CANARY)),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        f'{ENTRY} = "{CANARY}',
        f"{ENTRY} = {CANARY}",
        f'{ENTRY} = "{CANARY}"\n{ENTRY} = "{CANARY}"',
        f'{ENTRY} = ["{CANARY}"]',
        f'{ENTRY} = "{CANARY}\\u0007"',
        f'x = "{CANARY}"\n[x]',
        f'a = {"[" * 5000}"{CANARY}"',
        f'{ENTRY} = """\n{CANARY}"""',
    ],
)
def test_no_traceback_shows_it_even_with_all_variables(home: Home, text: str, work: Callable[[Path], object]) -> None:
    write(home, text)
    try:
        work(home.folder)
    except ConfigError as error:
        assert error.__traceback__
        told = told_with_locals(error.with_traceback(error.__traceback__.tb_next))  # Without this test's own variables.
        assert "canary" not in told + error.hint


# What was pasted


@pytest.mark.parametrize("before", ["", " ", "\t\n", '"', " '", "“", "\ufeff", "\u00a0`"])
@pytest.mark.parametrize("after", ["", "\r\n", '" ', "'", "”\n", "\u200b"])
def test_blanks_and_quotes_around_a_key_are_no_part_of_it(before: str, after: str) -> None:
    assert Key(f"{before}{CANARY}{after}").reveal() == CANARY


@pytest.mark.parametrize("inside", ["\x00", "\n", "\x1b[200~", " ", "\x7f", "ü", "\u200b", "\udcff"])
def test_what_no_header_carries_is_refused_and_its_place_told(inside: str) -> None:
    with pytest.raises(ConfigError, match=r"character 4 of \d+") as told:
        Key(f"sk-{inside}ant")
    assert told.value.hint


@pytest.mark.parametrize("nothing", ["", "  ", '""', "''\n"])
def test_nothing_is_no_key(home: Home, nothing: str) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        Key(nothing)
    assert find(nothing, home.folder) is None


# Where it is found


def test_the_environment_goes_before_the_file_and_the_file_before_the_keyring(
    home: Home, keyring: Callable[[str], None]
) -> None:
    keyring(f"return {'ring' + CANARY!r} if (service, user) == ('shammah', '{ENTRY}') else None")
    assert find("", home.folder) == Found(Key(f"ring{CANARY}"), "keyring")
    save(home.folder, Key(f"file{CANARY}"))
    assert find("", home.folder) == Found(Key(f"file{CANARY}"), "credentials.toml")
    assert find(f' "{CANARY}" ', home.folder) == Found(Key(CANARY), "environment")
    home.credentials.unlink()
    assert find("", home.folder) == Found(Key(f"ring{CANARY}"), "keyring")


@pytest.mark.parametrize("body", ["raise RuntimeError('locked')", "return None", "return 5", "import no_such_backend"])
def test_a_keyring_that_gives_no_key_is_passed_over(home: Home, keyring: Callable[[str], None], body: str) -> None:
    keyring(body)
    assert find("", home.folder) is None


def test_without_the_package_there_is_no_keyring(home: Home, keyring: Callable[[str], None], tmp_path: Path) -> None:
    keyring("return None")
    (tmp_path / "packages" / "keyring.py").write_text("raise ImportError", encoding="utf-8")
    assert find("", home.folder) is None


def test_a_wrong_key_is_told_with_its_place(home: Home, keyring: Callable[[str], None]) -> None:
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY") as told:
        find("a b", home.folder)
    assert "into ANTHROPIC_API_KEY" in told.value.hint
    keyring("return 'a b'")
    with pytest.raises(ConfigError, match="in the keyring") as told:
        find("", home.folder)
    assert f"keyring set shammah {ENTRY}" in told.value.hint
    write(home, f'# mine\nother = 1\n{ENTRY} = "a b"\n')
    with pytest.raises(ConfigError, match=r"credentials\.toml line 3") as told:
        find("", home.folder)
    assert "into credentials.toml" in told.value.hint


def test_asking_for_a_key_changes_nothing_on_the_disk(home: Home) -> None:
    assert find("", home.folder) is None
    assert not home.folder.exists()


# credentials.toml


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'{ENTRY} = "sk', r"credentials\.toml line 1"),
        (f"# a\n\n{ENTRY} = sk-ant", r"credentials\.toml line 3"),
        (f"x = 1\n{ENTRY} = 17", r"no text|line 2"),
        (f"x = 1\n{ENTRY} = 17", r"credentials\.toml line 2"),
        (f"[{ENTRY}]\n", r"credentials\.toml line 1"),
        ("\n\n=", r"credentials\.toml line 3"),
    ],
)
def test_a_bad_file_is_told_with_its_line_and_left_as_it_is(home: Home, text: str, told: str) -> None:
    path = write(home, text)
    with pytest.raises(ConfigError, match=told) as caught:
        find("", home.folder)
    assert caught.value.hint
    assert path.read_text(encoding="utf-8") == text


def test_a_file_that_is_no_text_or_no_file_is_told(home: Home) -> None:
    write(home, "").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        find("", home.folder)
    home.credentials.unlink()
    home.credentials.mkdir(mode=0o755)
    before = home.credentials.stat().st_mode
    with pytest.raises(ConfigError, match="is a folder"):
        find("", home.folder)
    assert home.credentials.stat().st_mode == before


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o777])
def test_a_file_that_others_could_read_is_closed_to_them_and_that_is_told(home: Home, mode: int) -> None:
    path = write(home, f'{ENTRY} = "{CANARY}"\n', mode)
    found = find("", home.folder)
    assert found
    assert found.notice
    assert str(path) in found.notice.text
    assert path.stat().st_mode & 0o777 == 0o600
    again = find("", home.folder)
    assert again
    assert again.notice is None


OTHERS = '# my own notes\nother = "kept" # with a reason\n\n[server]\nkey = """\nmany\nlines"""\n'


@pytest.mark.parametrize("others", [OTHERS, OTHERS.replace("\n", "\r\n"), "# only a word", "\ufeffx = 1\n"])
def test_other_entries_and_comments_stay(home: Home, others: str) -> None:
    path = write(home, "")
    path.write_bytes(others.encode())
    save(home.folder, Key("first"))
    save(home.folder, Key(CANARY))
    assert find("", home.folder) == Found(Key(CANARY), "credentials.toml")
    text = path.read_bytes().decode("utf-8-sig")
    assert text.partition("\n") == (f'{ENTRY} = "{CANARY}"', "\n", others.removeprefix("\ufeff"))


def test_a_key_anywhere_is_replaced_by_one_in_the_first_line(home: Home) -> None:
    path = write(home, f'# the key\n{ENTRY} = "old"\nother = 1\n')
    save(home.folder, Key(CANARY))
    assert path.read_text(encoding="utf-8") == f'{ENTRY} = "{CANARY}"\n# the key\nother = 1\n'


def test_what_cannot_be_changed_alone_is_left_to_the_person(home: Home) -> None:
    text = f'{ENTRY} = """\nold"""\n'
    path = write(home, text)
    with pytest.raises(ConfigError, match="cannot be changed here") as told:
        save(home.folder, Key(CANARY))
    assert told.value.hint == "Edit the file by hand"
    assert path.read_text(encoding="utf-8") == text


@posix
def test_a_link_stays_a_link(home: Home, tmp_path: Path) -> None:
    home.folder.mkdir()
    home.credentials.symlink_to(tmp_path / "elsewhere.toml")
    save(home.folder, Key(CANARY))
    assert home.credentials.is_symlink()
    assert find("", home.folder) == Found(Key(CANARY), "credentials.toml")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(lambda t: t.strip("\"'`")))
def test_any_key_comes_back_as_it_was_saved(home: Home, text: str) -> None:
    save(home.folder, Key(text))
    assert find("", home.folder) == Found(Key(text), "credentials.toml")


WATCHED_SAVE = """
import os, sys
from pathlib import Path
from shammah.cloud.key import Key, save

folder, seen = Path(sys.argv[1]), set()

def look(event, arguments):
    if event.startswith(("open", "os.")) and folder.is_dir():
        for entry in os.scandir(folder):
            seen.add((entry.name, oct(entry.stat().st_mode & 0o777)))

os.umask(0)
sys.addaudithook(lambda event, arguments: busy.append(1) or look(event, arguments) or busy.pop() if not busy else None)
busy = []
save(folder, Key("one"))
save(folder, Key("two"))
busy.append(1)
print(*sorted(seen), sep="\\n")
"""


@posix
def test_every_file_is_its_owners_alone_from_its_first_moment(home: Home) -> None:
    command = [sys.executable, "-c", WATCHED_SAVE, str(home.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seen = [eval(line) for line in done.stdout.splitlines()]
    assert {mode for _, mode in seen} == {"0o600"}
    assert {name.partition("-")[0] for name, _ in seen} >= {"credentials.toml", ".credentials.toml.new"}
    assert home.folder.stat().st_mode & 0o777 == 0o700


# The trial, in its short form


@pytest.mark.parametrize("failure", ["status 401 that repeats the key", "not in quotes", "worker killed"])
def test_a_failure_of_the_program_shows_no_part_of_the_key(failure: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "trial_secrets.py"), "--match", failure, "--count", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    "shown", ["{}", "Bearer {}", "{!r}", "x-key: {}\n", "...{}"], ids=["whole", "bearer", "quoted", "header", "end"]
)
def test_the_trial_finds_a_key_however_it_is_written(shown: str) -> None:
    key = "sk-ant-" + "aB3dE6gH9jK2" * 4
    for written in (key, key[-14:], base64.b64encode(f"user:{key}".encode()).decode(), key.encode().hex(), key[::-1]):
        assert holds(f"before {shown.format(written)} after".encode(), key)
    assert holds(key.encode("utf-16-le"), key)
    assert not holds(b"sk-ant- and nothing more", key)
