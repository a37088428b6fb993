"""The decoder as the graph that runs best, written from what was found in the export.

Per layer: packed qkv `MatMulNBits`, `GroupQueryAttention` with rotary positions and a shared cache, fused skip-norms,
gated feed-forward. The head runs on the rows that are needed: on all tokens with 4 bits a weight, which is what a token
waits for longest, then on the likeliest ones with the 8-bit rows that the embedding has anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shammah.loader.prepare.blocks import Blocks, write_blocks
from shammah.loader.prepare.map import Decoder, Layer, Linear, frequencies
from shammah.loader.prepare.matrix import BlockMatrix, FloatMatrix, Matrix
from shammah.loader.prepare.shape import Shape
from shammah.loader.prepare.weights import WeightFile

MICROSOFT = "com.microsoft"

LAYER_BITS = 4
"""Bits for the matrices of a layer that come as floats."""

TABLE_BITS = 8
"""Bits for the embedding, and for the logits of the likeliest tokens; only the rows in use come into memory. Divergence
(KL) from the download of a 0.5B with random weights: 0.0002; with 4 bits 0.0112, nearly all from the embedding."""

HEAD_BITS = 4
"""Bits for the logits of all tokens, where the head comes as floats. With the likeliest from TABLE_BITS the divergence
is 0.0016, and the likeliest token is the same as with 8 bits throughout. A token takes nine tenths of the time. Larger
blocks have other bits for one row than for several, and no gain was left once a second row was added for that."""

CANDIDATES = 64
"""Likeliest tokens whose logits are formed anew: more than the 20 that Qwen's own settings draw from."""

ACCURACY = 4
"""Inputs of a product are rounded to 8 bits: three times as fast with 4-bit weights, at next to no error; 8-bit weights
crawl without. A graph as downloaded gains a tenth."""

ALL_ROWS = 32
"""Positions up to which every row gets logits, so that drafts of n-gram speculation can be checked."""

LAST_ROWS = 2
"""Rows that get logits of a longer slice. Only the last is used, but one row alone takes another kernel, and the answer
should not hang on how a prompt was cut."""

FIRST_OPSET, IR = 21, 10


class Writer:
    """Nodes and weights in the order they are added; methods that add a node name the value it makes."""

    def __init__(self, file: WeightFile) -> None:
        self.file = file
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, values: NDArray[np.generic]) -> str:
        """A weight from memory."""
        self.weights.append(self.file.array(name, values))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        """An operator; returns its first output."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def blocks(self, name: str, matrices: Sequence[Matrix], bits: int) -> Blocks:
        """Several matrices in one, quantised."""
        blocks = write_blocks(self.file, name, matrices, bits)
        self.weights.extend(blocks.tensors)
        return blocks

    def linear(self, name: str, x: str, *linears: Linear) -> str:
        """x times several matrices at once, and their biases."""
        blocks = self.blocks(name, [linear.matrix for linear in linears], LAYER_BITS)
        product = self.product(f"{name}.output", x, blocks)
        if all(linear.bias is None for linear in linears):
            return product
        bias = np.concatenate([linear.bias_values() for linear in linears])
        return self.node("Add", [product, self.weight(f"{name}.bias", bias)], [f"{name}.biased"])

    def product(self, name: str, x: str, blocks: Blocks) -> str:
        """x times a quantised matrix."""
        inputs = [x, *(tensor.name for tensor in blocks.tensors)]
        return self.node(
            "MatMulNBits", inputs, [name], MICROSOFT,
            K=blocks.wide, N=blocks.high, bits=blocks.bits, block_size=blocks.block, accuracy_level=ACCURACY,
        )  # fmt: skip

    def rows(self, name: str, ids: str, table: Blocks) -> str:
        """The rows of a table, as floats."""
        return self.node(
            "GatherBlockQuantized", [table.weight.name, ids, table.scales.name], [name], MICROSOFT,
            bits=table.bits, block_size=table.block, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def norm(self, name: str, x: str, weight: NDArray[np.float32], epsilon: float) -> str:
        """x scaled to unit root mean square, then by the weight."""
        inputs = [x, self.weight(name, weight)]
        return self.node("SimplifiedLayerNormalization", inputs, [f"{name}.normed"], epsilon=epsilon, axis=-1)

    def skip_norm(
        self, name: str, stream: str, added: str, weight: NDArray[np.float32], epsilon: float
    ) -> tuple[str, str]:
        """The sum of two, and that sum normed; returns the normed and the sum."""
        outputs = [f"{name}.normed", "", "", f"{name}.stream"]
        inputs = [stream, added, self.weight(name, weight)]
        self.node("SkipSimplifiedLayerNormalization", inputs, outputs, MICROSOFT, epsilon=epsilon)
        return outputs[0], outputs[3]


def build(decoder: Decoder, file: WeightFile, told: Callable[[float], None]) -> onnx.ModelProto:
    """Write the decoder's weights into the file; returns the graph that reads them.

    Calls `told` with the share that is done. Raises NotUnderstood where matrices do not fit together.
    """
    writer = Writer(file)
    table = _table(writer, "embedding", decoder.embedding)
    writer.rows("embedded", "input_ids", table)
    told(0.2)
    _lengths(writer)
    _rotary(writer, decoder.shape)
    normed = _layers(writer, decoder, lambda share: told(0.2 + 0.7 * share))
    _head(writer, decoder, table, normed)
    told(1.0)
    return _model(writer, decoder.shape)


def _table(writer: Writer, name: str, matrix: FloatMatrix) -> Blocks:
    """A matrix to look rows up in."""
    table = writer.blocks(name, [matrix], TABLE_BITS)
    table.weight.dims[:] = [table.high, table.wide * table.bits // 8]
    return table


def _lengths(writer: Writer) -> None:
    """What GroupQueryAttention wants to know: the last position, and the length with the cache."""
    one = writer.weight("one", np.array([1], dtype=np.int64))
    writer.node("Shape", ["input_ids"], ["length"], start=1, end=2)
    writer.node("Shape", ["attention_mask"], ["mask_length"], start=1, end=2)
    more = _second_row(writer, one)
    writer.node("ReduceSum", ["attention_mask", one], ["mask_sum"], keepdims=0)
    writer.node("Sub", ["mask_sum", one], ["mask_last"])
    writer.node("Add", ["mask_last", more], ["last_place"])
    writer.node("Cast", ["last_place"], ["seqlens_k"], to=TensorProto.INT32)
    writer.node("Add", ["mask_length", more], ["total"])
    scalar = writer.weight("scalar", np.array([], dtype=np.int64))
    writer.node("Reshape", ["total", scalar], ["total_scalar"])
    writer.node("Cast", ["total_scalar"], ["total_length"], to=TensorProto.INT32)


def _second_row(writer: Writer, one: str) -> str:
    """1 where attention is to see two rows though one comes in, else 0; also what is padded for it.

    One row alone takes another kernel, with other rounding, and then drafts could not be verified without changing
    answers. It costs 2 % of a token's time after 500 tokens, 3 % after 1,000; two rows through the whole graph would
    cost 9 %. The second row's place in the cache is written anew by the next token; where none is free, one must do.
    """
    writer.node("Shape", ["past_key_values.0.key"], ["places"], start=2, end=3)
    writer.node("Equal", ["length", one], ["alone"])
    writer.node("Less", ["mask_length", "places"], ["free"])
    writer.node("And", ["alone", "free"], ["second"])
    more = writer.node("Cast", ["second"], ["more"], to=TensorProto.INT64)
    none = writer.weight("none", np.array([0], dtype=np.int64))
    # Begin and end of padding for batch, rows and width.
    writer.node("Concat", [none, none, none, none, more, none], ["row_pads"], axis=0)
    return more


def _rotary(writer: Writer, shape: Shape) -> None:
    """Cosines and sines of every position, [positions, head_size / 2]."""
    turn = np.arange(shape.positions, dtype=np.float64)[:, None] * frequencies(shape)
    writer.weight("cos_cache", np.cos(turn).astype(np.float32))
    writer.weight("sin_cache", np.sin(turn).astype(np.float32))


def _layers(writer: Writer, decoder: Decoder, told: Callable[[float], None]) -> str:
    epsilon, layers = decoder.shape.epsilon, decoder.layers
    stream = "embedded"
    normed = writer.norm("layers.0.attention_norm", stream, layers[0].attention_norm, epsilon)
    for number, layer in enumerate(layers):
        name = f"layers.{number}"
        mixed = _attention(writer, decoder.shape, layer, number, normed)
        out = writer.linear(f"{name}.out", mixed, layer.out)
        normed, stream = writer.skip_norm(f"{name}.feed_norm", stream, out, layer.feed_norm, epsilon)
        down = writer.linear(f"{name}.down", _gated(writer, layer, name, normed), layer.down)
        after = layers[number + 1].attention_norm if number + 1 < len(layers) else decoder.norm
        normed, stream = writer.skip_norm(f"{name}.next_norm", stream, down, after, epsilon)
        told((number + 1) / len(layers))
    return normed


def _attention(writer: Writer, shape: Shape, layer: Layer, number: int, normed: str) -> str:
    name = f"layers.{number}"
    qkv = writer.linear(f"{name}.qkv", normed, layer.query, layer.key, layer.value)
    cache = [f"past_key_values.{number}.key", f"past_key_values.{number}.value"]
    two = writer.node("Pad", [qkv, "row_pads"], [f"{name}.two_rows"])
    mixed = writer.node(
        "GroupQueryAttention", [two, "", "", *cache, "seqlens_k", "total_length", "cos_cache", "sin_cache"],
        [f"{name}.mixed_rows", f"present.{number}.key", f"present.{number}.value"], MICROSOFT,
        num_heads=shape.heads, kv_num_heads=shape.kv_heads, scale=shape.head_size**-0.5,
        do_rotary=1, rotary_interleaved=0,
    )  # fmt: skip
    return writer.node("Slice", [mixed, "none", "length", "one"], [f"{name}.mixed"])


def _gated(writer: Writer, layer: Layer, name: str, normed: str) -> str:
    gate = writer.linear(f"{name}.gate", normed, layer.gate)
    up = writer.linear(f"{name}.up", normed, layer.up)
    # The runtime fuses these two into one.
    writer.node("Sigmoid", [gate], [f"{name}.sigmoid"])
    writer.node("Mul", [gate, f"{name}.sigmoid"], [f"{name}.silu"])
    return writer.node("Mul", [f"{name}.silu", up], [f"{name}.inner"])


def _head(writer: Writer, decoder: Decoder, table: Blocks, normed: str) -> None:
    """Logits of every row, or of the last ones of a long slice with zeros before them."""
    _first_needed(writer)
    far = writer.weight("far", np.array([np.iinfo(np.int64).max], dtype=np.int64))
    rows = writer.node("Slice", [normed, "first", far, "one"], ["needed"])
    logits = _logits(writer, decoder, table, rows)
    # Begin and end of padding for batch, rows and vocabulary.
    pads = writer.node("Concat", ["none", "first", "none", "none", "none", "none"], ["pads"], axis=0)
    writer.node("Pad", [logits, pads], ["logits"])


def _logits(writer: Writer, decoder: Decoder, table: Blocks, rows: str) -> str:
    """Logits of all tokens; a head of floats is rounded, and the likeliest tokens get theirs from a finer table."""
    if isinstance(decoder.head, BlockMatrix):
        return writer.product("needed_logits", rows, writer.blocks("head", [decoder.head], HEAD_BITS))
    head = decoder.embedding if decoder.head is None else decoder.head
    fine = table if decoder.head is None else _table(writer, "head_rows", head)
    rough = writer.product("rough_logits", rows, writer.blocks("head", [head], HEAD_BITS))
    likeliest = writer.weight("candidates", np.array([min(CANDIDATES, head.high)], dtype=np.int64))
    writer.node("TopK", [rough, likeliest], ["rough_best", "best"], sorted=0)
    # [batch, rows, candidates, hidden] times [batch, rows, hidden, 1]: each row by itself, with the same bits anywhere.
    end = writer.weight("end", np.array([-1], dtype=np.int64))
    column = writer.node("Unsqueeze", [rows, end], ["needed_column"])
    product = writer.node("MatMul", [writer.rows("best_rows", "best", fine), column], ["best_column"])
    better = writer.node("Squeeze", [product, end], ["best_logits"])
    return writer.node("ScatterElements", [rough, "best", better], ["needed_logits"], axis=-1)


def _first_needed(writer: Writer) -> None:
    all_rows = writer.weight("all_rows", np.array([ALL_ROWS], dtype=np.int64))
    last_rows = writer.weight("last_rows", np.array([LAST_ROWS], dtype=np.int64))
    writer.node("Greater", ["length", all_rows], ["long"])
    writer.node("Sub", ["length", last_rows], ["before_last"])
    writer.node("Where", ["long", "before_last", "none"], ["first"])


def _model(writer: Writer, shape: Shape) -> onnx.ModelProto:
    def value(name: str, kind: int, dims: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, dims)

    ids = TensorProto.INT64
    inputs = [value("input_ids", ids, ["batch", "length"]), value("attention_mask", ids, ["batch", "total"])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", "length", shape.vocabulary])]
    for number in range(shape.layers):
        for part in ("key", "value"):
            past: list[str | int] = ["batch", shape.kv_heads, "past", shape.head_size]
            present: list[str | int] = ["batch", shape.kv_heads, "total", shape.head_size]
            inputs.append(value(f"past_key_values.{number}.{part}", TensorProto.FLOAT, past))
            outputs.append(value(f"present.{number}.{part}", TensorProto.FLOAT, present))
    graph = helper.make_graph(writer.nodes, "decoder", inputs, outputs, writer.weights)
    opsets = [helper.make_opsetid("", FIRST_OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="shammah")
