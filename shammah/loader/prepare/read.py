"""Reads an ONNX export without its weights: the graph as a small message, and where each large weight lies.

A single file is treated like one with external data, so that preparing gigabytes takes little memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shammah.errors import ModelError
from shammah.loader.prepare.wire import BYTES, Field, encode_varint, fields

LARGE = 1024
"""Bytes from which a weight stays in its file."""

LARGEST_GRAPH = 256 << 20
"""Bytes of a graph without its large weights, at most: those of the hub have less than one."""

# Field numbers of onnx.proto.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
_RAW_DATA, _TENSOR_META = 9, (1, 2, 8, 13, 14)

_HALF_BYTES = (TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1)


@dataclass(frozen=True)
class Stored:
    """A weight where it lies: little-endian values at `offset` of a file."""

    kind: int
    dims: tuple[int, ...]
    path: Path
    offset: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of its values in numpy."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.kind))

    @property
    def length(self) -> int:
        """Bytes that it takes."""
        bits = 4 if self.kind in _HALF_BYTES else self.dtype.itemsize * 8
        return (math.prod(self.dims) * bits + 7) // 8


@dataclass(frozen=True)
class Export:
    """A graph with its small weights inside, and the large ones by name.

    `constants`: the data files that numbers of nodes were read from; they are inside now.
    """

    path: Path
    model: onnx.ModelProto
    stored: dict[str, Stored]
    small: dict[str, TensorProto] = field(repr=False)
    constants: tuple[Path, ...] = ()

    @property
    def graph(self) -> onnx.GraphProto:
        """Inputs, outputs and nodes."""
        return self.model.graph

    def files(self) -> list[Path]:
        """The graph's file, then those that hold its weights."""
        return list(dict.fromkeys([self.path, *(weight.path for weight in self.stored.values()), *self.constants]))

    def has(self, name: str) -> bool:
        """Whether there is a weight of that name."""
        return name in self.stored or name in self.small

    def dims(self, name: str) -> tuple[int, ...]:
        """The size of a weight along each axis."""
        return self.stored[name].dims if name in self.stored else tuple(self.small[name].dims)

    def kind(self, name: str) -> int:
        """The element type of a weight, a value of TensorProto.DataType."""
        return self.stored[name].kind if name in self.stored else self.small[name].data_type

    def array(self, name: str) -> NDArray[np.generic]:
        """A weight's values; large ones are mapped, and come into memory as they are used."""
        if name not in self.stored:
            return np.asarray(numpy_helper.to_array(self.small[name]))
        weight = self.stored[name]
        if weight.length == 0:
            return np.empty(weight.dims, weight.dtype)  # Nothing cannot be mapped.
        return np.memmap(weight.path, weight.dtype, "r", weight.offset, weight.dims)


def read_export(path: Path) -> Export:
    """Read a graph, and where its weights are.

    Raises:
        ModelError: the file is no ONNX model, or its data lies outside of its folder or is cut short.
    """
    try:
        with path.open("rb") as file:
            model, found = _read(file, path)
        stored = {name: _checked(name, weight) for name, weight in found.items()}
        constants = tuple(_bring_in(model, path))
    except FileNotFoundError as cause:
        raise _unusable(path, f"{Path(cause.filename).name} is missing") from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise _unusable(path, str(cause)) from cause
    return Export(path, model, stored, {tensor.name: tensor for tensor in model.graph.initializer}, constants)


def _unusable(path: Path, why: str) -> ModelError:
    return ModelError(f"{path.name} is no usable ONNX model: {why}", hint="Remove the model and fetch it again")


def _read(file: BinaryIO, path: Path) -> tuple[onnx.ModelProto, dict[str, Stored]]:
    stored: dict[str, Stored] = {}
    skeleton = bytearray()
    for part in fields(file, 0, path.stat().st_size):
        if part.number == MODEL_GRAPH and part.layout == BYTES:
            graph = b"".join(_limited(_graph_without_weights(file, part, path, stored)))
            skeleton += encode_varint(MODEL_GRAPH << 3 | BYTES) + encode_varint(len(graph)) + graph
        else:
            skeleton += raw(file, part.start, part.end)
    model = onnx.ModelProto()
    _parse(model, bytes(skeleton))
    if not model.graph.node or not all(node.output for node in model.graph.node):
        raise ValueError("there is no graph in it")
    names = (name for node in model.graph.node for name in (node.name, node.op_type, *node.input, *node.output))
    # Protobuf gives bytes for what is no UTF-8.
    if not all(
        isinstance(name, str) for name in [*names, *stored, *(tensor.name for tensor in model.graph.initializer)]
    ):
        raise ValueError("its names are no text")
    return model, stored


def _bring_in(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """Put numbers of nodes that lie in a data file into the graph, as large exports have them; names the files."""
    tensors = [item.t for node in model.graph.node for item in node.attribute]
    left = LARGEST_GRAPH
    for tensor in tensors:
        weight = _place(tensor, None, path)
        if weight is None:
            continue
        left -= _checked(tensor.name, weight).length
        if left < 0:
            raise ValueError(f"the numbers of its nodes take more than {LARGEST_GRAPH >> 20} MiB")
        with weight.path.open("rb") as file:
            tensor.raw_data = raw(file, weight.offset, weight.offset + weight.length)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
        yield weight.path


def _limited(parts: Iterable[bytes]) -> Iterator[bytes]:
    left = LARGEST_GRAPH
    for part in parts:
        left -= len(part)
        if left < 0:
            raise ValueError(f"its graph without weights is larger than {LARGEST_GRAPH >> 20} MiB")
        yield part


def _parse(message: onnx.ModelProto | TensorProto, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except Exception as cause:  # The library's class for it belongs to a package below onnx.
        raise ValueError(str(cause)) from cause


def _graph_without_weights(file: BinaryIO, graph: Field, path: Path, stored: dict[str, Stored]) -> Iterator[bytes]:
    """The bytes of a graph, those of its large weights left out and noted in `stored`."""
    for part in fields(file, graph.offset, graph.end):
        if part.number == GRAPH_INITIALIZER:
            tensor, data = _tensor(file, part)
            weight = _place(tensor, data, path)
            if weight is not None:
                stored[tensor.name] = weight
                continue
        yield raw(file, part.start, part.end)


def _tensor(file: BinaryIO, part: Field) -> tuple[TensorProto, Field | None]:
    """A tensor without its values, and the field that holds them as plain bytes, if one does."""
    inner = list(fields(file, part.offset, part.end))
    meta = b"".join(raw(file, piece.start, piece.end) for piece in inner if piece.number in _TENSOR_META)
    tensor = TensorProto()
    _parse(tensor, meta)
    return tensor, next((piece for piece in inner if piece.number == _RAW_DATA), None)


def _place(tensor: TensorProto, data: Field | None, path: Path) -> Stored | None:
    """Where the tensor's values lie, None where they stay in the graph."""
    dims = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _beside(path, entries["location"])
        weight = Stored(tensor.data_type, dims, file, int(entries.get("offset", 0)))
        if int(entries.get("length", weight.length)) != weight.length:
            raise ValueError(f"the length of {tensor.name} is not that of its shape")
        return weight
    if data is None or data.length < LARGE:
        return None
    weight = Stored(tensor.data_type, dims, path, data.offset)
    if weight.length != data.length:
        raise ValueError(f"the length of {tensor.name} is not that of its shape")
    return weight


def _beside(path: Path, location: str) -> Path:
    """A data file beside the graph; any other place is refused."""
    parts = PurePosixPath(location.replace("\\", "/")).parts
    file = path.parent.joinpath(*parts)
    if not parts or ".." in parts or not file.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(f"its data lies outside of its folder, in {location[:80]!r}")
    return file


def _checked(name: str, weight: Stored) -> Stored:
    if weight.dtype.hasobject:
        raise ValueError(f"{name} holds no numbers")
    if min(weight.dims, default=0) < 0 or weight.offset < 0:
        raise ValueError(f"{name} has a negative size")
    if weight.offset + weight.length > weight.path.stat().st_size:
        raise ValueError(f"{weight.path.name} is cut short: {name} goes past its end")
    return weight


def raw(file: BinaryIO, start: int, end: int) -> bytes:
    """The bytes between two places of a file."""
    file.seek(start)
    return file.read(end - start)
