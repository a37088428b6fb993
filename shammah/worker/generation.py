"""A loaded model: reads prompts into its KV cache, keeps what the next prompt shares, generates token by token.

Driven by onnxruntime-genai for the cache and the runs; the loop and the choice of each token are ours, so that a change
of temperature or seed costs no cache, and the same seed gives the same answer.

With drafts (speculation.py) several tokens are verified in one run, each picked from its row as the plain loop picks.
What holds then depends on the graph, and is found out on the model itself:
- A row gives the same bits alone and among others: every answer, greedy or drawn, is the plain loop's token for token.
  GroupQueryAttention alone breaks this on a processor (one query row takes another kernel); a graph whose attention
  sees two rows where one comes in keeps it, as prepared ones do.
- Else rounding would decide near ties, by how the rows happened to be grouped: greedy and seeded answers take the plain
  loop, and only answers that nobody can ask for again (drawn without a seed) are drafted, from the same distributions
  up to that rounding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
from numpy.typing import NDArray

from shammah.errors import ModelError
from shammah.worker.prefix import shared_prefix, slices
from shammah.worker.providers import CPU, Provider, first_line, load
from shammah.worker.sampling import Sampler
from shammah.worker.speculation import Pace, Speculation

SLICE = 64
"""Tokens of a prompt run at once: short enough to stop soon, long enough to be as fast as any."""


@dataclass(frozen=True)
class Rows:
    """What a model does with several rows at once, compared with one: all logits given, and with the same bits."""

    all_given: bool
    same_bits: bool


class Decoder:
    """One model in memory with one KV cache of at most `context` tokens."""

    def __init__(
        self,
        folder: Path,
        context: int,
        threads: int,
        provider: Provider = CPU,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Load the model on a provider, or on the CPU where that fails; `clock` measures whether drafts pay.

        Raises:
            ModelError: the folder holds no model that onnxruntime-genai can load.
        """
        limit, self._logits = _facts(folder)
        self.context = min(context, limit)
        try:
            loaded = load(folder, provider, {"intra_op_num_threads": threads})
        except RuntimeError as cause:
            raise ModelError(
                f"The model in {folder.name} cannot be loaded: {first_line(cause)}",
                hint="Fetch it again with shammah models pull NAME, or choose another with /model",
            ) from cause
        self._model = loaded.model
        self.device = loaded.device
        """Where the model says that it runs: "cpu", "cuda", ..."""
        self.provider = loaded.provider
        self.note = loaded.note
        """Why it does not run where it was wanted; "" where it does."""
        self._generator: og.Generator | None = None
        self._held: list[int] = []
        self._settled = 0
        self._clock = clock
        self._rows: Rows | None = None
        self._compared = 0
        """Tokens in the cache when rows were compared last."""
        self.pace = Pace()

    def read(self, prompt: Sequence[int], progress: Callable[[int], bool]) -> int:
        """Bring the cache to exactly `prompt`; returns how many of its tokens were there already.

        Calls `progress(tokens read)` before the first slice and after each; when it returns False, reading stops there
        and what was read stays in the cache.
        """
        generator = self._ensure_generator()
        kept = self.held(prompt)
        self._rewind(generator, kept)
        go_on = progress(kept)
        for start, stop in slices(kept, len(prompt), SLICE):
            if not go_on:
                break
            self._append(generator, prompt[start:stop])
            self._settled = len(self._held)
            go_on = progress(stop)
        return kept

    def held(self, prompt: Sequence[int]) -> int:
        """How many of the prompt's tokens `read` would find in the cache."""
        return min(shared_prefix(self._held, prompt), max(self._settled, 0))

    def generate(
        self, sampler: Sampler, stops: frozenset[int], *, draft: bool = False, repeatable: bool = True
    ) -> Generator[int]:
        """New tokens one by one, after `read` brought the prompt in; ends before a stop token or with a full cache.

        A token enters the cache only when the next one is asked for, so the end-of-turn token never does. `draft` lets
        several be verified at once where that pays; `repeatable` answers only where it changes no token.
        """
        generator = self._ensure_generator()
        speculation = Speculation(self._held, stops, self.pace) if draft else None
        drafted: list[int] = []
        logits = generator.get_logits()[0]
        certain = len(self._held)
        try:
            while True:
                for expected, row in zip([*drafted, None], logits, strict=True):
                    token = sampler.pick(row)
                    if token in stops:
                        return
                    if speculation is not None:
                        speculation.add(token)
                    yield token
                    if token != expected:
                        break
                    certain += 1
                self._rewind(generator, certain)
                if certain >= self.context:
                    return
                # What is to be compared is a row that ran alone; where every draft is right there would never be one.
                drafted = [] if self._to_compare(certain) else self._draft(speculation, repeatable)
                logits = self._run(generator, token, drafted)
                certain += 1
                if speculation is not None and not drafted and self._to_compare(certain):
                    self._rows = self._compare_rows(generator, logits[0])
        finally:
            self._rewind(generator, certain)

    def _draft(self, speculation: Speculation | None, repeatable: bool) -> list[int]:
        if speculation is None or self._rows is None or not self._rows.all_given:
            return []
        if repeatable and not self._rows.same_bits:
            return []
        # The last place of all is always taken by a row alone: a graph has no room there to run it as two.
        return speculation.draft(self.context - len(self._held) - 2)

    def _run(self, generator: og.Generator, token: int, drafted: list[int]) -> NDArray[np.float32]:
        """Run a token and its draft; returns the logits of all, [tokens, vocabulary]."""
        started = self._clock()
        self._append(generator, [token, *drafted])
        logits = self._all_logits(generator) if drafted else generator.get_logits()[0]
        self.pace.record(1 + len(drafted), self._clock() - started)
        if self._rows is not None and self._rows.same_bits:
            self._settled = len(self._held)
        return logits

    def _to_compare(self, certain: int) -> bool:
        """Whether rows are to be compared now: at first, and, where they were the same, whenever the text has doubled.

        A graph that joins its cache by itself was seen to have the same bits for 10 tokens and others for 300.
        """
        if certain >= self.context:
            return False
        return self._rows is None or (self._rows.same_bits and certain >= 2 * self._compared)

    def _compare_rows(self, generator: og.Generator, alone: NDArray[np.float32]) -> Rows:
        """Run the newest token once more beside the one before it, and compare with its logits from a run alone.

        The cache is left as it was. Other bits in the GroupQueryAttention of any layer reach some logit at any length
        that was tried, from 3 tokens to 900.
        """
        self._compared = len(self._held)
        *_, before, token = self._held
        self._rewind(generator, len(self._held) - 2)
        self._append(generator, [before, token])
        logits = self._all_logits(generator)
        rows = Rows(len(logits) == 2, np.array_equal(logits[-1], alone))
        if not rows.same_bits:
            self._rewind(generator, len(self._held) - 1)
            self._append(generator, [token])
        return rows

    def _all_logits(self, generator: og.Generator) -> NDArray[np.float32]:
        """The logits of every row of the last run; of the last alone where the graph gives no others."""
        logits: NDArray[np.float32] = generator.get_output(self._logits)[0]
        return logits

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


def _facts(folder: Path) -> tuple[int, str]:
    """The most tokens that the model takes, and the name of its logits."""
    path = folder / "genai_config.json"
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        outputs = model.get("decoder", {}).get("outputs", {})
        return int(model["context_length"]), str(outputs.get("logits", "logits"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ModelError(
            f"There is no usable {path.name} in {folder}: {cause!r}",
            hint="Name a folder that holds a prepared model, or choose one with /model",
        ) from cause
