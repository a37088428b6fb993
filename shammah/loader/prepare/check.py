"""Compares the prepared graph with the downloaded one on fixed prompts, before anybody talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from shammah.loader.prepare.graph import ALL_ROWS
from shammah.loader.prepare.map import Found
from shammah.loader.prepare.pieces import logits_by_layer
from shammah.loader.prepare.read import Export
from shammah.loader.prepare.shape import Shape

PROMPTS = (
    # A question about code, one about a river, a translation, each in Qwen's chat form with the start of an answer.
    (151644, 872, 198, 7985, 264, 729, 429, 4675, 279, 308, 7563, 79683, 1372, 11, 323, 10339, 304, 825, 11652, 3170,
     432, 374, 4937, 13, 151645, 198, 151644, 77091, 198, 8420, 374, 264, 2805, 729, 429, 13598, 279, 1537, 1378, 5109),
    (151644, 872, 198, 9064, 1558, 279, 14796, 17968, 482, 3161, 11, 323, 1526, 892, 5837, 1558, 432, 6396, 30, 151645,
     198, 151644, 77091, 198, 785, 17968, 482, 12033, 304, 279, 29691, 92900, 323, 27455, 1526, 29121, 11, 21491, 42888,
     12429, 11, 34898, 11, 9856),
    (151644, 872, 198, 52491, 1902, 295, 2986, 1640, 57671, 25, 576, 2310, 8866, 389, 279, 7002, 1030, 10497, 518, 4279,
     3267, 2326, 13, 151645, 198, 151644, 77091, 198, 18175, 43908, 38183, 458, 2694, 68929, 4116, 4443, 14761, 65,
     57093, 64857, 3893, 2024, 645, 7964, 13),
)  # fmt: skip
"""Ids of Qwen2.5's tokenizer; for another vocabulary they are taken modulo its size. Short ones: graphs in half floats
lose the angle of later positions, and the prepared graph, which does not, would be blamed for it."""

SINGLE = 4
"""Positions at the end that are run one by one, as an answer is: one row alone takes another kernel."""

FAILURES = tuple(
    getattr(failures, name)
    for name in ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented",
                 "RuntimeException")
)  # fmt: skip
"""What onnxruntime raises where a graph cannot be loaded or run."""


SURE = 1.0
"""Nats by which a token must lead to be a sure choice; between closer ones any rounding decides."""


@dataclass(frozen=True)
class Deviation:
    """How far logits are from those of the download, over all positions of the prompts.

    `agreement`: share of positions with the same most likely token, of those where the download is sure of its own.
    `divergence`: mean Kullback-Leibler divergence of the next-token distributions, in nats.
    `difference`: the largest of two logits, in standard deviations of a row's.
    """

    agreement: float
    divergence: float
    difference: float

    def within(self, bounds: Deviation) -> bool:
        """Whether it is at most as far as the bounds."""
        return (
            self.agreement >= bounds.agreement
            and self.divergence <= bounds.divergence
            and self.difference <= bounds.difference
        )


KEPT = Deviation(agreement=0.9, divergence=0.02, difference=2.0)
"""Where the blocks of the layers are the download's: inputs and embedding are rounded to 8 bits, as the head is for the
likeliest tokens; the largest difference is that of some token among all that nobody would choose, with 4 bits."""

ROUNDED = Deviation(agreement=0.5, divergence=0.5, difference=5.0)
"""Where floats were rounded to 4 bits. Small models lose this much by it, and a wrong graph differs by far more: logits
that have nothing to do with each other lie some seven standard deviations apart somewhere."""


def bounds(found: Found) -> Deviation:
    """How far the prepared graph may be from this download."""
    return KEPT if found.decoder.in_blocks else ROUNDED


def deviation(export: Export, found: Found, graph: Path, threads: int, told: Callable[[float], None]) -> Deviation:
    """How far a prepared graph is from the export.

    Raises:
        NotUnderstood: the export has inputs of other kinds.
        One of FAILURES: a graph cannot be run.
    """
    vocabulary = found.decoder.shape.vocabulary
    prompts = [[token % vocabulary for token in prompt] for prompt in PROMPTS]
    prepared = prepared_logits(graph, found.decoder.shape, prompts, threads)
    told(0.3)
    downloaded = logits_by_layer(export, found, prompts, threads, lambda share: told(0.3 + 0.7 * share))
    return compare(downloaded, prepared)


def prepared_logits(
    graph: Path, shape: Shape, prompts: Sequence[Sequence[int]], threads: int
) -> list[NDArray[np.float32]]:
    """Logits of every position of each prompt, read in slices into a cache as the worker does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return [np.concatenate(list(_slice_by_slice(session, shape, prompt))) for prompt in prompts]


def _slice_by_slice(
    session: ort.InferenceSession, shape: Shape, prompt: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    names = [output.name for output in session.get_outputs()]
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float32)
    cache = {given.name: empty for given in session.get_inputs() if given.name.startswith("past_key_values.")}
    for start, stop in _slices(len(prompt)):
        ids, mask = np.array([prompt[start:stop]], np.int64), np.ones((1, stop), np.int64)
        logits, *present = session.run(names, {"input_ids": ids, "attention_mask": mask, **cache})
        cache = dict(zip(cache, present, strict=True))
        yield logits[0]


def _slices(length: int) -> Iterator[tuple[int, int]]:
    """Ranges that cover a prompt: long ones, then single positions."""
    alone = max(0, length - SINGLE)
    for start in range(0, alone, ALL_ROWS):
        yield start, min(start + ALL_ROWS, alone)
    for start in range(alone, length):
        yield start, start + 1


def compare(downloaded: Sequence[NDArray[np.float32]], prepared: Sequence[NDArray[np.float32]]) -> Deviation:
    """How far the second logits are from the first, each [positions, vocabulary] for every prompt."""
    rows = [pair for pairs in zip(downloaded, prepared, strict=True) for pair in zip(*pairs, strict=True)]
    spread = np.sqrt(np.mean([np.var(one, dtype=np.float64) for one, _ in rows]))
    return Deviation(
        agreement=float(np.mean([one.argmax() == other.argmax() for one, other in rows if _lead(one) >= SURE] or [1])),
        divergence=float(np.mean([_divergence(one, other) for one, other in rows])),
        difference=float(max(np.abs(one - other).max() for one, other in rows) / spread),
    )


def _lead(row: NDArray[np.float32]) -> float:
    second, first = np.partition(row, -2)[-2:]
    return float(first - second)


def _divergence(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    log_one, log_other = _log_softmax(one), _log_softmax(other)
    return float(np.sum(np.exp(log_one) * (log_one - log_other)))


def _log_softmax(row: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = row.astype(np.float64) - row.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
