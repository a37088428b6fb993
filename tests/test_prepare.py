"""Preparing a download: the same network in a faster graph, or the download as it is with a sentence that says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_genai as og
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import _pybind_state as runtime

from shammah.errors import ModelError
from shammah.files import whole_folder
from shammah.loader.prepare.map import find
from shammah.loader.prepare.quantise import BLOCK, pack, quantise
from shammah.loader.prepare.read import read_export
from shammah.loader.prepare.recipe import Report, prepare
from shammah.loader.prepare.shape import read_shape
from shammah.loader.prepare.synthesise import Value, match_names
from shammah.loader.prepare.understood import NotUnderstood
from shammah.worker.generation import Decoder
from shammah.worker.sampling import Sampler, Sampling

TINY = Path(__file__).parent / "data" / "tiny_export"
GRAPH = "onnx/model_q4f16.onnx"
ROOT = Path(__file__).parents[1]

Change = Callable[[onnx.ModelProto], object]


def quiet(step: str, share: float) -> None:
    """Listen to no progress."""


def prepared(source: Path, folder: Path) -> Report:
    return prepare(source, GRAPH, folder / "prepared", quiet, 2)


def repository(folder: Path, *changes: Change, external: bool = False, **config: object) -> Path:
    """The tiny export with a changed graph or config.json."""
    source = folder / "source"
    shutil.copytree(TINY, source)
    model = onnx.load(TINY / GRAPH)
    for change in changes:
        change(model)
    (source / GRAPH).unlink()
    data = "model_q4f16.onnx_data" if external else None
    # As the hub's large exports are written, with the numbers of nodes outside too.
    outside: dict[str, Any] = {"size_threshold": 16, "convert_attribute": True}
    onnx.save(model, source / GRAPH, save_as_external_data=external, location=data, **outside)
    settings = json.loads((source / "config.json").read_text()) | config
    (source / "config.json").write_text(json.dumps(settings))
    return source


def weights(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def nodes(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def attributes(node: onnx.NodeProto) -> dict[str, int]:
    return {item.name: item.i for item in node.attribute}


def as_floats(model: onnx.ModelProto) -> None:
    """Write every quantised product as a MatMul with the floats that its blocks stand for."""
    held = weights(model)
    for node in nodes(model, "MatMulNBits"):
        packed, scales = (numpy_helper.to_array(held[name]) for name in node.input[1:3])
        sizes = attributes(node)
        levels = np.stack([packed & 15, packed >> 4], axis=-1).reshape(sizes["N"], -1, BLOCK).astype(np.float32) - 8
        matrix = (levels * scales.reshape(sizes["N"], -1, 1).astype(np.float32)).reshape(sizes["N"], sizes["K"]).T
        name = node.input[1].removesuffix("_Q4")
        model.graph.initializer.append(numpy_helper.from_array(matrix.astype(scales.dtype), name))
        plain = helper.make_node("MatMul", [node.input[0], name], node.output, node.name.removesuffix("_Q4"))
        node.CopyFrom(plain)
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def widen(model: onnx.ModelProto) -> None:
    """Write every half float as a float."""
    for node in model.graph.node:
        for item in node.attribute:
            if item.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(item.t)
            elif item.name == "to" and item.i == TensorProto.FLOAT16:
                item.i = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        _widen_tensor(tensor)
    del model.graph.value_info[:]


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The tiny export, prepared as it is."""
    return prepared(TINY, tmp_path_factory.mktemp("tiny"))


def graph_of(report: Report) -> onnx.ModelProto:
    return onnx.load(report.folder / "model.onnx")


def run(graph: Path, ids: Sequence[int], cut: int = 32) -> NDArray[np.float32]:
    """Logits of all positions, the ids read in slices into a cache."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    cache = {given.name: np.zeros((1, 2, 0, 16), np.float32) for given in session.get_inputs() if "past" in given.name}
    names, rows = [output.name for output in session.get_outputs()], []
    for start in range(0, len(ids), cut):
        part = ids[start : start + cut]
        fed = {"input_ids": np.array([part]), "attention_mask": np.ones((1, start + len(part)), np.int64)}
        logits, *present = session.run(names, {**fed, **cache})
        cache = dict(zip(cache, present, strict=True))
        rows.append(logits[0])
    return np.concatenate(rows)


def answer(folder: Path, ids: Sequence[int], count: int) -> list[int]:
    """What the worker's own decoder says, greedily."""
    decoder = Decoder(folder, 256, 2)
    decoder.read(ids, lambda _: True)
    tokens = decoder.generate(Sampler(Sampling(), 0, []), frozenset())
    return [next(tokens) for _ in range(count)]


REFERENCE = np.load(TINY / "reference.npz")
"""What transformers computes from the numbers that the tiny export holds: logits of some rows."""

IDS: list[int] = REFERENCE["ids"].tolist()


# The rewritten graph


def test_it_computes_what_transformers_computes_from_the_same_weights(tiny: Report, tmp_path: Path) -> None:
    exact = without_rounded_inputs(tiny, tmp_path)
    found = run(exact, IDS)[REFERENCE["rows"]]
    np.testing.assert_allclose(found, REFERENCE["logits"], rtol=0, atol=1e-3)


def without_rounded_inputs(report: Report, folder: Path) -> Path:
    """The same graph with products as exact as they are slow, and all logits formed from the finer table."""
    shutil.copytree(report.folder, folder / "exact")
    model = onnx.load(folder / "exact" / "model.onnx", load_external_data=False)
    for node in nodes(model, "MatMulNBits"):
        kept = [item for item in node.attribute if item.name != "accuracy_level"]
        del node.attribute[:]
        node.attribute.extend(kept)
    form_anew(4096, model)
    onnx.save(model, folder / "exact" / "model.onnx")
    return folder / "exact" / "model.onnx"


def form_anew(count: int, model: onnx.ModelProto) -> None:
    """Let the finer table form the logits of so many tokens."""
    weights(model)["candidates"].CopyFrom(numpy_helper.from_array(np.array([count]), "candidates"))


def test_the_likeliest_tokens_have_the_logits_of_the_finer_table(tiny: Report, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "fine")
    model = onnx.load(tmp_path / "fine" / "model.onnx", load_external_data=False)
    form_anew(4096, model)
    onnx.save(model, tmp_path / "fine" / "model.onnx")
    fine, found = (run(folder / "model.onnx", IDS) for folder in (tmp_path / "fine", tiny.folder))
    for expected, row in zip(fine, found, strict=True):
        best = np.argsort(-expected)[:20]
        assert np.array_equal(row[best], expected[best])
    assert np.sqrt(np.mean((found - fine) ** 2)) < 0.15 * fine.std()


def test_rounding_inputs_to_8_bits_changes_logits_by_little(tiny: Report) -> None:
    expected = REFERENCE["logits"]
    error = run(tiny.folder / "model.onnx", IDS)[REFERENCE["rows"]] - expected
    likeliest = np.argsort(-expected, axis=1)[:, :20]
    assert np.sqrt(np.mean(np.take_along_axis(error, likeliest, axis=1) ** 2)) < 0.03 * expected.std()
    assert tiny.form == "rewritten"
    assert tiny.notes == []


def test_blocks_of_4_bits_are_kept_bit_for_bit(tiny: Report) -> None:
    before = onnx.load(TINY / GRAPH)
    held, blocks = weights(before), {}
    for node in nodes(before, "MatMulNBits"):
        _, layer, _, part, _ = node.name.strip("/").removeprefix("model/").replace("/", ".").split(".", 4)
        blocks[layer, part.split(".")[0]] = numpy_helper.to_array(held[node.input[1]])
    after = weights(graph_of(tiny))
    for layer in ("0", "1"):
        joined = np.concatenate([blocks[layer, part] for part in ("q_proj", "k_proj", "v_proj")])
        assert np.array_equal(numpy_helper.to_array(after[f"layers.{layer}.qkv.weight"]), joined)
        for name, part in (("out", "o_proj"), ("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
            assert np.array_equal(numpy_helper.to_array(after[f"layers.{layer}.{name}.weight"]), blocks[layer, part])


FORMS: dict[str, tuple[Change, ...]] = {"q4": (widen,), "fp16": (as_floats,), "fp32": (as_floats, widen)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("external", [False, True])
def test_every_form_of_the_same_weights_is_prepared_to_the_same_bytes(
    tiny: Report, tmp_path: Path, form: str, external: bool
) -> None:
    report = prepared(repository(tmp_path, *FORMS[form], external=external), tmp_path)
    assert any("rounded to 4 bits" in note for note in report.notes) == (form != "q4")
    for name in ("model.onnx", "model.onnx.data"):
        assert (report.folder / name).read_bytes() == (tiny.folder / name).read_bytes()


def test_the_likeliest_tokens_are_looked_up_where_the_embedding_is(tiny: Report) -> None:
    model = onnx.load(tiny.folder / "model.onnx", load_external_data=False)
    embedding, likeliest = nodes(model, "GatherBlockQuantized")
    assert [embedding.input[0], embedding.input[2]] == [likeliest.input[0], likeliest.input[2]]
    (length,) = (entry.value for entry in weights(model)[embedding.input[0]].external_data if entry.key == "length")
    assert int(length) == 4096 * 64


def test_weights_begin_at_pages_so_that_they_are_mapped(tiny: Report) -> None:
    model = onnx.load(tiny.folder / "model.onnx", load_external_data=False)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    offsets = [int(entry.value) for entry in entries if entry.key == "offset"]
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)


def test_a_long_slice_gives_its_last_rows_and_zeros_before_them(tiny: Report) -> None:
    graph = tiny.folder / "model.onnx"
    whole, sliced = run(graph, IDS, cut=len(IDS)), run(graph, IDS, cut=8)
    assert not whole[:-2].any()
    np.testing.assert_allclose(whole[-2:], sliced[-2:], rtol=0, atol=1e-5)


def test_the_worker_answers_from_it(tiny: Report) -> None:
    assert answer(tiny.folder, IDS, 8) == answer(tiny.folder, IDS, 8)
    first = answer(tiny.folder, IDS, 1)
    assert first == [int(run(tiny.folder / "model.onnx", IDS)[-1].argmax())]


@pytest.mark.parametrize("length", [3, 40, 150])
def test_a_row_has_the_same_bits_alone_and_among_others(tiny: Report, length: int) -> None:
    ids = (IDS * 8)[: length + 17]
    whole = last_rows(tiny.folder, ids, length)
    for cuts in ([length + place for place in range(1, 17)], [length + 2, length + 5, length + 6]):
        assert np.array_equal(last_rows(tiny.folder, ids, *cuts, length), whole)


def last_rows(folder: Path, ids: Sequence[int], *cuts: int) -> NDArray[np.float32]:
    """Logits of the last 17 ids, run in one shared cache that is cut there; what lies before them is read at once."""
    model = og.Model(str(folder))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + 8)
    generator = og.Generator(model, parameters)
    places, rows = sorted({*cuts, len(ids)}), []
    generator.append_tokens(np.array(ids[: places[0]], np.int32))
    for start, stop in pairwise(places):
        generator.append_tokens(np.array(ids[start:stop], np.int32))
        rows.append(generator.get_output("logits")[0])
    return np.concatenate(rows)


def test_what_the_runtime_is_told_comes_from_the_repository(tiny: Report) -> None:
    settings = json.loads((tiny.folder / "genai_config.json").read_text())
    model = settings["model"]
    assert (model["eos_token_id"], model["pad_token_id"]) == ([2, 0], 0)
    assert (model["vocab_size"], model["context_length"]) == (4096, 4096)
    assert settings["search"]["past_present_share_buffer"] is True
    assert "null" not in (tiny.folder / "genai_config.json").read_text()


def test_files_that_the_worker_reads_stand_beside_it(tiny: Report) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tiny.folder / name).read_bytes() == (TINY / name).read_bytes()


def test_zero_points_are_kept(tmp_path: Path) -> None:
    def with_zeros(model: onnx.ModelProto) -> None:
        # Levels one higher with a zero one higher are the same numbers.
        held = weights(model)
        for node in nodes(model, "MatMulNBits"):
            sizes = attributes(node)
            packed = numpy_helper.to_array(held[node.input[1]])
            levels = np.minimum(np.stack([packed & 15, packed >> 4], axis=-1) + 1, 15)
            raised = (levels[..., 0] | levels[..., 1] << 4).astype(np.uint8)
            held[node.input[1]].CopyFrom(numpy_helper.from_array(raised, node.input[1]))
            zeros = np.full((sizes["N"], (sizes["K"] // BLOCK + 1) // 2), 0x99, np.uint8)
            model.graph.initializer.append(numpy_helper.from_array(zeros, f"{node.name}_zeros"))
            node.input.append(f"{node.name}_zeros")

    report = prepared(repository(tmp_path, with_zeros), tmp_path)
    assert (report.form, report.notes) == ("rewritten", [])
    for node in nodes(graph_of(report), "MatMulNBits")[:-1]:
        assert len(node.input) == 4


def test_a_head_that_is_stored_twice_is_written_once(tiny: Report, tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, own_head(lambda table: table)), tmp_path)
    assert (report.folder / "model.onnx.data").read_bytes() == (tiny.folder / "model.onnx.data").read_bytes()


def test_a_head_of_its_own_is_written_beside_the_embedding(tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, own_head(lambda table: table[::-1])), tmp_path)
    assert report.form == "rewritten"
    embedding, likeliest = nodes(graph_of(report), "GatherBlockQuantized")
    assert embedding.input[0] != likeliest.input[0]


def test_a_quantised_head_keeps_its_blocks(tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, own_head(lambda table: table), quantised_head), tmp_path)
    assert (report.form, report.notes) == ("rewritten", [])
    expected = numpy_helper.to_array(weights(onnx.load(tmp_path / "source" / GRAPH))["onnx::MatMul_9999_Q4"])
    assert np.array_equal(numpy_helper.to_array(weights(graph_of(report))["head.weight"]), expected)


def quantised_head(model: onnx.ModelProto) -> None:
    """Store the head as 4-bit blocks, as some repositories do."""
    head = numpy_helper.to_array(weights(model)["onnx::MatMul_9999"]).T.astype(np.float32)
    levels, scales = quantise(np.ascontiguousarray(head), 4)
    (node,) = (node for node in model.graph.node if node.name == "/lm_head/MatMul")
    held: dict[str, NDArray[Any]] = {"onnx::MatMul_9999_Q4": pack(levels, 4)}
    held["onnx::MatMul_9999_scales"] = scales.astype(np.float16)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in held.items())
    sizes: dict[str, Any] = {"K": 64, "N": 4096, "bits": 4, "block_size": BLOCK, "domain": "com.microsoft"}
    node.CopyFrom(helper.make_node("MatMulNBits", [node.input[0], *held], node.output, node.name, **sizes))


def own_head(values: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
    """Store the head apart, as MatMul takes it."""

    def change(model: onnx.ModelProto) -> None:
        table = numpy_helper.to_array(weights(model)["model.embed_tokens.weight"])
        head = np.ascontiguousarray(values(table).T)
        model.graph.initializer.append(numpy_helper.from_array(head, "onnx::MatMul_9999"))
        (node,) = (node for node in model.graph.node if node.name == "/lm_head/MatMul")
        node.input[1] = "onnx::MatMul_9999"

    return change


# As downloaded


def rename(old: str, new: str) -> Change:
    """Another name in the names of all nodes."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.name = node.name.replace(old, new)

    return change


def double_the_feed_forward(model: onnx.ModelProto) -> None:
    """Something that no name tells: the output of a layer's feed-forward is added to itself."""
    (node,) = (node for node in model.graph.node if node.name == "/model/layers.0/mlp/Mul")
    twice = helper.make_node("Add", [node.output[0]] * 2, ["twice"], "/model/layers.0/mlp/Add")
    for taker in model.graph.node:
        if node.output[0] in taker.input:
            taker.input[list(taker.input).index(node.output[0])] = "twice"
    model.graph.node.insert(list(model.graph.node).index(node) + 1, twice)


def resize_blocks(model: onnx.ModelProto) -> None:
    """A product whose blocks are not of the size that it tells."""
    node = nodes(model, "MatMulNBits")[0]
    for item in node.attribute:
        if item.name == "block_size":
            item.i = 64


NOT_UNDERSTOOD: dict[str, tuple[Change | None, dict[str, Any], str]] = {
    "another architecture": (None, {"model_type": "llama"}, "model_type = 'llama'"),
    "another activation": (None, {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    "scaled positions": (None, {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "scaled by 'yarn'"),
    "sliding windows": (None, {"use_sliding_window": True}, "use_sliding_window = True"),
    "another base": (None, {"rope_theta": 10000.0}, "the base 10000"),
    "another epsilon": (None, {"rms_norm_eps": 1e-5}, "epsilon 1e-05"),
    "more layers": (None, {"num_hidden_layers": 3}, "2 layers, its config.json 3"),
    "other heads": (None, {"num_key_value_heads": 4}, "k_proj is 64 to 32"),
    "a further part": (rename("self_attn/q_proj", "self_attn/q_norm"), {}, "a part self_attn/q_norm"),
    "names of another exporter": (rename("/model/layers.", "node_"), {}, "do not carry the names"),
    "a head by another name": (rename("/lm_head/", "/score/"), {}, "no MatMul or MatMulNBits named /lm_head/"),
    "blocks of another size": (resize_blocks, {}, "do not have the size"),
    "fewer positions than are tried": (None, {"max_position_embeddings": 8}, "does not run"),
    "what no name tells": (double_the_feed_forward, {}, "gives other answers"),
}


@pytest.mark.parametrize("what", NOT_UNDERSTOOD)
def test_what_is_not_understood_runs_as_downloaded_and_says_why(tmp_path: Path, what: str) -> None:
    change, config, words = NOT_UNDERSTOOD[what]
    report = prepared(repository(tmp_path, *filter(None, [change]), **config), tmp_path)
    assert report.form == "as downloaded"
    (note,) = report.notes
    assert words in note
    assert not (report.folder / "model.onnx.data").exists()


IN_USE = """
import sys
from pathlib import Path
from shammah.loader.prepare.recipe import prepare

def seen(event, arguments):
    if event == "shutil.rmtree":
        print(str(arguments[0]) in Path("/proc/self/maps").read_text())

sys.addaudithook(seen)
prepare(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), lambda step, share: None, 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files a process has in its memory")
def test_a_rewritten_graph_that_does_not_run_is_deleted_when_nothing_uses_it(tmp_path: Path) -> None:
    source = repository(tmp_path, max_position_embeddings=8)
    program = [sys.executable, "-c", IN_USE, str(source), GRAPH, str(tmp_path / "prepared")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_the_worker_answers_from_a_download_that_is_not_rewritten(tiny: Report, tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, model_type="qwen9"), tmp_path)
    assert answer(report.folder, IDS, 4) == answer(tiny.folder, IDS, 4)


@pytest.mark.parametrize("external", [False, True])
def test_a_download_that_is_not_rewritten_rounds_inputs_too(tmp_path: Path, external: bool) -> None:
    source = repository(tmp_path, external=external)
    settings = json.loads((source / "config.json").read_text()) | {"model_type": "qwen9"}
    (source / "config.json").write_text(json.dumps(settings))
    report = prepared(source, tmp_path)
    before, after = read_export(source / GRAPH), read_export(report.folder / "model_q4f16.onnx")
    assert {attributes(node)["accuracy_level"] for node in nodes(after.model, "MatMulNBits")} == {4}
    assert [(node.name, *node.input) for node in before.graph.node] == [
        (node.name, *node.input) for node in after.graph.node
    ]
    assert after.small == before.small
    assert all(np.array_equal(before.array(name), after.array(name)) for name in before.stored | after.stored)


def test_data_of_a_download_that_is_not_rewritten_takes_no_room_twice(tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, external=True, model_type="qwen9"), tmp_path)
    data = "model_q4f16.onnx_data"
    assert (tmp_path / "source" / "onnx" / data).samefile(report.folder / data)


def test_an_export_of_floats_is_linked_whole(tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, as_floats, widen, model_type="qwen9"), tmp_path)
    assert (tmp_path / "source" / GRAPH).samefile(report.folder / "model_q4f16.onnx")


def other_names(model: onnx.ModelProto) -> None:
    """Name inputs and outputs in another way."""
    new = {"input_ids": "x", "attention_mask": "mask", "logits": "y"}
    for value in [*model.graph.input, *model.graph.output]:
        kind, _, rest = value.name.partition(".")
        if rest:
            layer, part = rest.split(".")
            new[value.name] = f"{'in' if kind.startswith('past') else 'out'}_{part[0]}_{layer}"
        value.name = new.get(value.name, value.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]


def test_other_names_of_inputs_and_outputs_are_matched(tiny: Report, tmp_path: Path) -> None:
    report = prepared(repository(tmp_path, other_names), tmp_path)
    assert report.form == "as downloaded"
    assert answer(report.folder, IDS, 4) == answer(tiny.folder, IDS, 4)


def ids(name: str) -> Value:
    return Value(name, TensorProto.INT64, (0, 0))


def cache(*names: str) -> list[Value]:
    return [Value(name, TensorProto.FLOAT, (0, 2, 0, 16)) for name in names]


LOGITS = Value("logits", TensorProto.FLOAT, (0, 0, 4096))


def test_values_of_the_cache_may_come_before_its_keys() -> None:
    names = match_names([ids("input"), *cache("pv.0.value", "pv.0.key")], [LOGITS, *cache("o.0.value", "o.0.key")])
    assert (names.ids, names.mask, names.positions) == ("input", None, None)
    assert (names.past_key, names.past_value) == ("pv.%d.key", "pv.%d.value")
    assert (names.present_key, names.present_value) == ("o.%d.key", "o.%d.value")


PAST = cache("past.0.key", "past.0.value")
PRESENT = cache("present.0.key", "present.0.value")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([ids("x")], [LOGITS]),
        ([ids("a"), ids("b"), *PAST], [LOGITS, *PRESENT]),
        ([ids("x"), *PAST], [Value("class", TensorProto.FLOAT, (0, 2)), *PRESENT]),
        ([ids("x"), *PAST, *cache("past.2.key", "past.2.value")], [LOGITS, *PRESENT]),
        ([ids("x"), Value("use_cache_branch", TensorProto.BOOL, (1,)), *PAST], [LOGITS, *PRESENT]),
        ([ids("x"), *PAST], [LOGITS]),
        ([], []),
    ],
)
def test_a_graph_that_is_no_decoder_is_refused_by_its_names(inputs: list[Value], outputs: list[Value]) -> None:
    with pytest.raises(ModelError, match="no decoder with a cache") as refused:
        match_names(inputs, outputs)
    assert all(value.name in str(refused.value) for value in [*inputs, *outputs][:3])


def test_the_end_of_an_answer_may_stand_in_config_json(tmp_path: Path) -> None:
    source = repository(tmp_path, eos_token_id=7)
    (source / "generation_config.json").unlink()
    report = prepared(source, tmp_path)
    assert json.loads((report.folder / "genai_config.json").read_text())["model"]["eos_token_id"] == [7]
    assert json.loads((report.folder / "generation_config.json").read_text())["eos_token_id"] == [7]


def test_a_model_without_an_end_is_refused(tmp_path: Path) -> None:
    source = repository(tmp_path, eos_token_id=None)
    (source / "generation_config.json").write_text("{}")
    with pytest.raises(ModelError, match="eos_token_id"):
        prepared(source, tmp_path)


# What is on disk


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    prepare(TINY, GRAPH, tmp_path / "prepared", lambda step, share: told.append((step, share)), 2)
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert list(dict.fromkeys(step for step, _ in told)) == ["reading", "rewriting", "checking", "ready"]


def test_what_it_found_is_written_down(tiny: Report) -> None:
    written = json.loads((tiny.folder / "prepared.json").read_text())
    assert written["form"] == "rewritten"
    assert written["figures"] == tiny.figures
    assert set(tiny.figures) == {"agreement", "divergence", "difference"}


PROGRAM = """
import sys
from pathlib import Path
from shammah.loader.prepare.recipe import prepare
def told(step, share):
    print(step, share, flush=True)
prepare(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), told, 1)
"""


@pytest.mark.parametrize("lines", [1, 2, 4, 6])
def test_a_killed_preparation_leaves_nothing_that_counts_and_starts_again(
    tiny: Report, tmp_path: Path, lines: int
) -> None:
    program = [sys.executable, "-c", PROGRAM, str(TINY), GRAPH, str(tmp_path / "prepared")]
    with subprocess.Popen(program, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        child.kill()
    assert not (tmp_path / "prepared").exists()
    report = prepared(TINY, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
    for name in ("model.onnx", "model.onnx.data"):
        assert (report.folder / name).read_bytes() == (tiny.folder / name).read_bytes()


def test_a_failed_preparation_leaves_nothing(tmp_path: Path) -> None:
    source = repository(tmp_path)
    (source / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="no JSON object"):
        prepared(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_an_earlier_recipe_left_half_done_is_replaced(tmp_path: Path) -> None:
    for left in (".part-folder", "folder"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "old").touch()
    with whole_folder(tmp_path / "folder") as part:
        (part / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["folder", "folder/new"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be prepared"):
        prepared(TINY, tmp_path / "file")


# Reading


@pytest.mark.parametrize("external", [False, True])
def test_weights_are_read_as_onnx_reads_them(tmp_path: Path, external: bool) -> None:
    graph = repository(tmp_path, external=external) / GRAPH
    export, expected = read_export(graph), weights(onnx.load(graph))
    assert {*export.stored, *export.small} == set(expected)
    assert "model.embed_tokens.weight" in export.stored
    for name, tensor in expected.items():
        assert np.array_equal(export.array(name), numpy_helper.to_array(tensor))


def test_a_graph_is_read_without_its_weights() -> None:
    export = read_export(TINY / GRAPH)
    assert export.model.ByteSize() < 150_000
    assert export.files() == [TINY / GRAPH]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "..\\secret", "a/../../secret", "link", ""])
def test_data_outside_of_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    def elsewhere(model: onnx.ModelProto) -> None:
        tensor = weights(model)["model.embed_tokens.weight"]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    source = repository(tmp_path)
    model = onnx.load(source / GRAPH)
    elsewhere(model)
    (source / GRAPH).write_bytes(model.SerializeToString())
    (source / "secret").write_bytes(bytes(1 << 20))
    if os.name == "posix":
        (source / "onnx" / "link").symlink_to(source / "secret")
    with pytest.raises(ModelError, match="no usable ONNX model"):
        prepared(source, tmp_path)


def test_data_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    source = repository(tmp_path, external=True)
    os.truncate(source / f"{GRAPH}_data", 1000)
    with pytest.raises(ModelError, match="cut short"):
        prepared(source, tmp_path)


def test_data_that_is_missing_is_refused(tmp_path: Path) -> None:
    source = repository(tmp_path, external=True)
    (source / f"{GRAPH}_data").unlink()
    with pytest.raises(ModelError, match=r"model_q4f16\.onnx_data is missing"):
        prepared(source, tmp_path)


TINY_SHAPE = read_shape(json.loads((TINY / "config.json").read_text()))


@given(st.data())
@settings(max_examples=100)
def test_a_broken_file_is_understood_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray((TINY / GRAPH).read_bytes())
    # Where the graph begins, and where weights are told.
    places = st.integers(0, 2000) | st.integers(0, len(content) - 1) | st.integers(620_000, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    broken = tmp_path_factory.getbasetemp() / "broken.onnx"
    broken.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        find(read_export(broken), TINY_SHAPE)
    except NotUnderstood as why:
        assert str(why).endswith(".")
    except ModelError as refused:
        assert "no usable ONNX model" in str(refused)


# Rounding


@pytest.mark.parametrize("bits", [4, 8])
def test_floats_are_rounded_as_the_runtime_rounds_them(bits: int) -> None:
    values = np.random.default_rng(bits).normal(size=(48, 96)).astype(np.float32)
    values[3] = 0
    levels, scales = quantise(values, bits)
    packed = np.zeros((48, 3, BLOCK * bits // 8), np.uint8)
    expected, zeros = np.zeros(48 * 3, np.float32), np.zeros(48 * 3, np.uint8)
    round_blocks = {4: runtime.quantize_matmul_4bits, 8: runtime.quantize_matmul_8bits}[bits]
    round_blocks(packed, np.ascontiguousarray(values.T), expected, zeros, BLOCK, 48, 96, True)
    assert np.array_equal(pack(levels, bits), packed)
    assert np.array_equal(scales.reshape(-1), expected)
