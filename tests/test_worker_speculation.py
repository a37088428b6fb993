"""Drafts from the text itself: found in it, made only where they pay, and never seen in the answer."""

from __future__ import annotations

import doctest
import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from scripts.bench_speculation import Replay
from shammah.worker import speculation
from shammah.worker.generation import Decoder
from shammah.worker.sampling import Sampling
from shammah.worker.speculation import MOST_ROWS, NGRAMS, Lookup, Odds, Pace, Speculation
from tests.watched import Watched

CONTEXT = 512
NO_STOPS: frozenset[int] = frozenset()
HOT = Sampling(temperature=100.0, top_k=4096)


def always(_: int) -> bool:
    return True


# Looking up

IDS = st.lists(st.integers(0, 4), max_size=60)


def last_places(ids: Sequence[int], size: int) -> list[int]:
    """The places behind every earlier occurrence of the last n-gram, the newest first."""
    tail = list(ids[len(ids) - size :])
    return [end for end in range(len(ids) - 1, size - 1, -1) if list(ids[end - size : end]) == tail]


@given(ids=IDS, count=st.integers(0, 20))
def test_a_draft_is_what_followed_the_last_time_the_text_read_so(ids: list[int], count: int) -> None:
    places = next((found for size in NGRAMS if len(ids) >= size and (found := last_places(ids, size))), [])
    text = list(ids)
    for place in range(places[0], places[0] + count) if places else ():
        text.append(text[place])
    assert Lookup(ids).draft(count) == text[len(ids) :]


@given(ids=IDS, more=IDS)
def test_a_lookup_that_grew_follows_the_place_it_is_at_while_that_holds(ids: list[int], more: list[int]) -> None:
    lookup = Lookup(ids)
    for place, token in enumerate(more):
        expected = lookup.draft(1) == [token]
        assert lookup.add(token) == expected
        if not expected:
            assert lookup.draft(9) == Lookup([*ids, *more[: place + 1]]).draft(9)


def test_a_copy_is_followed_to_its_end_though_parts_of_it_came_elsewhere_since() -> None:
    lookup = Lookup([*range(50), 100, 20, 21, 99, 10, 11])
    assert [lookup.add(token) for token in range(12, 50)] == [True] * 38


def test_the_examples_in_the_words_about_speculation_are_right() -> None:
    assert doctest.testmod(speculation).failed == 0


# When it pays


def model(more: float, pace: Pace | None = None) -> Replay:
    """A model whose runs take 1 s, and `more` for each row beyond the first."""
    return Replay({rows: 1 + more * (rows - 1) for rows in range(1, MOST_ROWS + 1)}, pace or Pace())


def noise(count: int, seed: int, vocabulary: int = 1000) -> list[int]:
    return [int(id) for id in np.random.default_rng(seed).integers(0, vocabulary, count)]


def test_a_copy_takes_less_than_half_the_time() -> None:
    page = noise(400, 1)
    assert model(more=0.2).tell(page, page) < 200


def test_a_copy_with_changes_takes_less_than_half_the_time() -> None:
    page = noise(600, 2)
    changed = [*page[:150], *noise(6, 3), *page[150:300], *page[310:500], 1, *page[501:]]
    assert model(more=0.2).tell(page, changed) < len(changed) / 2


@pytest.mark.parametrize("vocabulary", [4, 8, 30, 1000])
@pytest.mark.parametrize("more", [0.05, 0.2, 0.5, 1.0, 2.0])
def test_where_nothing_comes_again_the_plain_loop_is_hardly_slower(vocabulary: int, more: float) -> None:
    prompt, answer = noise(600, 4, vocabulary), noise(800, 5, vocabulary)
    assert model(more).tell(prompt, answer) <= len(answer) / 0.97


@pytest.mark.parametrize("more", [1.0, 3.0])
def test_where_a_row_costs_a_step_trials_are_few_and_short(more: float) -> None:
    page = noise(2000, 6)
    replay = model(more)
    assert replay.tell(page, page) <= len(page) / 0.97
    trials = [rows for rows in replay.rows if rows > 1]
    assert 1 <= len(trials) <= 5
    assert max(trials) <= Pace.TRIAL_ROWS


def test_what_was_switched_off_by_a_busy_moment_comes_on_again() -> None:
    page = noise(4000, 7)
    busy = model(more=5.0)
    busy.tell(page, page[:100])
    idle = model(more=0.2, pace=busy.pace)
    assert idle.tell(page, page) < len(page) / 2


def test_a_single_outlier_does_not_switch_it_off() -> None:
    page = noise(400, 8)
    replay = model(more=0.2)
    replay.tell(page, page)
    replay.pace.record(1, 100.0)
    replay.pace.record(9, 900.0)
    assert replay.tell(page, page) < 200


def test_nothing_is_drafted_before_a_step_was_measured() -> None:
    assert Pace().draft([1.0] * 16) == 0


@given(matched=st.integers(0, 200), rights=st.lists(st.booleans(), max_size=100))
def test_chances_are_chances(matched: int, rights: list[bool]) -> None:
    odds = Odds()
    for right in rights:
        odds.learn(min(matched, speculation.FULL_MATCH), right)
    assert 0 <= odds.chance(matched) <= 1


@given(ids=IDS.filter(lambda ids: len(ids) > 2), room=st.integers(-2, 30), stop=st.integers(0, 4))
def test_a_draft_has_room_and_no_stop_token(ids: list[int], room: int, stop: int) -> None:
    pace = Pace()
    for rows in (1, 1, 1, 2):
        pace.record(rows, 1.0)  # A second row costs nothing: everything pays.
    draft = Speculation(ids, frozenset({stop}), pace).draft(room)
    assert len(draft) <= max(min(room, MOST_ROWS - 1), 0)
    assert stop not in draft


# The answer


def with_even_rows(starter: Path, folder: Path) -> Path:
    """The starter with an attention that sees two rows where one comes in: then a row has the same bits everywhere."""
    shutil.copytree(starter, folder, dirs_exist_ok=True)
    model = onnx.load(str(starter / "model.onnx"))
    nodes = list(model.graph.node)
    attentions = [node for node in nodes if node.op_type == "GroupQueryAttention"]
    past, lengths, total = attentions[0].input[3], attentions[0].input[5], attentions[0].input[6]
    numbers = {"none": [0], "one": [1], "before": [0, 0, 0, 0]}
    model.graph.initializer.extend(_integers(f"even.{name}", values) for name, values in numbers.items())
    even = _nodes(
        "even.",
        ("Shape", ["input_ids"], "rows", {"start": 1, "end": 2}),
        ("Shape", ["attention_mask"], "used", {"start": 1, "end": 2}),
        ("Shape", [past], "places", {"start": 2, "end": 3}),
        ("Equal", ["even.rows", "even.one"], "alone", {}),
        ("Less", ["even.used", "even.places"], "free", {}),
        ("And", ["even.alone", "even.free"], "add", {}),
        ("Cast", ["even.add"], "more", {"to": TensorProto.INT64}),
        ("Cast", ["even.add"], "more32", {"to": TensorProto.INT32}),
        ("Squeeze", ["even.more32"], "scalar", {}),
        ("Concat", ["even.before", "even.more", "even.none"], "pads", {"axis": 0}),
        ("Add", [lengths, "even.more32"], "lengths", {}),
        ("Add", [total, "even.scalar"], "total", {}),
    )
    changed = []
    for node in nodes:
        if node is attentions[0]:
            changed += even
        changed += _with_two_rows(node) if node.op_type == "GroupQueryAttention" else [node]
    model.graph.ClearField("node")
    model.graph.node.extend(changed)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def _with_two_rows(attention: NodeProto) -> list[NodeProto]:
    name = attention.output[0]
    attention, packed = NodeProto.FromString(attention.SerializeToString()), attention.input[0]
    attention.input[0], attention.input[5], attention.input[6] = f"{name}.two", "even.lengths", "even.total"
    attention.output[0] = f"{name}.rows"
    (before,) = _nodes("", ("Pad", [packed, "even.pads"], f"{name}.two", {}))
    (behind,) = _nodes("", ("Slice", [f"{name}.rows", "even.none", "even.rows", "even.one"], name, {}))
    return [before, attention, behind]


def _integers(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def _nodes(prefix: str, *wanted: tuple[str, list[str], str, dict[str, Any]]) -> list[NodeProto]:
    return [helper.make_node(kind, inputs, [prefix + output], **more) for kind, inputs, output, more in wanted]


def with_uneven_rows(model_folder: Path, folder: Path, beyond: int = 0) -> Path:
    """A graph whose logits are a little larger where one row comes in, behind more than `beyond` tokens."""
    shutil.copytree(model_folder, folder, dirs_exist_ok=True)
    model = onnx.load(str(model_folder / "model.onnx"))
    head = next(node for node in model.graph.node if "logits" in node.output)
    head.output[0] = "uneven.logits"
    model.graph.initializer.extend([_integers("uneven.one", [1]), _integers("uneven.beyond", [beyond])])
    added = _nodes(
        "",
        ("Shape", ["input_ids"], "uneven.rows", {"start": 1, "end": 2}),
        ("Shape", ["attention_mask"], "uneven.used", {"start": 1, "end": 2}),
        ("Equal", ["uneven.rows", "uneven.one"], "uneven.alone", {}),
        ("Greater", ["uneven.used", "uneven.beyond"], "uneven.far", {}),
        ("And", ["uneven.alone", "uneven.far"], "uneven.both", {}),
        ("Cast", ["uneven.both"], "uneven.more", {"to": TensorProto.FLOAT}),
        ("Add", ["uneven.logits", "uneven.more"], "logits", {}),
    )
    model.graph.node.extend(added)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def with_last_logits(starter: Path, folder: Path) -> Path:
    """The starter with a graph that gives the logits of the last row only."""
    shutil.copytree(starter, folder, dirs_exist_ok=True)
    model = onnx.load(str(starter / "model.onnx"))
    head = next(node for node in model.graph.node if "logits" in node.output)
    model.graph.initializer.extend(
        [_integers("last.first", [-1]), _integers("last.end", [2**62]), _integers("last.axis", [1])]
    )
    cut = helper.make_node("Slice", [head.input[0], "last.first", "last.end", "last.axis"], ["last.row"])
    head.input[0] = "last.row"
    model.graph.node.insert(len(model.graph.node) - 1, cut)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, str(folder / "model.onnx"))
    return folder


class Steady:
    """A clock by which every run takes the same time: several rows are as fast as one."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self) -> float:
        self._told += 1
        return float(self._told)


class Counting(Decoder):
    """A decoder that notes the rows of each run of its answers."""

    def __init__(self, folder: Path, context: int = CONTEXT) -> None:
        super().__init__(folder, context, 1, clock=Steady())
        self.rows: list[int] = []
        record = self.pace.record

        def noted(rows: int, seconds: float) -> None:
            self.rows.append(rows)
            record(rows, seconds)

        self.pace.record = noted  # type: ignore[method-assign]


@dataclass(frozen=True)
class Answer:
    """New tokens, the logits behind each, and how many tokens of the prompt the cache held."""

    tokens: list[int]
    logits: NDArray[np.float32]
    kept: int


def answer(
    decoder: Decoder,
    prompt: Sequence[int],
    count: int,
    sampling: Sampling = HOT,
    *,
    seed: int | None = 1,
    stops: frozenset[int] = NO_STOPS,
    draft: bool = True,
    repeatable: bool = True,
) -> Answer:
    kept = decoder.read(prompt, always)
    sampler = Watched(sampling, seed, prompt)
    generated = decoder.generate(sampler, stops, draft=draft, repeatable=repeatable)
    tokens = list(itertools.islice(generated, count))
    generated.close()
    return Answer(tokens, np.array(sampler.rows), kept)


def assert_same(one: Answer, other: Answer) -> None:
    assert one.tokens == other.tokens
    assert np.array_equal(one.logits, other.logits)


@pytest.fixture(scope="module")
def even(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_even_rows(starter, tmp_path_factory.mktemp("even"))


@pytest.fixture(scope="module")
def drafting(even: Path) -> Counting:
    return Counting(even)


@pytest.fixture(scope="module")
def plain(even: Path) -> Decoder:
    return Decoder(even, CONTEXT, 1)


PARTS = st.lists(st.integers(3, 4095), min_size=1, max_size=30)
QUOTING = st.builds(lambda part, times, end: (part * times + end)[-300:], PARTS, st.integers(1, 6), PARTS)
SAMPLINGS = st.sampled_from([Sampling(), Sampling(), Sampling(repetition_penalty=1.1), Sampling(0.7, 20, 0.8, 1.05)])


@given(prompt=PARTS.filter(lambda ids: len(ids) > 2) | QUOTING, sampling=SAMPLINGS, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_an_answer_with_drafts_is_the_plain_answer_to_the_last_bit(
    drafting: Counting, plain: Decoder, prompt: list[int], sampling: Sampling, seed: int
) -> None:
    plain.forget()
    found = answer(drafting, prompt, 40, sampling, seed=seed)
    assert_same(found, answer(plain, prompt, 40, sampling, seed=seed, draft=False))


def test_a_text_that_repeats_itself_takes_few_runs(drafting: Counting, plain: Decoder) -> None:
    prompt = [200, 201, 202, 203]
    drafting.rows.clear()
    found = answer(drafting, prompt, 300, Sampling())
    assert_same(found, answer(plain, prompt, 300, Sampling(), draft=False))
    assert len(drafting.rows) < 0.8 * 300
    assert max(drafting.rows) <= MOST_ROWS


def test_an_answer_broken_off_at_any_token_leaves_a_cache_that_is_right(drafting: Counting, plain: Decoder) -> None:
    prompt = [200, 201, 202, 203]
    whole = answer(plain, prompt, 60, Sampling(), draft=False)
    for count in range(20, 60, 7):
        broken = answer(drafting, prompt, count, Sampling())
        assert broken.tokens == whole.tokens[:count]
        longer = [*prompt, *broken.tokens, 7, 8, 9]
        plain.forget()
        assert_same(answer(drafting, longer, 9), answer(plain, longer, 9, draft=False))


def test_an_answer_need_not_be_read_again_by_the_next_turn(drafting: Counting) -> None:
    prompt = [300, 301, 302, 303]
    first = answer(drafting, prompt, 30)
    again = answer(drafting, [*prompt, *first.tokens, 5, 6, 7], 1)
    # The last token told was not run yet.
    assert again.kept == len(prompt) + len(first.tokens) - 1


def test_an_answer_with_drafts_ends_before_a_stop_token(even: Path, plain: Decoder) -> None:
    prompt = [200, 201, 202, 203]
    tokens = answer(plain, prompt, 200, Sampling(), draft=False).tokens
    places = [place for place in range(20, 200) if tokens[place] not in tokens[:place]] or [0]
    for place in places[:3]:
        decoder = Counting(even)
        stops = frozenset({tokens[place]})
        assert answer(decoder, prompt, 200, Sampling(), stops=stops).tokens == tokens[: tokens.index(tokens[place])]


def test_an_answer_with_drafts_fills_the_context_exactly(even: Path) -> None:
    prompt = [200, 201, 202, 203]
    small, same = Counting(even, 100), Decoder(even, 100, 1)
    found = answer(small, prompt, 1000, Sampling())
    assert_same(found, answer(same, prompt, 1000, Sampling(), draft=False))
    assert len(prompt) + len(found.tokens) == 100 + 1
    assert max(small.rows) > 1


def test_where_rows_have_other_bits_only_what_nobody_can_repeat_is_drafted(starter: Path, tmp_path: Path) -> None:
    uneven = Counting(with_uneven_rows(starter, tmp_path))
    prompt = [200, 201, 202, 203]
    answer(uneven, prompt, 60, Sampling())
    assert set(uneven.rows) == {1}
    answer(uneven, prompt, 60, Sampling(), repeatable=False)
    assert max(uneven.rows) > 1


def test_where_rows_begin_to_have_other_bits_no_more_is_drafted(even: Path, tmp_path: Path) -> None:
    later = Counting(with_uneven_rows(even, tmp_path, beyond=60))
    found = answer(later, [200, 201, 202, 203], 300, Sampling())
    assert max(later.rows) > 1
    assert set(later.rows[-100:]) == {1}
    assert len(found.tokens) == 300


def test_a_graph_that_gives_the_last_logits_only_is_never_given_a_draft(starter: Path, tmp_path: Path) -> None:
    decoder = Counting(with_last_logits(starter, tmp_path))
    answer(decoder, [200, 201, 202, 203], 60, Sampling(), repeatable=False)
    assert set(decoder.rows) == {1}
