"""A sampler that keeps all logits that it saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shammah.worker.sampling import Sampler, Sampling


class Watched(Sampler):
    """The sampler, with a copy of the logits behind each token in `rows`."""

    def __init__(self, sampling: Sampling, seed: int | None, prompt: Sequence[int] = ()) -> None:
        super().__init__(sampling, seed, list(prompt))
        self.rows: list[NDArray[np.float32]] = []

    def pick(self, logits: NDArray[np.float32]) -> int:
        """The next token, as the sampler picks it."""
        self.rows.append(logits.copy())
        return super().pick(logits)
