"""Which token comes next: greedy, or drawn after temperature, top_k, top_p and repetition penalty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shammah.errors import ModelError
from shammah.message import Options

DEFAULT_TOP_K = 50
"""Where nothing bounds the candidates, the rest of the vocabulary is noise and sorting it is slow."""


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; temperature 0 is greedy, top_k 0 stands for DEFAULT_TOP_K, top_p 1 sets no bound."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


def model_defaults(folder: Path) -> tuple[Sampling, frozenset[int]]:
    """The model's own sampling and its stop ids, from generation_config.json.

    Raises:
        ModelError: the file is missing, broken, or names no stop id.
    """
    path = folder / "generation_config.json"
    try:
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stops = given["eos_token_id"]
        stop_ids = frozenset(stops if isinstance(stops, list) else [stops])
        if not stop_ids or not all(isinstance(id, int) for id in stop_ids):
            raise ValueError(f"eos_token_id {stops!r} names no token")
        sampled = given.get("do_sample", False)
        sampling = Sampling(
            temperature=float(given.get("temperature", 1.0)) if sampled else 0.0,
            top_k=int(given.get("top_k", 0)),
            top_p=float(given.get("top_p", 1.0)),
            repetition_penalty=float(given.get("repetition_penalty", 1.0)),
        )
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ModelError(
            f"The model's {path.name} cannot be used: {cause!r}", hint="Fetch the model again: shammah models pull NAME"
        ) from cause
    return sampling, stop_ids


def chosen(defaults: Sampling, options: Options) -> Sampling:
    """The model's defaults with what the user set put over them."""

    def over(value: Any, default: Any) -> Any:
        return default if value is None else value

    return Sampling(
        temperature=over(options.temperature, defaults.temperature),
        top_k=over(options.top_k, defaults.top_k),
        top_p=over(options.top_p, defaults.top_p),
        repetition_penalty=over(options.repetition_penalty, defaults.repetition_penalty),
    )


class Sampler:
    """Picks one token after another; the same settings and seed pick the same tokens from the same logits."""

    def __init__(self, sampling: Sampling, seed: int | None, prompt: list[int]) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(seed)
        self._known = set(prompt)
        self._seen = np.array([*self._known], dtype=np.int64)
        """The same for numpy."""

    def pick(self, logits: NDArray[np.float32]) -> int:
        """The next token for logits [vocabulary]; remembers it for the repetition penalty."""
        logits = self._penalised(logits)
        token = int(logits.argmax()) if self._sampling.temperature == 0 else self._draw(logits)
        if self._sampling.repetition_penalty != 1.0 and token not in self._known:
            self._known.add(token)
            self._seen = np.append(self._seen, token)
        return token

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make tokens that have occurred less likely (CTRL, arXiv:1909.05858, as transformers computes it)."""
        penalty = self._sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        logits = logits.copy()
        seen = logits[self._seen]
        logits[self._seen] = np.where(seen > 0, seen / penalty, seen * penalty)
        return logits

    def _draw(self, logits: NDArray[np.float32]) -> int:
        count = min(self._sampling.top_k or DEFAULT_TOP_K, len(logits))
        best = np.argpartition(logits, -count)[-count:]
        best = best[np.lexsort((best, -logits[best]))]
        scaled = logits[best].astype(np.float64) / self._sampling.temperature
        weights = np.exp(scaled - scaled[0])
        weights /= weights.sum()
        # Nucleus sampling (arXiv:1904.09751): the fewest candidates that together reach top_p.
        kept = int(np.searchsorted(np.cumsum(weights), self._sampling.top_p)) + 1
        weights = weights[:kept] / weights[:kept].sum()
        return int(self._random.choice(best[:kept], p=weights))
