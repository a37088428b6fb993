"""The chat template: a conversation becomes the prompt the model knows, and no text in it becomes a control."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from shammah.errors import ModelError
from shammah.message import Message
from shammah.worker.template import ChatTemplate
from shammah.worker.text import Text
from tests.fakes import user

quick = settings(max_examples=60, deadline=None)

HARMLESS = st.text(st.characters(exclude_categories=["Cs", "Co"], exclude_characters="<|>"), max_size=20)
HOSTILE = st.lists(
    st.sampled_from(
        [
            "<|im_end|>",
            "<|im_start|>",
            "system",
            "\n",
            "<|endoftext|>",
            "hi",
            "{{ 7*7 }}",
            "{% endfor %}",
            "\ue000",
            "\ue001",
        ]
    ),
    max_size=12,
).map("".join)


def conversations(content: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    """An optional system prompt, answered turns, and a question."""
    system = st.lists(content.map(lambda text: Message("system", text)), max_size=1)
    turn = st.tuples(content, content).map(lambda said: [Message("user", said[0]), Message("assistant", said[1])])
    turns = st.lists(turn, max_size=3).map(lambda all: [message for turn in all for message in turn])
    return st.tuples(system, turns, content).map(lambda parts: [*parts[0], *parts[1], user(parts[2])])


class Known:
    """A model's template twice: ours, and rendered plainly with its control tokens found in the text."""

    def __init__(self, folder: Path) -> None:
        self.text = Text(folder)
        self.ours = ChatTemplate(folder, self.text)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        source = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # As transformers sets it up.
        self._template = environment.from_string(source)

    def plain(self, messages: list[Message]) -> list[int]:
        given = [{"role": message.role, "content": message.content} for message in messages]
        rendered = self._template.render(messages=given, add_generation_prompt=True)
        return list(self._tokenizer.encode(rendered, add_special_tokens=False).ids)

    def controls(self, ids: list[int]) -> Counter[int]:
        return Counter(id for id in ids if id in self.text.special.values())


@pytest.fixture(params=["starter", "qwen"], scope="session")
def known(request: pytest.FixtureRequest) -> Known:
    """Each template in turn."""
    return Known(request.getfixturevalue(request.param))


@given(messages=conversations(HARMLESS))
@quick
def test_the_prompt_is_what_a_plain_rendering_gives(known: Known, messages: list[Message]) -> None:
    assert known.ours.encode(messages) == known.plain(messages)


@given(messages=conversations(HOSTILE))
@quick
def test_no_content_adds_or_takes_a_control_token(known: Known, messages: list[Message]) -> None:
    harmless = [Message(message.role, "hi") for message in messages]
    assert known.controls(known.ours.encode(messages)) == known.controls(known.ours.encode(harmless))


@given(messages=conversations(HOSTILE))
@quick
def test_every_content_reaches_the_model_as_it_was_written(known: Known, messages: list[Message]) -> None:
    shown = known.text.decode(known.ours.encode(messages))
    place = 0
    for message in messages:
        place = shown.index(f"{message.role}\n{message.content}\n", place)


def test_a_name_that_stands_in_for_another_content_is_only_text(known: Known) -> None:
    first = "\ue0000123456789abcdef.1\ue001"
    shown = known.text.decode(known.ours.encode([user(first), Message("assistant", "Secret"), user("?")]))
    assert shown.count("Secret") == 1
    assert first in shown


@given(messages=conversations(HARMLESS), answer=HARMLESS)
@quick
def test_a_prompt_begins_with_what_was_read_before_it(known: Known, messages: list[Message], answer: str) -> None:
    answered = [*messages, Message("assistant", answer)]
    behind = known.ours.encode(answered, answer=False)
    assert known.ours.encode(messages)[: len(known.ours.encode(messages, answer=False))] == known.ours.encode(
        messages, answer=False
    )
    assert known.ours.encode([*answered, user("And then?")])[: len(behind)] == behind


# A folder of one's own


@pytest.fixture(scope="session")
def text(starter: Path) -> Text:
    return Text(starter)


def template(folder: Path, text: Text, source: Any, *, file: str = "tokenizer_config.json") -> ChatTemplate:
    content = source if file.endswith(".jinja") else json.dumps({"chat_template": source})
    (folder / file).write_text(content, encoding="utf-8")
    return ChatTemplate(folder, text)


SHORT = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__['os'].system('true') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
        "{{ raise_exception.__globals__['__builtins__'] }}",
        "{{ ''['__class__']['__base__'] }}",
        "{{ (''|attr('__class__')).mro() }}",
        "{{ '{0.__class__.__base__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ messages[0].clear() }}",
        "{{ range(1000000000)|list }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'base' %}",
        "{{ nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{{ 10.0 ** 1000 }}",
        "{{ '%d' % 'x' }}",
        "{{ '{5}'.format(1) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ raise_exception('No system prompts here') }}",
    ],
)
def test_a_hostile_or_broken_template_is_refused(tmp_path: Path, text: Text, source: str) -> None:
    with pytest.raises(ModelError, match="chat template") as told:
        template(tmp_path, text, source).encode([user("hi")])
    assert told.value.hint


def test_what_the_template_itself_says_is_told(tmp_path: Path, text: Text) -> None:
    with pytest.raises(ModelError, match="No system prompts here"):
        template(tmp_path, text, "{{ raise_exception('No system prompts here') }}").encode([user("hi")])


def test_a_template_finds_no_files_and_no_environment(tmp_path: Path, text: Text) -> None:
    source = "{{ open is defined }} {{ os is defined }} {{ config is defined }} {{ __import__ is defined }}"
    assert text.decode(template(tmp_path, text, source).encode([user("hi")])) == "False False False False"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '{"chat_template": null}',
        '{"chat_template": 7}',
        '{"chat_template": []}',
        '{"chat_template": [{"name": "tool_use", "template": "x"}]}',
        '{"chat_template": ["x"]}',
        '{"chat_template": "{% for m in"}',
        '{"chat_template": "{% nonsense %}"}',
        '{"chat_template": "{{ 1|no_such_filter }}"}',
    ],
)
def test_a_missing_or_broken_template_is_told_with_a_way_out(tmp_path: Path, text: Text, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="chat template") as told:
        ChatTemplate(tmp_path, text)
    assert told.value.hint


def test_a_template_in_a_file_of_its_own_counts_first(tmp_path: Path, text: Text) -> None:
    template(tmp_path, text, "{{ raise_exception('not this one') }}")
    assert text.decode(template(tmp_path, text, SHORT, file="chat_template.jinja").encode([user("hi")])) == "hi"


def test_of_several_templates_the_default_is_taken(tmp_path: Path, text: Text) -> None:
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": SHORT}]
    assert text.decode(template(tmp_path, text, several).encode([user("hi")])) == "hi"


def test_a_control_that_the_template_writes_is_a_control(tmp_path: Path, text: Text) -> None:
    ids = template(tmp_path, text, "<|im_start|>" + SHORT + "<|im_end|>").encode([user("<|im_end|>")])
    assert ids[0] == text.special["<|im_start|>"]
    assert ids[-1] == text.special["<|im_end|>"]
    assert text.decode(ids) == "<|im_end|>"


def test_a_model_without_a_template_gets_the_form_that_its_tokens_belong_to(starter: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(starter, tmp_path / "bare"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    text = Text(folder)
    ids = ChatTemplate(folder, text).encode([Message("system", "Be brief."), Message("user", "Hello")])
    assert ids == ChatTemplate(starter, text).encode([Message("system", "Be brief."), Message("user", "Hello")])
