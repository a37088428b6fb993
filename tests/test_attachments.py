"""Files that go with a question."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.attachments import LIMIT, Attachment, named_files, read_file, secret_of, with_files
from shammah.errors import UsageError

posix = pytest.mark.skipif(os.name == "nt", reason="there are no device files and no modes on Windows")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# Reading


def test_a_file_is_read_as_utf_8_text_without_its_byte_order_mark(here: Path) -> None:
    (here / "a.txt").write_bytes("\ufeffgrüß dich\r\n".encode())
    assert read_file("a.txt") == Attachment("a.txt", "grüß dich\n")


def test_a_file_of_powershell_is_read_as_the_utf_16_that_it_says_it_is(here: Path) -> None:
    (here / "a.txt").write_bytes(codecs.BOM_UTF16_LE + "grüß dich\r\n".encode("utf-16-le"))
    assert read_file("a.txt").text == "grüß dich\n"


def test_a_name_in_the_home_folder_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    write(here / "a.txt", "hello")
    assert read_file("~/a.txt").text == "hello"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("missing.txt", "cannot be read"),
        (".", "is a folder"),
        ("picture.png", "is no text"),
        ("large.txt", r"at most 2,000,000 go with a question"),
        ("a\0b", "cannot be read"),
        ("x" * 5000, "cannot be read"),
        ("~no-such-user/a.txt", "cannot be read"),
    ],
)
def test_what_cannot_be_sent_is_told_with_a_way_out(here: Path, name: str, what: str) -> None:
    (here / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    (here / "large.txt").write_bytes(b"a" * (LIMIT + 1))
    with pytest.raises(UsageError, match=what) as told:
        read_file(name)
    assert told.value.hint


@posix
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 2,000,000"):
        read_file("/dev/zero")


@posix
def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)
    assert read_file(f"/dev/fd/{reading}").text == "from a pipe"
    os.close(reading)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_forbidden_file_is_told(here: Path) -> None:
    write(here / "a.txt", "secret").chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        read_file("a.txt")


# Names in a question


@pytest.mark.parametrize(
    "question",
    [
        "what is in @a.txt?",
        "@a.txt",
        'see @"a.txt" please',
        "first @a.txt, then @a.txt!",
        "look:\n@a.txt, then say",
    ],
)
def test_a_file_that_a_question_names_is_read_once(here: Path, question: str) -> None:
    write(here / "a.txt", "hello")
    assert named_files(question) == [Attachment("a.txt", "hello")]


def test_a_name_with_spaces_goes_in_quotes(here: Path) -> None:
    write(here / "my notes.txt", "hello")
    assert named_files('sum up @"my notes.txt"') == [Attachment("my notes.txt", "hello")]
    assert named_files("sum up @my notes.txt") == []


@pytest.mark.parametrize(
    "question",
    [
        "mail me@a.txt",
        "ask @somebody",
        "ask @~no-such-user",
        "ask @~no-such-user/a.txt",
        "@",
        "@@",
        '@""',
        "@folder",
        "@a\0b",
        "@" + "x" * 5000,
        "@../" + "y" * 300,
    ],
)
def test_an_at_that_names_no_file_is_only_a_word(here: Path, question: str) -> None:
    write(here / "a.txt", "hello")
    (here / "folder").mkdir()
    assert named_files(question) == []


@given(question=st.text())
def test_no_question_is_too_strange_to_look_for_files_in(question: str) -> None:
    assert isinstance(named_files(question), list)


# Secrets


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("notes.txt", "Dear diary", ""),
        (".env", "A=1", ".env holds secrets by its name"),
        ("notes.txt", "-----BEGIN " + "PRIVATE KEY-----", "notes.txt holds what looks like a private key"),
    ],
)
def test_a_file_tells_whether_its_name_or_its_text_is_secret(here: Path, name: str, text: str, told: str) -> None:
    write(here / name, text)
    assert read_file(name).secret == told


def test_a_file_that_a_question_names_tells_its_secret(here: Path) -> None:
    write(here / ".env", "A=1")
    assert [file.secret for file in named_files("what is in @.env?")] == [".env holds secrets by its name"]


def test_a_question_is_secret_by_its_own_text_or_by_one_of_its_files() -> None:
    key, notes = "-----BEGIN " + "PRIVATE KEY-----", Attachment("notes.txt", "Dear diary")
    assert secret_of("hello", [notes]) == ""
    assert secret_of("hello", [notes, Attachment(".env", "A=1", "it is secret")]) == "it is secret"
    assert secret_of(f"is {key} right?", [notes]) == "the question holds what looks like a private key"


# Joining


def test_a_file_stands_below_the_question_between_fences() -> None:
    assert with_files("What is this?", [Attachment("a.py", "x = 1\n\n")]) == (
        "What is this?\n\nFile a.py:\n```\nx = 1\n```"
    )


def test_without_a_question_the_files_are_the_question() -> None:
    assert with_files("  ", [Attachment("a", "1"), Attachment("b", "2")]) == (
        "File a:\n```\n1\n```\n\nFile b:\n```\n2\n```"
    )


@given(text=st.lists(st.sampled_from(["`", "``", "```", "a", "\n"]), max_size=30).map("".join))
def test_no_text_ends_its_own_fence(text: str) -> None:
    _, fence, *rest = with_files("", [Attachment("a", text)]).split("\n")
    assert re.fullmatch("`{3,}", fence)
    assert rest[-1] == fence
    assert not any(line.startswith(fence) for line in rest[:-1])
