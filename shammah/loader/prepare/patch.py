"""Copies a graph and lets its quantised products round their inputs to 8 bits; every other byte stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from onnx import NodeProto, helper

from shammah.files import link
from shammah.loader.prepare.graph import ACCURACY
from shammah.loader.prepare.read import GRAPH_NODE, MODEL_GRAPH, raw
from shammah.loader.prepare.wire import BYTES, Field, encode_varint, fields

_COPIED = 1 << 20

Part = bytes | tuple[int, int]
"""Bytes to write, or the range of the original where they stand."""


def copy_faster(source: Path, target: Path) -> None:
    """Copy a graph with an accuracy_level where its MatMulNBits have none; a link where nothing is to be changed."""
    with source.open("rb") as file:
        parts = list(_model(file, source.stat().st_size))
        if not any(isinstance(part, bytes) for part in parts):
            link(source, target)
            return
        with target.open("wb") as out:
            for part in parts:
                for piece in _pieces(file, part):
                    out.write(piece)


def _model(file: BinaryIO, size: int) -> Iterator[Part]:
    for field in fields(file, 0, size):
        if field.number != MODEL_GRAPH or field.layout != BYTES:
            yield field.start, field.end
            continue
        parts = [_part(file, inner) for inner in fields(file, field.offset, field.end)]
        if any(isinstance(part, bytes) for part in parts):
            yield _head(MODEL_GRAPH, sum(map(_length, parts)))
            yield from parts
        else:
            yield field.start, field.end


def _part(file: BinaryIO, field: Field) -> Part:
    """A field of the graph, a faster product in place of a slow one."""
    if field.number != GRAPH_NODE:
        return field.start, field.end
    node = NodeProto()
    node.ParseFromString(raw(file, field.offset, field.end))
    given = {item.name: item.i for item in node.attribute}
    if node.op_type != "MatMulNBits" or given.get("accuracy_level") or given.get("bits", 4) not in (4, 8):
        return field.start, field.end
    kept = [item for item in node.attribute if item.name != "accuracy_level"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("accuracy_level", ACCURACY)])
    body: bytes = node.SerializeToString()
    return _head(GRAPH_NODE, len(body)) + body


def _head(number: int, length: int) -> bytes:
    return encode_varint(number << 3 | BYTES) + encode_varint(length)


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part[1] - part[0]


def _pieces(file: BinaryIO, part: Part) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
        return
    for start in range(*part, _COPIED):
        yield raw(file, start, min(start + _COPIED, part[1]))
