"""The Qwen2.5 family as data: repositories, sizes, licences, and the memory that a model of a given shape will need.

Shapes serve to predict, before anything is fetched; what runs is read from the files. Shapes are from each model's
config.json, sizes of files from stored listings of the hub, both as of 2026-11-21; constants of memory are dated below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shammah.errors import ModelError

SIZES = ("0.5b", "1.5b", "3b", "7b", "14b")
Variant = Literal["instruct", "coder"]
VARIANTS: tuple[Variant, ...] = ("instruct", "coder")

FREE = "Apache-2.0"
RESEARCH = "Qwen Research: for research only"

RUNTIME_BYTES = 172_000_000
"""A worker beside its model: Python and the runtimes 85 MB, Qwen's tokenizer 87 MB. Measured on Linux x86-64 with
onnxruntime 1.31, 2026-11-21."""
SLICE_TOKENS = 64
"""Prompt tokens that the worker reads at once; logits of each are allocated, 4 bytes an entry of the vocabulary."""
PACKED_SHARE = 7 / 5
"""Bytes of 4-bit blocks in memory for each in their file: the runtime packs them anew with a sum for each block and
keeps the scales, 7 bits a weight instead of 5 (2026-11-21)."""
TABLE_SHARE = 0.6
"""The share of the embedding's pages in its file that an answer brings into memory: a 0.5B peaked at 851 MB with 4,096
tokens of cache (2026-11-21)."""
TABLE_BITS = 8
"""Of a prepared embedding, whose rows also make the likeliest tokens exact; the head beside it has 4."""
BLOCK = 32
_GRAPH_BYTES = 1_000_000


@dataclass(frozen=True)
class Shape:
    """The measures of a decoder; `shared` where the head is the embedding. Counts are of weights, not of bytes."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    inner: int
    vocab: int
    shared: bool

    @property
    def body(self) -> int:
        """Weights of all layers' matrices, each used once a token."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def head(self) -> int:
        """Weights of the head; as many has the embedding."""
        return self.vocab * self.hidden

    @property
    def cache_token(self) -> int:
        """Bytes of cache a token: a float32 key and value in every layer."""
        return self.layers * self.kv_heads * self.head_size * 2 * 4

    @property
    def slice_token(self) -> int:
        """Bytes of work space for a token of a prompt's slice: its logits, and the widest layer's values."""
        return 4 * (self.vocab + 3 * self.inner + 8 * self.hidden)


@dataclass(frozen=True)
class Needs:
    """What decides the memory of a model that is loaded, in bytes.

    `weights` as they lie in memory; `largest` the largest tensor of the file, which is there twice while it is packed;
    `cache_token` and `slice_token` for each token of the cache and of a prompt's slice.
    """

    name: str
    weights: int
    largest: int
    cache_token: int
    slice_token: int

    @property
    def at_rest(self) -> int:
        """Bytes that the worker holds once the model is loaded, before the first question."""
        return self.weights + RUNTIME_BYTES

    def peak(self, context: int) -> int:
        """Bytes that the worker holds at most, loading or answering, with a cache of `context` tokens."""
        return self.at_rest + max(self.largest, SLICE_TOKENS * self.slice_token + context * self.cache_token)

    def longest(self, room: int) -> int:
        """Tokens of context with which it fits into `room` bytes; 0 where it fits with none."""
        left = room - self.at_rest - SLICE_TOKENS * self.slice_token
        return 0 if self.peak(0) > room else left // max(1, self.cache_token)


@dataclass(frozen=True)
class Model:
    """One of the family.

    `exists`: a listing of the repository with ONNX files was seen. `listed_bytes`: the q4f16 files in that listing.
    `one_matrix`: the file on the hub holds head and embedding once.
    """

    size: str
    variant: Variant
    shape: Shape
    licence: str
    exists: bool
    listed_bytes: int | None
    one_matrix: bool
    context: int = 32_768

    @property
    def name(self) -> str:
        """As its makers call it."""
        coder = "Coder-" if self.variant == "coder" else ""
        return f"Qwen2.5-{coder}{self.size.upper()}-Instruct"

    @property
    def repo(self) -> str:
        """The repository with its ONNX files."""
        return f"onnx-community/{self.name}"

    @property
    def research_only(self) -> bool:
        """Whether the licence forbids commercial use, which must be said before a download."""
        return self.licence == RESEARCH

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch: as listed, else 4-bit blocks with float16 scales and a float16 embedding."""
        if self.listed_bytes is not None:
            return self.listed_bytes
        blocks = self.shape.body + (0 if self.one_matrix else self.shape.head)
        return blocks * (4 * BLOCK + 16) // (8 * BLOCK) + 2 * self.shape.head

    @property
    def download_text(self) -> str:
        """The same for a person: "about" where no listing tells."""
        return f"{'' if self.listed_bytes is not None else 'about '}{size_text(self.download_bytes)}"

    @property
    def prepared_bytes(self) -> int:
        """Bytes on disk once prepared: blocks with float32 scales, and the tables of the rotary embedding."""
        weights = _blocks(self.shape.body, 4) + _blocks(self.shape.head, 4)
        return weights + _blocks(self.shape.head, TABLE_BITS) + self._rotary + _GRAPH_BYTES

    @property
    def loaded_bytes(self) -> int:
        """Bytes of weights in memory; the embedding stays in its file, whose pages come in as they are used."""
        table = round(_blocks(self.shape.head, TABLE_BITS) * TABLE_SHARE)
        return _packed(self.shape.body, 4) + _packed(self.shape.head, 4) + table + self._rotary

    @property
    def _rotary(self) -> int:
        return 4 * self.context * self.shape.head_size

    @property
    def token_bytes(self) -> int:
        """Bytes of weights that are read for every token of an answer."""
        return _blocks(self.shape.body, 4) + _blocks(self.shape.head, 4)

    @property
    def preparing_bytes(self) -> int:
        """Memory that preparing takes at most: once and a half the largest tensor, and 500 MB."""
        return 3 * self.shape.head + 500_000_000

    @property
    def needs(self) -> Needs:
        """What decides its memory."""
        largest = self.shape.head * TABLE_BITS // 8
        return Needs(self.name, self.loaded_bytes, largest, self.shape.cache_token, self.shape.slice_token)


_SHAPES = {
    "0.5b": Shape(24, 14, 2, 64, 896, 4864, 151_936, True),
    "1.5b": Shape(28, 12, 2, 128, 1536, 8960, 151_936, True),
    "3b": Shape(36, 16, 2, 128, 2048, 11_008, 151_936, True),
    "7b": Shape(28, 28, 4, 128, 3584, 18_944, 152_064, False),
    "14b": Shape(48, 40, 8, 128, 5120, 13_824, 152_064, False),
}

_LISTED: Mapping[tuple[str, Variant], int | None] = {
    ("0.5b", "instruct"): 483_000_000,
    ("1.5b", "instruct"): 1_220_000_000,
    ("0.5b", "coder"): 555_000_000,
    ("1.5b", "coder"): 1_340_000_000,
    ("3b", "coder"): None,  # The graph's 271 MB were seen, not the size of the data beside it.
}
"""Repositories that were seen; 3B-, 7B- and 14B-Instruct, Coder-7B and Coder-14B were not."""


def _model(size: str, variant: Variant) -> Model:
    return Model(
        size=size,
        variant=variant,
        shape=_SHAPES[size],
        licence=RESEARCH if size == "3b" else FREE,
        exists=(size, variant) in _LISTED,
        listed_bytes=_LISTED.get((size, variant)),
        # The listed sizes of the coder's files show a head beside the embedding, though both hold the same values.
        one_matrix=_SHAPES[size].shared and variant == "instruct",
    )


FAMILY: tuple[Model, ...] = tuple(_model(size, variant) for variant in VARIANTS for size in SIZES)
"""Every model, the smallest of each variant first."""


def find(size: str, variant: str = "instruct") -> Model:
    """The model of this size and variant, as `local.size` and `local.variant` name them.

    Raises:
        ModelError: there is none.
    """
    for model in FAMILY:
        if (model.size, model.variant) == (size.lower(), variant.lower()):
            return model
    wrong = f"size {size}" if size.lower() not in SIZES else f"variant {variant}"
    raise ModelError(
        f"There is no Qwen2.5 of {wrong}",
        hint=f"Sizes are {', '.join(SIZES)}; variants are {' and '.join(VARIANTS)}",
    )


def of_variant(variant: str) -> list[Model]:
    """All of a variant, the smallest first.

    Raises:
        ModelError: there is no such variant.
    """
    smallest = find(SIZES[0], variant)
    return [model for model in FAMILY if model.variant == smallest.variant]


def needs_of_folder(name: str, weights: int, genai_config: Mapping[str, Any]) -> Needs | None:
    """What decides the memory of any folder that the worker can load; None where its configuration does not tell.

    Args:
        name: What the person calls it.
        weights: Bytes of the graph's files.
        genai_config: The parsed genai_config.json.
    """
    try:
        model = genai_config["model"]
        decoder = model["decoder"]
        vocab, hidden = int(model["vocab_size"]), int(decoder["hidden_size"])
        cache = int(decoder["num_hidden_layers"]) * int(decoder["num_key_value_heads"]) * int(decoder["head_size"]) * 8
        prepared = bool(genai_config.get("search", {}).get("past_present_share_buffer", False))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    # An inner width is not told; Qwen2.5's is at most six times the hidden one.
    slice_token = 4 * (vocab + 3 * 6 * hidden + 8 * hidden)
    if prepared:
        table = min(_blocks(vocab * hidden, TABLE_BITS), weights)
        loaded = (weights - table) * PACKED_SHARE + table * TABLE_SHARE
        return Needs(name, round(loaded), vocab * hidden, cache, slice_token)
    # As downloaded: the runtime unfolds the embedding to float32 and keeps a transposed copy of it as the head, and the
    # cache is there twice while a token is appended.
    return Needs(name, weights + 2 * 4 * vocab * hidden, 0, 2 * cache, slice_token)


def size_text(count: int) -> str:
    """Bytes for a person: whole megabytes below a gigabyte, else gigabytes with one decimal."""
    return f"{count / 1e6:.0f} MB" if count < 999_500_000 else f"{count / 1e9:.1f} GB"


def _blocks(weights: int, bits: int) -> int:
    """Bytes of weights in blocks that share a float32 scale."""
    return weights * (bits * BLOCK + 32) // (8 * BLOCK)


def _packed(weights: int, bits: int) -> int:
    """Bytes of the same in memory: as in the file, and packed with a float32 scale and a sum for each block."""
    return weights * (bits * BLOCK + 3 * 32) // (8 * BLOCK)
