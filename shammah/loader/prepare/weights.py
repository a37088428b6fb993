"""Writes weights one after the other into one file beside the graph, which the runtime maps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PAGE = 4096
"""Each weight begins at a page, so that mapping it copies nothing."""

INLINE = 32768
"""Bytes up to which a weight stays in the graph: biases, norms and constants."""


class WeightFile:
    """The data file of a graph that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def array(self, name: str, values: NDArray[np.generic]) -> TensorProto:
        """A weight that is in memory; a small one stays in the graph."""
        values = np.ascontiguousarray(values)
        if values.nbytes <= INLINE:
            return numpy_helper.from_array(values, name)
        return self.stream(name, values.dtype, values.shape, [values])

    def stream(
        self, name: str, dtype: np.dtype[np.generic], dims: Sequence[int], parts: Iterable[NDArray[np.generic]]
    ) -> TensorProto:
        """A weight that comes part by part along its first axis."""
        self._file.write(b"\0" * (-self._file.tell() % PAGE))
        start = self._file.tell()
        for part in parts:
            self._file.write(np.ascontiguousarray(part, dtype=dtype).data)
        return self._reference(name, helper.np_dtype_to_tensor_dtype(dtype), dims, start, self._file.tell() - start)

    def _reference(self, name: str, kind: int, dims: Sequence[int], offset: int, length: int) -> TensorProto:
        tensor = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.path.name), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        return tensor
