"""A loaded model: reads prompts into its KV cache, keeps what the next prompt shares, generates token by token.

Driven by onnxruntime-genai for the cache and the runs; the loop and the choice of each token are ours, so that a change
of temperature or seed costs no cache, and the same seed gives the same answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime_genai as og

from shammah.errors import ModelError
from shammah.worker.prefix import shared_prefix, slices
from shammah.worker.sampling import Sampler

SLICE = 64
"""Tokens of a prompt run at once: short enough to stop soon, long enough to be as fast as any."""


class Decoder:
    """One model in memory with one KV cache of at most `context` tokens."""

    def __init__(self, folder: Path, context: int, threads: int) -> None:
        """Load the model.

        Raises:
            ModelError: the folder holds no model that onnxruntime-genai can load.
        """
        limit = _context_length(folder)
        self.context = min(context, limit)
        try:
            config = og.Config(str(folder))
            session = {"intra_op_num_threads": threads}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = og.Model(config)
        except RuntimeError as cause:
            raise ModelError(
                f"The model in {folder.name} cannot be loaded: {_first_line(cause)}",
                hint="Fetch it again with shammah models pull NAME, or choose another with /model",
            ) from cause
        self._generator: og.Generator | None = None
        self._held: list[int] = []
        self._settled = 0

    @property
    def device(self) -> str:
        """Where the model runs: "cpu", "cuda", ..."""
        return str(self._model.device_type).lower()

    def read(self, prompt: Sequence[int], progress: Callable[[int], bool]) -> int:
        """Bring the cache to exactly `prompt`; returns how many of its tokens were there already.

        Calls `progress(tokens read)` before the first slice and after each; when it returns False, reading stops there
        and what was read stays in the cache.
        """
        generator = self._ensure_generator()
        kept = min(shared_prefix(self._held, prompt), max(self._settled, 0))
        self._rewind(generator, kept)
        go_on = progress(kept)
        for start, stop in slices(kept, len(prompt), SLICE):
            if not go_on:
                break
            self._append(generator, prompt[start:stop])
            self._settled = len(self._held)
            go_on = progress(stop)
        return kept

    def generate(self, sampler: Sampler, stops: frozenset[int]) -> Generator[int]:
        """New tokens one by one, after `read` brought the prompt in; ends before a stop token or with a full cache.

        A token enters the cache only when the next one is asked for, so the end-of-turn token never does.
        """
        generator = self._ensure_generator()
        while True:
            token = sampler.pick(generator.get_logits()[0, -1])
            if token in stops:
                return
            yield token
            if len(self._held) >= self.context:
                return
            self._append(generator, [token])

    def forget(self) -> None:
        """Free the cache; the next prompt is read from its first token."""
        self._generator = None
        self._held = []
        self._settled = 0

    def _ensure_generator(self) -> og.Generator:
        if self._generator is None:
            parameters = og.GeneratorParams(self._model)
            parameters.set_search_options(max_length=self.context, do_sample=False)
            self._generator = og.Generator(self._model, parameters)
        return self._generator

    def _append(self, generator: og.Generator, tokens: Sequence[int]) -> None:
        generator.append_tokens(np.array(tokens, dtype=np.int32))
        self._held.extend(tokens)

    def _rewind(self, generator: og.Generator, length: int) -> None:
        if length < len(self._held):
            generator.rewind_to(length)
            del self._held[length:]
        self._settled = min(self._settled, length)


def _context_length(folder: Path) -> int:
    path = folder / "genai_config.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["model"]["context_length"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ModelError(
            f"There is no usable {path.name} in {folder}: {cause!r}",
            hint="Name a folder that holds a prepared model, or choose one with /model",
        ) from cause


def _first_line(cause: Exception) -> str:
    return str(cause).strip().split("\n", 1)[0]
