"""The matrices of an export as rows of numbers, however they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shammah.loader.prepare.read import Export

CHUNK = 1 << 22
"""Numbers of a matrix that are in memory at once."""


@dataclass(frozen=True)
class FloatMatrix:
    """Floats, stored as [high, wide], or as [wide, high] where `turned`."""

    export: Export
    name: str
    turned: bool

    @property
    def high(self) -> int:
        """Numbers that come out."""
        return self.export.dims(self.name)[1 if self.turned else 0]

    @property
    def wide(self) -> int:
        """Numbers that go in."""
        return self.export.dims(self.name)[0 if self.turned else 1]

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Some rows, [stop - start, wide]."""
        values = self.export.array(self.name)
        part = values[:, start:stop].T if self.turned else values[start:stop]
        return np.array(part, dtype=np.float32, order="C")


@dataclass(frozen=True)
class BlockMatrix:
    """Blocks of 4 or 8 bits with a scale each, as MatMulNBits stores them; the zero is the middle if none is stored."""

    export: Export
    weight: str
    scales: str
    zeros: str | None
    high: int
    wide: int
    bits: int
    block: int

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return -(-self.wide // self.block)

    def packed(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Some rows as they are stored, [stop - start, blocks, block * bits / 8]."""
        values = self.export.array(self.weight).reshape(self.high, self.blocks, self.block * self.bits // 8)
        return np.array(values[start:stop], dtype=np.uint8)

    def row_scales(self, start: int, stop: int) -> NDArray[np.float32]:
        """The scales of some rows, [stop - start, blocks]."""
        return np.array(self.export.array(self.scales).reshape(self.high, self.blocks)[start:stop], dtype=np.float32)

    def row_zeros(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """The zeros of some rows as they are stored, [stop - start, bytes]; None where they are the middle."""
        if self.zeros is None:
            return None
        return np.array(self.export.array(self.zeros).reshape(self.high, -1)[start:stop], dtype=np.uint8)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Some rows as the numbers that they stand for, [stop - start, wide]."""
        levels = unpack(self.packed(start, stop), self.bits).astype(np.float32)
        zeros = self.row_zeros(start, stop)
        middle = 1 << (self.bits - 1) if zeros is None else unpack(zeros, self.bits)[:, : self.blocks, None]
        values = (levels - middle) * self.row_scales(start, stop)[..., None]
        return np.asarray(values.reshape(stop - start, -1)[:, : self.wide], dtype=np.float32)


Matrix = FloatMatrix | BlockMatrix


def chunks(matrix: Matrix) -> Iterator[tuple[int, int]]:
    """Ranges of rows that cover the matrix, each small enough for memory."""
    step = max(1, CHUNK // matrix.wide)
    for start in range(0, matrix.high, step):
        yield start, min(start + step, matrix.high)


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Levels from bytes, along the last axis; 4-bit levels lie two in a byte, the low half first."""
    if bits == 8:
        return packed
    pairs = np.stack([packed & 0x0F, packed >> 4], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)
