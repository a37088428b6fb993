"""Finds the decoder in an export by the names of its nodes, which keep the module path of PyTorch.

Written by optimum's exporter: `/model/layers.0/self_attn/q_proj/MatMul`, with or without `_Q4` at its end. Weights of
products are anonymous there, so every weight is found from the node that reads it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from shammah.loader.prepare.matrix import BlockMatrix, FloatMatrix, Matrix, chunks
from shammah.loader.prepare.read import Export
from shammah.loader.prepare.shape import Shape
from shammah.loader.prepare.understood import NotUnderstood

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)

_MODULE = re.compile(r"/model/layers\.(\d+)(?:/(.+))?")
_PARTS = {
    "",  # the layer itself, which adds
    "input_layernorm",
    "self_attn",
    "self_attn/q_proj",
    "self_attn/k_proj",
    "self_attn/v_proj",
    "self_attn/o_proj",
    "post_attention_layernorm",
    "mlp",
    "mlp/gate_proj",
    "mlp/up_proj",
    "mlp/down_proj",
    "mlp/act_fn",
}
"""The modules of a layer of Qwen2."""

_PASSING = ("Cast", "Identity")
"""Operators that leave values as they are, but for their type."""

_LONGEST_PASSAGE = 8
"""Of them in a row, at most."""


@dataclass(frozen=True)
class Linear:
    """A matrix and, where there is one, what is added to its product."""

    matrix: Matrix
    bias: NDArray[np.float32] | None = None

    def bias_values(self) -> NDArray[np.float32]:
        """The bias, zeros where there is none."""
        return np.zeros(self.matrix.high, np.float32) if self.bias is None else self.bias


@dataclass(frozen=True)
class Layer:
    """One block: attention and gated feed-forward, each behind a norm."""

    attention_norm: NDArray[np.float32]
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    feed_norm: NDArray[np.float32]
    gate: Linear
    up: Linear
    down: Linear

    @property
    def linears(self) -> list[Linear]:
        """All matrices of the layer."""
        return [self.query, self.key, self.value, self.out, self.gate, self.up, self.down]


@dataclass(frozen=True)
class Decoder:
    """The whole network; `head` is None where it is the embedding."""

    shape: Shape
    embedding: FloatMatrix
    layers: list[Layer]
    norm: NDArray[np.float32]
    head: Matrix | None

    @property
    def in_blocks(self) -> bool:
        """Whether the layers come as blocks, so that nothing of them is rounded."""
        linears = [linear for layer in self.layers for linear in layer.linears]
        return all(isinstance(linear.matrix, BlockMatrix) for linear in linears)


@dataclass(frozen=True)
class Found:
    """The decoder, and the values of the export's graph that go from layer to layer.

    `streams[n]` enters layer n, the last one the final norm; `normed` enters the head.
    """

    decoder: Decoder
    streams: list[str]
    normed: str


def find(export: Export, shape: Shape) -> Found:
    """Find the decoder in a graph.

    Raises:
        NotUnderstood: the graph is not that of a Qwen2 network, or not written in the way that is known.
    """
    names = NamedNodes(export)
    _check_parts(names, shape)
    _check_rotary(names, shape)
    norms = [f"/model/layers.{number}/input_layernorm" for number in range(shape.layers)] + ["/model/norm"]
    streams = [_entry(names, module) for module in norms]
    if streams[0] not in names.only("/model/embed_tokens", "Gather").output:
        raise NotUnderstood("Its first layer does not take the embedding as it is.")
    head = names.only("/lm_head", "MatMul", "MatMulNBits")
    embedding = _embedding(names, shape)
    decoder = Decoder(
        shape=shape,
        embedding=embedding,
        layers=[_layer(names, f"/model/layers.{number}", shape) for number in range(shape.layers)],
        norm=_norm(names, "/model/norm", shape),
        head=_head(names, head, embedding, shape),
    )
    return Found(decoder, streams, head.input[0])


class NamedNodes:
    """The nodes of a graph by module, and what makes and takes each value."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.makers = {output: node for node in export.graph.node for output in node.output}
        self.takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.modules: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in export.graph.node:
            self.modules[node.name.rpartition("/")[0]].append(node)
            for name in node.input:
                self.takers[name].append(node)

    def only(self, module: str, *kinds: str) -> onnx.NodeProto:
        """The one node of some kinds in a module.

        Raises:
            NotUnderstood: there is none, or there are more.
        """
        found = [node for node in self.modules[module] if node.op_type in kinds and len(node.input) > 1]
        if len(found) != 1:
            raise NotUnderstood(f"Its graph has {len(found) or 'no'} {' or '.join(kinds)} named {module}/….")
        return found[0]

    def weight(self, value: str) -> str | None:
        """The weight that a value is, perhaps in another type; None where it is computed."""
        for _ in range(_LONGEST_PASSAGE):
            if self.export.has(value):
                return value
            node = self.makers.get(value)
            if node is None or node.op_type not in _PASSING or not node.input:
                return None
            value = node.input[0]
        return None

    def constant(self, value: str) -> NDArray[np.generic] | None:
        """The numbers of a weight or of a Constant node; None where the value is computed."""
        if name := self.weight(value):
            return self.export.array(name)
        node = self.makers.get(value)
        if node is None or node.op_type != "Constant":
            return None
        return next((numpy_helper.to_array(item.t) for item in node.attribute if item.name == "value"), None)

    def constants(self, module: str) -> list[NDArray[np.generic]]:
        """All numbers that the nodes of a module read."""
        values = dict.fromkeys(name for node in self.modules[module] for name in node.input)
        return [found for found in map(self.constant, values) if found is not None]


def _check_parts(names: NamedNodes, shape: Shape) -> None:
    """Every part of every layer must be one that is known: a further one would be lost."""
    matches = [match for module in names.modules if (match := _MODULE.fullmatch(module))]
    if not matches:
        raise NotUnderstood("Its nodes do not carry the names of PyTorch's modules, as /model/layers.0/self_attn/….")
    unknown = sorted({match[2] or "" for match in matches} - _PARTS)
    if unknown:
        raise NotUnderstood(f"Its layers have a part {unknown[0]}, which is not rewritten.")
    layers = {int(match[1]) for match in matches}
    if layers != set(range(shape.layers)):
        raise NotUnderstood(f"Its graph has {len(layers)} layers, its config.json {shape.layers}.")


def _check_rotary(names: NamedNodes, shape: Shape) -> None:
    expected = frequencies(shape)
    found = [values for values in names.constants("/model/rotary_emb") if values.size == expected.size > 1]
    if not any(np.allclose(values.reshape(-1).astype(np.float64), expected, rtol=0.01, atol=1e-7) for values in found):
        raise NotUnderstood(f"Its graph does not turn positions with the base {shape.theta:g} of its config.json.")


def frequencies(shape: Shape) -> NDArray[np.float64]:
    """How far each pair of a head turns from one position to the next, in radians (arXiv:2104.09864)."""
    return np.asarray(shape.theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size), dtype=np.float64)


def _layer(names: NamedNodes, name: str, shape: Shape) -> Layer:
    heads, kv_heads = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    hidden, inner = shape.hidden, shape.inner
    return Layer(
        attention_norm=_norm(names, f"{name}/input_layernorm", shape),
        query=_linear(names, f"{name}/self_attn/q_proj", heads, hidden),
        key=_linear(names, f"{name}/self_attn/k_proj", kv_heads, hidden),
        value=_linear(names, f"{name}/self_attn/v_proj", kv_heads, hidden),
        out=_linear(names, f"{name}/self_attn/o_proj", hidden, heads),
        feed_norm=_norm(names, f"{name}/post_attention_layernorm", shape),
        gate=_linear(names, f"{name}/mlp/gate_proj", inner, hidden),
        up=_linear(names, f"{name}/mlp/up_proj", inner, hidden),
        down=_linear(names, f"{name}/mlp/down_proj", hidden, inner),
    )


def _norm(names: NamedNodes, module: str, shape: Shape) -> NDArray[np.float32]:
    """The weight of a norm; its epsilon must be that of config.json."""
    constants = names.constants(module)
    weights = [values for values in constants if values.shape == (shape.hidden,)]
    small = [float(values.reshape(-1)[0]) for values in constants if values.size == 1]
    # Half floats know so small a number only roughly.
    if not any(np.isclose(value, shape.epsilon, rtol=0.1, atol=0) for value in small):
        raise NotUnderstood(f"The norm {module} does not add the epsilon {shape.epsilon:g} of its config.json.")
    if len(weights) > 1:
        raise NotUnderstood(f"The norm {module} has {len(weights)} weights.")
    # Exporters leave a weight of ones out.
    return np.array(weights[0], np.float32) if weights else np.ones(shape.hidden, np.float32)


def _linear(names: NamedNodes, module: str, high: int, wide: int) -> Linear:
    node = names.only(module, "MatMul", "MatMulNBits")
    matrix = _matrix(names, node)
    if (matrix.high, matrix.wide) != (high, wide):
        raise NotUnderstood(f"{module} is {matrix.wide} to {matrix.high}, by its config.json {wide} to {high}.")
    added = [taker for taker in names.takers[node.output[0]] if taker.op_type == "Add"]
    inside = [taker for taker in added if taker in names.modules[module]]
    if not inside:
        return Linear(matrix)
    bias = next(filter(None, map(names.weight, inside[0].input)), None)
    if bias is None or names.export.dims(bias) != (high,):
        raise NotUnderstood(f"What {module} adds to its product is no weight of {high} numbers.")
    return Linear(matrix, np.array(names.export.array(bias), np.float32))


def _matrix(names: NamedNodes, node: onnx.NodeProto) -> Matrix:
    return _blocks(names, node) if node.op_type == "MatMulNBits" else _floats(names, node)


def _floats(names: NamedNodes, node: onnx.NodeProto) -> FloatMatrix:
    """The matrix of a MatMul: stored turned, or turned on the way."""
    turned, value = True, node.input[1]
    maker = names.makers.get(value)
    if names.weight(value) is None and maker is not None and maker.op_type == "Transpose" and maker.input:
        turned, value = False, maker.input[0]
    return FloatMatrix(names.export, _float_weight(names, node.name, value), turned)


def _float_weight(names: NamedNodes, reader: str, value: str) -> str:
    weight = names.weight(value)
    if weight is None or len(names.export.dims(weight)) != 2 or names.export.kind(weight) not in _FLOATS:
        raise NotUnderstood(f"{reader} does not read a matrix of floats.")
    return weight


def _blocks(names: NamedNodes, node: onnx.NodeProto) -> BlockMatrix:
    given = {item.name: item.i for item in node.attribute}
    read = [names.weight(value) if value else "" for value in node.input[1:]]
    weight, scales, zeros = [*read, "", "", ""][:3]
    bits, block = given.get("bits", 4), given.get("block_size", 0)
    if (
        not weight
        or not scales
        or zeros is None
        or any(other != "" for other in read[3:])
        or bits not in (4, 8)
        or block < 1
    ):
        raise NotUnderstood(f"{node.name} is quantised in a way that is not rewritten.")
    high, wide = given.get("N", 0), given.get("K", 0)
    matrix = BlockMatrix(names.export, weight, scales, zeros or None, high, wide, bits, block)
    _check_blocks(names, node, matrix)
    return matrix


def _check_blocks(names: NamedNodes, node: onnx.NodeProto, matrix: BlockMatrix) -> None:
    """The sizes must be those that the attributes of the node tell."""
    export, blocks = names.export, matrix.high * matrix.blocks
    sizes = [(matrix.weight, TensorProto.UINT8, blocks * matrix.block * matrix.bits // 8)]
    if matrix.zeros is not None:
        per_row = -(-matrix.blocks * matrix.bits // 8)
        sizes.append((matrix.zeros, TensorProto.UINT8, matrix.high * per_row))
    alike = all(export.kind(name) == kind and math.prod(export.dims(name)) == size for name, kind, size in sizes)
    scaled = export.kind(matrix.scales) in _FLOATS and math.prod(export.dims(matrix.scales)) == blocks
    if not (alike and scaled):
        raise NotUnderstood(f"The blocks of {node.name} do not have the size that it tells.")


def _embedding(names: NamedNodes, shape: Shape) -> FloatMatrix:
    node = names.only("/model/embed_tokens", "Gather")
    matrix = FloatMatrix(names.export, _float_weight(names, node.name, node.input[0]), turned=False)
    if (matrix.high, matrix.wide) != (shape.vocabulary, shape.hidden):
        raise NotUnderstood(f"The embedding is {matrix.high} by {matrix.wide}, not as its config.json says.")
    return matrix


def _head(names: NamedNodes, node: onnx.NodeProto, embedding: FloatMatrix, shape: Shape) -> Matrix | None:
    """The head's matrix, None where it is the embedding's."""
    head = _matrix(names, node)
    if (head.high, head.wide) != (shape.vocabulary, shape.hidden):
        raise NotUnderstood(f"The head is {head.wide} to {head.high}, not as its config.json says.")
    return None if isinstance(head, FloatMatrix) and _equal(head, embedding) else head


def _equal(one: FloatMatrix, other: FloatMatrix) -> bool:
    """Whether two matrices hold the same numbers: some exports store a shared one twice."""
    if (one.name, one.turned) == (other.name, other.turned):
        return True
    return all(np.array_equal(one.rows(*rows), other.rows(*rows)) for rows in chunks(one))


def _entry(names: NamedNodes, module: str) -> str:
    """The one value that a module takes from outside."""
    nodes = names.modules[module]
    inside = {output for node in nodes for output in node.output}
    taken = dict.fromkeys(name for node in nodes for name in node.input if name not in inside)
    outside = [name for name in taken if names.constant(name) is None]
    if len(outside) != 1:
        raise NotUnderstood(f"{module} takes {len(outside)} values, not one.")
    return str(outside[0])
