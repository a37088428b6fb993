"""Writes matrices as the blocks of MatMulNBits: bit for bit where they are such already, else rounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from shammah.loader.prepare.matrix import BlockMatrix, Matrix, chunks
from shammah.loader.prepare.quantise import BLOCK, pack, quantise
from shammah.loader.prepare.understood import NotUnderstood
from shammah.loader.prepare.weights import WeightFile


@dataclass(frozen=True)
class Blocks:
    """A written matrix: its weights, and how they are laid out."""

    weight: TensorProto
    scales: TensorProto
    zeros: TensorProto | None
    high: int
    wide: int
    bits: int
    block: int

    @property
    def tensors(self) -> list[TensorProto]:
        """The weights, in the order in which MatMulNBits takes them."""
        return [self.weight, self.scales, *([] if self.zeros is None else [self.zeros])]


@dataclass(frozen=True)
class _Layout:
    """What matrices must have in common to lie in one."""

    wide: int
    bits: int
    block: int
    zeroed: bool


def write_blocks(file: WeightFile, name: str, matrices: Sequence[Matrix], bits: int) -> Blocks:
    """Write matrices, one after the other along their rows; those of floats are rounded to `bits`.

    Raises:
        NotUnderstood: they are not laid out alike.
    """
    layout = _common(name, matrices, bits)
    high, per_row = sum(matrix.high for matrix in matrices), -(-layout.wide // layout.block)
    scales: list[NDArray[np.float32]] = []
    dims = (high, per_row, layout.block * layout.bits // 8)
    levels = _levels(matrices, layout.bits, scales)
    weight = file.stream(f"{name}.weight", np.dtype(np.uint8), dims, levels)
    zeros = file.array(f"{name}.zeros", _zeros(matrices)) if layout.zeroed else None
    return Blocks(
        weight=weight,
        scales=file.array(f"{name}.scales", np.concatenate(scales)),
        zeros=zeros,
        high=high,
        wide=layout.wide,
        bits=layout.bits,
        block=layout.block,
    )


def _common(name: str, matrices: Sequence[Matrix], bits: int) -> _Layout:
    found = {_layout(matrix, bits) for matrix in matrices}
    if len(found) != 1:
        raise NotUnderstood(f"The parts of {name} are not quantised alike.")
    (layout,) = found
    if layout.wide % layout.block:
        raise NotUnderstood(f"The rows of {name}, {layout.wide} numbers, are no whole blocks of {layout.block}.")
    return layout


def _layout(matrix: Matrix, bits: int) -> _Layout:
    if isinstance(matrix, BlockMatrix):
        return _Layout(matrix.wide, matrix.bits, matrix.block, matrix.zeros is not None)
    return _Layout(matrix.wide, bits, BLOCK, False)


def _levels(matrices: Sequence[Matrix], bits: int, scales: list[NDArray[np.float32]]) -> Iterator[NDArray[np.uint8]]:
    """The packed rows of all matrices, part by part; puts their scales into `scales` on the way."""
    for matrix in matrices:
        for start, stop in chunks(matrix):
            if isinstance(matrix, BlockMatrix):
                scales.append(matrix.row_scales(start, stop))
                yield matrix.packed(start, stop)
            else:
                levels, scale = quantise(matrix.rows(start, stop), bits)
                scales.append(scale)
                yield pack(levels, bits)


def _zeros(matrices: Sequence[Matrix]) -> NDArray[np.uint8]:
    rows = [matrix.row_zeros(0, matrix.high) for matrix in matrices if isinstance(matrix, BlockMatrix)]
    return np.concatenate([zeros for zeros in rows if zeros is not None])
