"""Reading and answering: what the cache keeps changes how long an answer takes, and nothing of the answer."""

from __future__ import annotations

import doctest
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shammah.errors import ModelError
from shammah.local.protocol import Cut, Delta, Done, Failed, Generate, Load, Progress, Ready, Reply, Stop, Warm
from shammah.machine import usable_processors
from shammah.message import Message, Options
from shammah.router import Facts, choose
from shammah.worker import prefix
from shammah.worker.conversation import fit
from shammah.worker.generation import SLICE, Decoder
from shammah.worker.inbox import Inbox
from shammah.worker.prefix import TO_RUN, shared_prefix, slices
from shammah.worker.sampling import Sampler, Sampling
from shammah.worker.service import Service
from shammah.worker.template import ChatTemplate
from shammah.worker.text import Text
from tests.fakes import LONG, user
from tests.watched import Watched

CONTEXT = 1024
HOT = Sampling(temperature=100.0, top_k=4096)
NO_STOPS: frozenset[int] = frozenset()


def always(_: int) -> bool:
    return True


@dataclass(frozen=True)
class Answer:
    """What a decoder said: tokens already in its cache, new tokens, and the logits behind each."""

    kept: int
    tokens: list[int]
    rows: list[NDArray[np.float32]]


def answer(decoder: Decoder, prompt: Sequence[int], count: int, sampling: Sampling = HOT, seed: int = 0) -> Answer:
    """Read a prompt and generate `count` tokens, then leave, as an interrupted answer does."""
    kept = decoder.read(prompt, always)
    sampler = Watched(sampling, seed)
    generated = decoder.generate(sampler, NO_STOPS)
    tokens = [next(generated) for _ in range(count)]
    generated.close()
    return Answer(kept, tokens, sampler.rows)


def assert_same(one: Answer, other: Answer) -> None:
    assert one.tokens == other.tokens
    # One row alone takes another kernel: that shows as differences of 1e-2.
    assert all(np.allclose(a, b, rtol=0, atol=1e-4) for a, b in zip(one.rows, other.rows, strict=True))


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


@pytest.fixture(scope="module")
def decoder(starter: Path) -> Decoder:
    """A decoder that lives through all tests, whatever they left in its cache."""
    return Decoder(starter, CONTEXT, usable_processors())


@pytest.fixture(scope="module")
def fresh(starter: Path) -> Decoder:
    """A second one, which forgets before each use."""
    return Decoder(starter, CONTEXT, usable_processors())


@pytest.fixture(scope="module")
def template(starter: Path) -> ChatTemplate:
    return ChatTemplate(starter, Text(starter))


# The cache


TOKENS = st.lists(st.integers(3, 4095), min_size=1, max_size=150)


@dataclass(frozen=True)
class Step:
    """Keep a share of what was there, prompt and answer, add tokens, answer with some; maybe stop while reading."""

    keep: float
    add: list[int]
    answer: int
    slices_read: int | None


STEPS = st.lists(
    st.builds(Step, st.just(1.0) | st.floats(0, 1), TOKENS, st.integers(1, 6), st.none() | st.integers(0, 2)),
    min_size=2,
    max_size=6,
)


@given(steps=STEPS)
@settings(max_examples=15)
def test_greedy_output_with_reuse_equals_greedy_output_without(
    decoder: Decoder, fresh: Decoder, steps: list[Step]
) -> None:
    decoder.forget()
    read: list[int] = []
    before: list[int] = []
    for step in steps:
        prompt = [*before[: round(step.keep * len(before))], *step.add][-700:]
        if step.slices_read is not None:
            read = read_a_little(decoder, read, prompt, step.slices_read)
        found = answer(decoder, prompt, step.answer, Sampling())
        fresh.forget()
        assert_same(found, answer(fresh, prompt, step.answer, Sampling()))
        assert found.kept == max(min(shared(read, prompt), len(prompt) - TO_RUN), 0)
        read, before = prompt, [*prompt, *found.tokens]


def read_a_little(decoder: Decoder, read: list[int], prompt: list[int], count: int) -> list[int]:
    """Stop the reading after some slices; returns what the cache holds then."""
    seen: list[int] = []

    def progress(done: int) -> bool:
        seen.append(done)
        return len(seen) <= count

    kept = decoder.read(prompt, progress)
    assert kept == seen[0] == max(min(shared(read, prompt), len(prompt) - TO_RUN), 0)
    return prompt[: seen[-1]]


WORDS = st.lists(st.sampled_from(["how", "what", "the", "model", "chat", "key", "set", "local", "a"]), max_size=25)
CONTENTS = WORDS.map(" ".join) | st.text(max_size=8)


@dataclass
class Talk:
    """A conversation and the edits that a person makes to it."""

    system: str = ""
    turns: list[tuple[str, str]] = field(default_factory=list)

    def messages(self, question: str) -> list[Message]:
        said = [m for asked, told in self.turns for m in (user(asked), Message("assistant", told))]
        return [*([Message("system", self.system)] if self.system else []), *said, user(question)]


EDITS = st.sampled_from(["say", "say", "undo", "retry", "edit", "system", "resume"])


@given(data=st.data())
@settings(max_examples=12)
def test_every_edit_of_a_conversation_leaves_greedy_answers_as_they_are(
    decoder: Decoder, fresh: Decoder, template: ChatTemplate, starter: Path, data: st.DataObject
) -> None:
    text, talk, read = Text(starter), Talk(), list[int]()
    decoder.forget()
    for _ in range(data.draw(st.integers(2, 6))):
        question = make_edit(talk, data)
        prompt = template.encode(talk.messages(question))
        found = answer(decoder, prompt, data.draw(st.integers(1, 8)), Sampling())
        fresh.forget()
        assert_same(found, answer(fresh, prompt, len(found.tokens), Sampling()))
        assert found.kept == min(shared(read, prompt), len(prompt) - TO_RUN)
        read = prompt
        talk.turns.append((question, data.draw(st.just(text.decode(found.tokens)) | CONTENTS)))


def make_edit(talk: Talk, data: st.DataObject) -> str:
    """Change the conversation, and say what is asked next."""
    question = data.draw(CONTENTS)
    edit = data.draw(EDITS) if talk.turns else "say"
    if edit == "undo":
        talk.turns.pop()
    elif edit == "retry":
        question, _ = talk.turns.pop()
    elif edit == "edit":
        place = data.draw(st.integers(0, len(talk.turns) - 1))
        talk.turns[place] = (data.draw(CONTENTS), talk.turns[place][1])
    elif edit == "system":
        talk.system = data.draw(CONTENTS)
    elif edit == "resume":
        talk.turns = data.draw(st.lists(st.tuples(CONTENTS, CONTENTS), max_size=3))
    return question


def test_a_second_turn_runs_only_what_is_new(decoder: Decoder, template: ChatTemplate) -> None:
    first = [Message("system", "Be short."), user("hello " * 50)]
    answer(decoder, template.encode(first), 5)
    second = [*first, Message("assistant", "Hi."), user("And then?")]
    assert answer(decoder, template.encode(second), 5).kept >= len(template.encode(first, answer=False))


def test_another_temperature_or_seed_costs_no_cache(decoder: Decoder) -> None:
    prompt = list(range(100, 200))
    answer(decoder, prompt, 5, Sampling())
    assert answer(decoder, prompt, 5, HOT, seed=9).kept == len(prompt) - TO_RUN


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(decoder: Decoder) -> None:
    prompt = list(range(300, 340))
    assert answer(decoder, prompt, 12, seed=1).tokens == answer(decoder, prompt, 12, seed=1).tokens
    assert answer(decoder, prompt, 12, seed=1).tokens != answer(decoder, prompt, 12, seed=2).tokens


def test_what_was_forgotten_is_read_again(decoder: Decoder) -> None:
    prompt = list(range(100, 200))
    before = answer(decoder, prompt, 5)
    decoder.forget()
    again = answer(decoder, prompt, 5)
    assert again.kept == 0
    assert_same(before, again)


def test_a_prompt_is_read_in_slices_and_progress_is_told_before_and_after_each(decoder: Decoder) -> None:
    decoder.forget()
    told: list[int] = []
    decoder.read(list(range(3, 3 + 3 * SLICE + 5)), lambda done: told.append(done) or True)  # type: ignore[func-returns-value]
    assert told == [0, SLICE, 2 * SLICE, 3 * SLICE, 3 * SLICE + 5]


def test_the_context_is_never_overrun(starter: Path) -> None:
    small = Decoder(starter, 64, 1)
    small.read(list(range(100, 160)), always)
    tokens = list(small.generate(Watched(HOT, 1), NO_STOPS))
    # Four more fit, and the logits of the last choose one that needs no place of its own.
    assert len(tokens) == 5
    small.read(list(range(100, 164)), always)
    assert len(list(small.generate(Watched(HOT, 1), NO_STOPS))) == 1


def test_more_context_than_the_model_has_is_cut_to_what_it_has(starter: Path) -> None:
    own = json.loads((starter / "genai_config.json").read_text(encoding="utf-8"))["model"]["context_length"]
    assert Decoder(starter, 10**6, 1).context == own


def test_the_examples_in_the_words_about_prefixes_are_right() -> None:
    assert doctest.testmod(prefix).failed == 0


@given(start=st.integers(0, 300), length=st.integers(0, 300), slice_length=st.integers(2, 70))
def test_slices_follow_one_another_and_none_is_a_single_token(start: int, length: int, slice_length: int) -> None:
    cut = list(slices(start, start + length, slice_length))
    assert [place for first, last in cut for place in range(first, last)] == list(range(start, start + length))
    assert all(last - first >= min(2, length) for first, last in cut)
    assert all(last - first <= slice_length + 1 for first, last in cut)


@given(one=st.lists(st.integers(0, 2), max_size=9), other=st.lists(st.integers(0, 2), max_size=9))
def test_a_shared_prefix_is_equal_and_leaves_what_must_run(one: list[int], other: list[int]) -> None:
    count = shared_prefix(one, other)
    assert one[:count] == other[:count]
    assert count == max(min(shared(one, other), len(other) - TO_RUN), 0)


# Which turns fit


@dataclass(frozen=True)
class Sized:
    """A conversation whose message number n has so many tokens, all of them n."""

    system: int
    turns: list[tuple[int, int]]
    question: int

    def messages(self) -> list[Message]:
        sizes = [("system", self.system)] if self.system else []
        sizes += [(role, size) for turn in self.turns for role, size in zip(("user", "assistant"), turn, strict=True)]
        sizes += [("user", self.question)]
        return [Message(role, f"{place} {size}") for place, (role, size) in enumerate(sizes)]  # type: ignore[arg-type]


def sized(messages: Sequence[Message]) -> list[int]:
    pairs = [tuple(map(int, message.content.split())) for message in messages]
    return [place for place, size in pairs for _ in range(size)]


SIZES = st.integers(1, 40)
CONVERSATIONS = st.builds(Sized, st.integers(0, 20), st.lists(st.tuples(SIZES, SIZES), max_size=6), SIZES)


@given(talk=CONVERSATIONS, context=st.integers(30, 200), room=st.integers(1, 20))
@settings(max_examples=300)
def test_the_oldest_whole_turns_go_and_the_system_prompt_and_the_question_stay(
    talk: Sized, context: int, room: int
) -> None:
    messages = talk.messages()
    if talk.system + talk.question + room > context:
        with pytest.raises(ModelError):
            fit(messages, sized, context, room)
        return
    fitted = fit(messages, sized, context, room)
    first = 1 if talk.system else 0
    kept = [*messages[:first], *messages[first + 2 * fitted.turns_left_out :]]
    assert fitted.ids == sized(kept)
    assert kept[-1] == messages[-1]
    assert len(fitted.ids) + room <= context
    assert (fitted.turns_left_out == 0) == (len(sized(messages)) + room <= context)


def test_a_cut_makes_room_for_turns_to_come_and_takes_no_more_than_that() -> None:
    talk = Sized(10, [(10, 10)] * 5, 10)  # 120 tokens; 80 and the room fill three quarters of 120
    fitted = fit(talk.messages(), sized, 120, 10)
    assert fitted.turns_left_out == 2
    assert len(fitted.ids) == 80


def test_a_question_too_long_alone_is_refused_with_the_numbers() -> None:
    with pytest.raises(ModelError, match=r"has 1,260 tokens.*takes 1,000") as told:
        fit(Sized(60, [(10, 10)], 1200).messages(), sized, 1100, 100)
    assert "local.context" in told.value.hint


# The service


class Desk:
    """The service as the chat process sees it, without a pipe between."""

    def __init__(self, folder: Path, context: int = CONTEXT) -> None:
        self.inbox = Inbox()
        self.replies: list[Reply] = []
        self.when: Callable[[Reply], None] = lambda _: None
        self._service = Service(self._take, self.inbox)
        self._number = 0
        self.load(folder, context)

    def load(self, folder: Path, context: int = CONTEXT) -> Reply:
        return self._carry_out(lambda number: Load(number, str(folder), context, 1))[-1]

    def ask(self, messages: list[Message], options: Options = LONG) -> list[Reply]:
        return self._carry_out(lambda number: Generate(number, messages, options))

    def warm(self, messages: list[Message]) -> list[Reply]:
        return self._carry_out(lambda number: Warm(number, messages))

    def stop_at(self, kind: type[Reply], count: int) -> None:
        """Stop the running request when the reply number `count` of this kind is sent."""

        def when(reply: Reply) -> None:
            if sum(isinstance(seen, kind) for seen in self.replies) == count:
                self.inbox.put(Stop(reply.request))

        self.when = when

    def _take(self, reply: Reply) -> None:
        self.replies.append(reply)
        self.when(reply)

    def _carry_out(self, request: Callable[[int], Any]) -> list[Reply]:
        self.replies = []
        self._number += 1
        self._service.carry_out(request(self._number))
        self.when = lambda _: None
        assert all(reply.request == self._number for reply in self.replies)
        return self.replies


def copied(starter: Path, folder: Path, **changes: Any) -> Path:
    """The starter in another folder, with another generation_config.json."""
    shutil.copytree(starter, folder, dirs_exist_ok=True)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def endless(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter with a stop id that it never says."""
    return copied(starter, tmp_path_factory.mktemp("endless"), eos_token_id=[99_999])


@pytest.fixture(scope="module")
def desk(endless: Path) -> Desk:
    return Desk(endless)


def done(replies: list[Reply]) -> Done:
    last = replies[-1]
    assert isinstance(last, Done), last
    return last


def failed(replies: list[Reply]) -> Failed:
    (last,) = replies
    assert isinstance(last, Failed)
    assert last.hint
    return last


def few(count: int, seed: int = 1) -> Options:
    return Options(max_tokens=count, temperature=100.0, top_k=4096, seed=seed)


def test_progress_is_told_from_what_was_cached_to_the_whole_prompt_before_the_answer(desk: Desk) -> None:
    replies = desk.ask([user("why " * 300)], few(3))
    reading = [reply for reply in replies if isinstance(reply, Progress)]
    assert replies[: len(reading)] == reading
    assert reading[0].done == done(replies).cached_tokens
    assert reading[-1].done == reading[-1].total == done(replies).prompt_tokens
    assert all(0 < after.done - before.done <= SLICE + 1 for before, after in pairwise(reading))


def test_reading_can_be_stopped_and_what_was_read_is_not_read_again(desk: Desk) -> None:
    question = [user("stop here " * 150)]
    desk.stop_at(Progress, 3)
    stopped = desk.ask(question)
    assert done(stopped).reason == "interrupted"
    assert not any(isinstance(reply, Delta) for reply in stopped)
    last = stopped[-2]
    assert isinstance(last, Progress)
    assert last.done < last.total
    assert done(desk.ask(question, few(2))).cached_tokens == last.done


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_an_answer_can_be_stopped_and_its_tokens_are_counted(desk: Desk, pieces: int) -> None:
    desk.stop_at(Delta, pieces)
    replies = desk.ask([user("go on")])
    deltas = [reply for reply in replies if isinstance(reply, Delta)]
    assert done(replies).reason == "interrupted"
    assert sum(delta.tokens for delta in deltas) == done(replies).completion_tokens
    assert pieces <= len(deltas) <= pieces + 1


def test_a_stop_that_comes_late_does_not_stop_the_next_answer(desk: Desk) -> None:
    replies = desk.ask([user("one")], few(2))
    desk.inbox.put(Stop(done(replies).request))
    assert done(desk.ask([user("two")], few(2))).completion_tokens > 0


def test_an_answer_ends_at_the_length_that_was_asked_for(desk: Desk) -> None:
    told = done(desk.ask([user("tell me")], few(9, seed=3)))
    assert (told.reason, told.completion_tokens) == ("length", 9)


def test_the_pieces_of_an_answer_are_the_text_of_its_tokens(desk: Desk, starter: Path) -> None:
    replies = desk.ask([user("say something")], few(60))
    shown = "".join(reply.text for reply in replies if isinstance(reply, Delta))
    same = Decoder(starter, CONTEXT, 1)
    text = Text(starter)
    prompt = ChatTemplate(starter, text).encode([user("say something")])
    same.read(prompt, always)
    generated = same.generate(Sampler(HOT, 1, prompt), NO_STOPS)
    assert shown == text.decode([token for _, token in zip(range(60), generated, strict=False)])


def test_the_cached_part_is_reported(desk: Desk, template: ChatTemplate) -> None:
    first = [user("What is a token? " * 9)]
    desk.ask(first, few(4))
    told = done(desk.ask([*first, Message("assistant", "A part of a word."), user("Thanks")], few(4)))
    assert told.cached_tokens >= len(template.encode(first, answer=False))
    assert told.prompt_tokens > told.cached_tokens + TO_RUN


def test_an_answer_ends_where_the_context_does(endless: Path) -> None:
    replies = Desk(endless, context=128).ask([user("so " * 60)])
    assert done(replies).reason == "length"
    # The last token is told and takes no place.
    assert done(replies).prompt_tokens + done(replies).completion_tokens == 128 + 1


def first_new(tokens: list[int], start: int) -> int:
    """The first place from `start` on whose token did not come before."""
    return next(place for place in range(start, len(tokens)) if tokens[place] not in tokens[:place])


@pytest.fixture
def spoken(starter: Path, template: ChatTemplate) -> tuple[list[int], list[int]]:
    """A prompt, and what is said to it with this seed when nothing stops it."""
    prompt = template.encode([user("go on")])
    decoder = Decoder(starter, CONTEXT, 1)
    decoder.read(prompt, always)
    generated = decoder.generate(Sampler(HOT, 1, prompt), NO_STOPS)
    return prompt, [next(generated) for _ in range(200)]


def test_an_answer_ends_before_a_stop_id_of_the_model(
    starter: Path, tmp_path: Path, spoken: tuple[list[int], list[int]]
) -> None:
    _, tokens = spoken
    place = first_new(tokens, 10)
    told = done(Desk(copied(starter, tmp_path, eos_token_id=[99_999, tokens[place]])).ask([user("go on")], few(200)))
    assert (told.reason, told.completion_tokens) == ("stop", place)


def test_an_answer_that_is_complete_when_the_context_is_full_is_complete(
    starter: Path, tmp_path: Path, spoken: tuple[list[int], list[int]]
) -> None:
    prompt, tokens = spoken
    place = first_new(tokens, len(prompt))
    folder = copied(starter, tmp_path, eos_token_id=tokens[place])
    told = done(Desk(folder, context=len(prompt) + place).ask([user("go on")], few(200)))
    assert (told.reason, told.completion_tokens) == ("stop", place)


def test_that_turns_are_left_out_is_told_before_anything_is_read(starter: Path) -> None:
    turn = [user("what " * 30), Message("assistant", "this " * 30)]
    desk = Desk(starter, context=256)
    messages = [Message("system", "Be kind."), *turn * 6, user("And now?")]
    cut, reading, *_ = desk.ask(messages, few(5))
    assert isinstance(cut, Cut)
    assert (cut.turns > 0, cut.context) == (True, 256)
    assert isinstance(reading, Progress)
    # The same conversation without them fits, and is not cut again.
    again = desk.ask([messages[0], *messages[1 + 2 * cut.turns :]], few(5))
    assert isinstance(again[0], Progress)
    assert done(again).prompt_tokens == reading.total


@pytest.mark.parametrize("max_tokens", [5, 50, 200])
def test_the_router_sends_no_conversation_away_that_the_model_reads_whole(starter: Path, max_tokens: int) -> None:
    desk, told, cut = Desk(starter, context=256), [], []
    for words in range(60, 220, 10):
        messages = [user("Hello " * 20), Message("assistant", "Hi " * 20), user("what " * words)]
        replies = desk.ask(messages, few(max_tokens))
        if isinstance(replies[-1], Failed):
            break  # The question alone does not fit.
        cut.append(isinstance(replies[0], Cut))
        tokens = len(ChatTemplate(starter, Text(starter)).encode(messages))
        facts = Facts(local="ready", local_context=256, prompt_tokens=tokens, max_tokens=max_tokens, allowed=True)
        told.append(choose(replace(facts, cloud="ready")).engine == "claude")
    assert told == cut
    assert set(cut) == {True, False}


def test_a_question_that_is_too_long_is_refused_and_the_next_is_answered(starter: Path) -> None:
    desk = Desk(starter, context=256)
    refused = failed(desk.ask([user("long " * 300)], few(5)))
    assert "takes 251" in refused.message
    assert not refused.fatal
    assert done(desk.ask([user("short")], few(2))).prompt_tokens > 0


def test_a_conversation_read_ahead_is_cached_for_the_question(desk: Desk, template: ChatTemplate) -> None:
    talk = [user("hello " * 100), Message("assistant", "Hi.")]
    warmed = done(desk.warm(talk))
    told = done(desk.ask([*talk, user("And?")], few(2)))
    assert told.cached_tokens == warmed.prompt_tokens == len(template.encode(talk, answer=False))


def test_reading_ahead_gives_way_to_a_question(desk: Desk) -> None:
    desk.ask([user("another thing")], few(1))
    desk.when = lambda _: desk.inbox.put(Warm(0, []))
    replies = desk.warm([user("why not " * 200)])
    assert len([reply for reply in replies if isinstance(reply, Progress)]) == 1
    desk.inbox.get()


def test_a_conversation_beyond_the_context_is_not_read_ahead(desk: Desk) -> None:
    assert done(desk.warm([user("many " * 2000)])).reason == "length"
    assert len(desk.replies) == 1


def test_a_question_without_a_model_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "nowhere")
    assert "nowhere" in failed(desk.replies).message
    assert "No model" in failed(desk.ask([user("hi")])).message


# Folders that hold no model


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(content))


def half(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def void(_: object) -> None:
    return None


def changed(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        content["model"] |= changes
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return change


NAMES = ["genai_config.json", "generation_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]
DAMAGES = {
    **{f"no {name}": without(name) for name in NAMES},
    **{f"{name} empty": holding(name, b"") for name in NAMES},
    **{f"{name} of noise": holding(name, bytes(range(256)) * 40) for name in NAMES},
    "half a model.onnx": half("model.onnx"),
    "genai_config.json a list": holding("genai_config.json", b"[]"),
    "an unknown key": changed("genai_config.json", no_such_key=1),
    "an unknown type": changed("genai_config.json", type="no_such_type"),
    "no number for the context": changed("genai_config.json", context_length=None),
    "a path out of the folder": changed("genai_config.json", decoder={"filename": "../../model.onnx"}),
}


@pytest.fixture(scope="module")
def sturdy(starter: Path) -> Iterator[Desk]:
    """A service that goes through all broken folders and still loads a good one."""
    desk = Desk(starter)
    yield desk
    assert isinstance(desk.load(starter), Ready)
    assert done(desk.ask([user("hi")], few(2))).prompt_tokens > 0


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_broken_model_folder_is_told_with_a_way_out(
    sturdy: Desk, starter: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = copied(starter, tmp_path / "model")
    damage(folder)
    told = sturdy.load(folder)
    assert isinstance(told, Failed)
    assert told.hint
    assert not told.fatal, told.message
