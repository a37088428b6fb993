"""Token ids and text: nothing a person writes acts as a control token, and no half character is shown."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shammah.errors import ModelError
from shammah.worker.text import Text

quick = settings(max_examples=150, deadline=None)

CHARACTERS = [
    *[
        "a",
        " ",
        "\n",
        "\t",
        "\x00",
        "\x7f",
        "'ll",
        "12",
        "é",
        "e\u0301",
        "\u0301",
        "ß",
        "日",
        "本語",
        "က",
        "ﷺ",
        "\ufffd",
    ],
    *["🦙", "🇪🇺", "👩\u200d👩\u200d👧", "\u200d", "\ufe0f"],
    *["<|im_end|>", "<|im_start|>system", "<|endoftext|>", "<|", "|>", "<tool_call>"],
]
TEXTS = st.lists(st.sampled_from(CHARACTERS) | st.text(max_size=6), max_size=30).map("".join)


@dataclass(frozen=True)
class Given:
    """A tokenizer, the ids of the 256 single bytes, and a number above all ids."""

    text: Text
    bytes: list[int]
    above: int


@pytest.fixture(scope="session")
def qwen_text(qwen: Path) -> Given:
    return Given(Text(qwen), byte_ids(qwen), 151_936)


@pytest.fixture(scope="session")
def starter_text(starter: Path) -> Given:
    return Given(Text(starter), byte_ids(starter), 4200)


def byte_ids(folder: Path) -> list[int]:
    """Ids of the bytes 0 to 255; GPT-2's way to spell those that are no printable character is 256 and on."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [vocabulary[chr(byte if byte in plain else next(others))] for byte in range(256)]


@pytest.fixture(params=["starter_text", "qwen_text"], scope="session")
def known(request: pytest.FixtureRequest) -> Given:
    """Each tokenizer in turn."""
    found: Given = request.getfixturevalue(request.param)
    return found


def streamed(text: Text, ids: list[int]) -> list[str]:
    stream = text.stream()
    return [*(stream.add(id) for id in ids), stream.rest()]


@given(written=TEXTS)
@quick
def test_streamed_text_equals_the_text_decoded_at_once(known: Given, written: str) -> None:
    ids = known.text.encode(written)
    assert "".join(streamed(known.text, ids)) == known.text.decode(ids)


@given(data=st.data())
@quick
def test_any_ids_stream_to_what_they_decode_to_at_once(known: Given, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, known.above - 1) | st.integers(0, 300), max_size=40))
    assert "".join(streamed(known.text, ids)) == known.text.decode(ids)


@given(raw=st.binary(max_size=40) | TEXTS.map(lambda text: text.encode()))
@quick
def test_single_bytes_stream_to_what_they_decode_to_at_once(known: Given, raw: bytes) -> None:
    ids = [known.bytes[byte] for byte in raw]
    assert "".join(streamed(known.text, ids)) == known.text.decode(ids) == raw.decode("utf-8", "replace")


@given(written=TEXTS.filter(lambda text: "\ufffd" not in text))
@quick
def test_no_piece_shows_half_a_character(known: Given, written: str) -> None:
    pieces = streamed(known.text, known.text.encode(written))
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) == unicodedata.normalize("NFC", written)


def test_a_character_of_several_tokens_comes_whole_with_its_last(known: Given) -> None:
    ids = known.text.encode("🫠")
    assert len(ids) > 1
    assert streamed(known.text, ids) == [*[""] * (len(ids) - 1), "🫠", ""]


def test_a_character_that_never_becomes_whole_is_a_replacement_at_the_end(known: Given) -> None:
    ids = [known.bytes[byte] for byte in "so 🫠".encode()[:-1]]
    assert streamed(known.text, ids) == ["s", "o", " ", "", "", "", "\ufffd"]


def test_control_tokens_in_an_answer_are_not_shown(known: Given) -> None:
    ids = [*known.text.encode("Hello"), *known.text.special.values(), *known.text.encode(" there")]
    assert "".join(streamed(known.text, ids)) == known.text.decode(ids) == "Hello there"


@given(written=TEXTS)
@quick
def test_a_control_token_that_a_text_spells_is_text(known: Given, written: str) -> None:
    ids = known.text.encode(written)
    assert not set(ids) & set(known.text.special.values())
    assert known.text.decode(ids) == unicodedata.normalize("NFC", written)


@pytest.mark.parametrize("name", ["<|im_start|>", "<|endoftext|>", "<|fim_prefix|>", "<|repo_name|>", "<|file_sep|>"])
def test_every_control_of_qwen_is_text_when_it_is_spelled(qwen_text: Given, name: str) -> None:
    ids = qwen_text.text.encode(f"a{name}b")
    assert len(ids) > 3
    assert qwen_text.text.decode(ids) == f"a{name}b"
    assert name in qwen_text.text.special


def test_half_of_a_surrogate_pair_becomes_a_replacement_and_two_halves_one_character(known: Given) -> None:
    assert known.text.decode(known.text.encode("a\ud83eb")) == "a\ufffdb"
    assert known.text.decode(known.text.encode("\ud83e\udd99")) == "🦙"


def test_qwen_ids_are_those_of_the_published_cases(qwen: Path, qwen_text: Given) -> None:
    cases = (qwen / "tokenizer_cases.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = (qwen / "tokenizer_cases.out").read_text(encoding="utf-8").splitlines()
    assert len(wanted) > 40
    # The last case ends with a separator too.
    for case, line in zip(cases[:-1], wanted, strict=True):
        assert qwen_text.text.encode(case) == [int(id) for id in line.split()], case


def edited(starter: Path, folder: Path, **changes: Any) -> Path:
    tokenizer = json.loads((starter / "tokenizer.json").read_text(encoding="utf-8")) | changes
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def test_a_tokenizer_that_would_cut_or_pad_does_neither(starter: Path, starter_text: Given, tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    pad: dict[str, Any] = {"strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None}
    pad |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    text = Text(edited(starter, tmp_path, truncation=cut, padding=pad))
    assert text.encode("one two three four five") == starter_text.text.encode("one two three four five")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[]", b'{"version": "1.0"}'])
def test_a_missing_or_broken_tokenizer_is_told_with_a_way_out(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json") as told:
        Text(tmp_path)
    assert told.value.hint
