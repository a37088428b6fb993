"""Walks the fields of a protobuf message in a file without reading what they hold.

Format: protobuf.dev/programming-guides/encoding. Weights of gigabytes are stepped over by their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How a field is laid out."""

_LONGEST_HEAD = 20
"""Bytes of a tag and a length at most: two numbers of ten bytes."""


@dataclass(frozen=True)
class Field:
    """One field: its number and layout, where it begins with its tag, and where its payload lies."""

    number: int
    layout: int
    start: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next field begins."""
        return self.offset + self.length


def fields(file: BinaryIO, start: int, stop: int) -> Iterator[Field]:
    """The fields between two places of a file, one after the other.

    Raises:
        ValueError: the bytes there are no protobuf message.
    """
    while start < stop:
        file.seek(start)
        field = _field(file.read(min(_LONGEST_HEAD, stop - start)), start)
        if field.end > stop:
            raise ValueError(f"the field at byte {start} goes past its end")
        yield field
        start = field.end


def _field(head: bytes, start: int) -> Field:
    tag, taken = varint(head, 0)
    number, layout = tag >> 3, tag & 7
    match layout:
        case 0:
            _, end = varint(head, taken)
            return Field(number, layout, start, start + taken, end - taken)
        case 1 | 5:
            return Field(number, layout, start, start + taken, 8 if layout == FIXED64 else 4)
        case 2:
            length, end = varint(head, taken)
            return Field(number, layout, start, start + end, length)
    raise ValueError(f"there is no protobuf field at byte {start}")


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place of `data`, and the place after it.

    Raises:
        ValueError: the number does not end.
    """
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("a protobuf number does not end")


def encode_varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
