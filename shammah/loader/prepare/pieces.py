"""Runs an export layer by layer, so that a network of any size runs in the memory of one layer.

The nodes are those of the download, untouched; only the embedding is looked up, and the head's product formed, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shammah.loader.prepare.map import Decoder, Found
from shammah.loader.prepare.matrix import chunks
from shammah.loader.prepare.read import Export
from shammah.loader.prepare.understood import NotUnderstood

Values = Mapping[str, NDArray[np.generic]]


def logits_by_layer(
    export: Export, found: Found, prompts: Sequence[Sequence[int]], threads: int, told: Callable[[float], None]
) -> list[NDArray[np.float32]]:
    """The logits of every position of each prompt, [length, vocabulary], as the export gives them.

    Calls `told` with the share that is done. Raises NotUnderstood where the graph has inputs of other kinds.
    """
    first = found.streams[0]
    streams = [_embedded(export, found.decoder, prompt) for prompt in prompts]
    fed = [{**_inputs(export, prompt), first: rows} for prompt, rows in zip(prompts, streams, strict=True)]
    for number, (source, target) in enumerate(pairwise([*found.streams, found.normed])):
        given = [{**values, source: stream} for values, stream in zip(fed, streams, strict=True)]
        streams = _run(export, {first, source}, target, given, threads)
        told((number + 1) / len(found.streams))
    return _head(found.decoder, [stream[0].astype(np.float32) for stream in streams])


def _embedded(export: Export, decoder: Decoder, prompt: Sequence[int]) -> NDArray[np.generic]:
    """The embedding of ids in its own type, [1, length, hidden]."""
    return np.array(export.array(decoder.embedding.name)[np.array([prompt])])


def _inputs(export: Export, prompt: Sequence[int]) -> Values:
    """What the graph is fed for a prompt that is read at once, with an empty cache."""
    length = len(prompt)
    known = {
        "input_ids": np.array([prompt], np.int64),
        "attention_mask": np.ones((1, length), np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None],
    }
    values = {}
    for given in export.graph.input:
        sizes = [size.dim_value for size in given.type.tensor_type.shape.dim]
        if len(sizes) == 4:
            kind = helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
            values[given.name] = np.zeros((1, sizes[1], 0, sizes[3]), kind)
        elif given.name in known:
            values[given.name] = known[given.name]
        else:
            raise NotUnderstood(f"Its graph has an input {given.name}, which is not known.")
    return values


def _run(
    export: Export, cuts: set[str], target: str, given: Sequence[Values], threads: int
) -> list[NDArray[np.generic]]:
    """One value of the graph for each of several inputs, computed from the cuts on."""
    nodes, reached = _between(export, cuts, target)
    weights = [name for name in reached if export.has(name)]
    inputs = [name for name in reached if name in given[0]]
    large = {name: np.array(export.array(name)) for name in weights if name in export.stored}
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_external_initializers(list(large), [ort.OrtValue.ortvalue_from_numpy(large[name]) for name in large])
    model = _model(export, nodes, weights, {name: given[0][name].dtype for name in inputs}, target)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run([target], {name: values[name] for name in inputs})[0] for values in given]


def _between(export: Export, cuts: set[str], target: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that make a value from the cuts, in the graph's order, and all values that they read."""
    makers = {output: node for node in export.graph.node for output in node.output}
    wanted, reached, used = [target], dict.fromkeys([target]), set()
    while wanted:
        name = wanted.pop()
        node = makers.get(name)
        if node is None or name in cuts:
            continue
        used.add(node.output[0])
        new = [value for value in node.input if value and value not in reached]
        reached.update(dict.fromkeys(new))
        wanted.extend(new)
    return [node for node in export.graph.node if node.output[0] in used], list(reached)


def _model(
    export: Export,
    nodes: Sequence[onnx.NodeProto],
    weights: Iterable[str],
    inputs: Mapping[str, np.dtype[np.generic]],
    target: str,
) -> onnx.ModelProto:
    kinds = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in inputs.items()}
    graph = onnx.GraphProto(name="piece", node=nodes, output=[onnx.ValueInfoProto(name=target)])
    graph.input.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
    graph.initializer.extend(_initializer(export, name) for name in weights)
    return onnx.ModelProto(ir_version=export.model.ir_version, opset_import=export.model.opset_import, graph=graph)


def _initializer(export: Export, name: str) -> TensorProto:
    """A small weight itself, a large one as a place that is filled from memory."""
    if name in export.small:
        return export.small[name]
    weight = export.stored[name]
    tensor = TensorProto(name=name, data_type=weight.kind, dims=weight.dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor


def _head(decoder: Decoder, normed: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    head = decoder.embedding if decoder.head is None else decoder.head
    logits = [np.empty((len(rows), head.high), np.float32) for rows in normed]
    for start, stop in chunks(head):
        matrix = head.rows(start, stop).T
        for rows, out in zip(normed, logits, strict=True):
            out[:, start:stop] = rows @ matrix
    return logits
