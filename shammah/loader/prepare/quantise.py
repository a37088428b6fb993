"""Rounds matrices of floats to symmetric blocks, as onnxruntime's own quantiser does (MatMulNBitsQuantizer)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Numbers along a row that share one scale: the block of the hub's files."""


def quantise(values: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round rows to blocks.

    Args:
        values: [rows, wide], `wide` a multiple of BLOCK.

    Returns:
        Levels [rows, wide / BLOCK, BLOCK], their zero being 2**(bits - 1), and scales [rows, wide / BLOCK].
    """
    zero = 1 << (bits - 1)
    blocks = values.reshape(values.shape[0], -1, BLOCK)
    # The signed value of largest magnitude lands on the lowest level, which symmetric ranges have one more of.
    high, low = blocks.max(axis=2), blocks.min(axis=2)
    scales = np.where(high > -low, high, low) / np.float32(-zero)
    with np.errstate(divide="ignore"):
        turned = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    levels = blocks * turned[..., None]
    levels += np.float32(zero + 0.5)  # Halves are rounded up, as the quantiser does.
    np.clip(levels, 0, 2 * zero - 1, out=levels)
    return levels.astype(np.uint8), scales.astype(np.float32)


def pack(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Lay levels [rows, blocks, BLOCK] out as MatMulNBits stores them, [rows, blocks, BLOCK * bits / 8]."""
    return levels if bits == 8 else (levels[..., 0::2] | levels[..., 1::2] << 4).astype(np.uint8)
