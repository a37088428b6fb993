"""Lets an export run as it was downloaded: a genai_config.json for its graph, and faster products."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from shammah.errors import ModelError
from shammah.files import link
from shammah.loader.prepare.genai import CONFIG, Names, genai_config, write_json
from shammah.loader.prepare.patch import copy_faster
from shammah.loader.prepare.read import Export
from shammah.loader.prepare.shape import Sizes

_WHOLE = (TensorProto.INT64, TensorProto.INT32)
_REAL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)

_IDS = ("input_ids", "input", "ids", "tokens", "x")
"""Names that the ids go by, the likeliest first."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its name, element type and sizes, 0 where they are free."""

    name: str
    kind: int
    sizes: tuple[int, ...]

    @property
    def cached(self) -> bool:
        """Whether it looks like a part of the cache: [batch, heads, length, head size]."""
        return self.kind in _REAL and len(self.sizes) == 4


def synthesise(export: Export, config: dict[str, Any], generation: dict[str, Any], folder: Path) -> None:
    """Put the graph into a folder, its data beside it and genai_config.json.

    Raises:
        ModelError: the graph is not that of a decoder with a cache.
    """
    inputs, outputs = _values(export.graph.input), _values(export.graph.output)
    names = match_names(inputs, outputs)
    sizes = _sizes(config, inputs, outputs, names)
    for file in export.files()[1:]:
        link(file, folder / file.relative_to(export.path.parent))
    copy_faster(export.path, folder / export.path.name)
    write_json(folder / CONFIG, genai_config(sizes, names, folder / export.path.name, False, config, generation))


def match_names(inputs: Sequence[Value], outputs: Sequence[Value]) -> Names:
    """Which input is which: by the usual names, else by kind and shape.

    Raises:
        ModelError: they are not those of a decoder with a cache; the sentence names them.
    """
    whole = [value.name for value in inputs if value.kind in _WHOLE and len(value.sizes) == 2]
    mask = next((name for name in whole if "mask" in name), None)
    positions = next((name for name in whole if "position" in name or "pos_ids" in name), None)
    rest = [name for name in whole if name not in (mask, positions)]
    ids = next((name for name in _IDS if name in rest), rest[0] if len(rest) == 1 else None)
    real = [value.name for value in outputs if value.kind in _REAL and len(value.sizes) == 3]
    logits = "logits" if "logits" in real else real[0] if len(real) == 1 else None
    past = _cache([value.name for value in inputs if value.cached])
    present = _cache([value.name for value in outputs if value.cached])
    known = len(past) == len(present) == 2 and len(inputs) == sum(map(bool, (ids, mask, positions))) + _cached(inputs)
    if ids is None or logits is None or not known:
        raise ModelError(
            f"This graph is no decoder with a cache: it takes {_listed(inputs)} and gives {_listed(outputs)}",
            hint="Choose a repository with an export for text generation with past (past_key_values.0.key, ...)",
        )
    (past_key, past_value), (present_key, present_value) = past, present
    return Names(ids, mask, positions, past_key, past_value, logits, present_key, present_value)


def _cached(values: Sequence[Value]) -> int:
    return sum(value.cached for value in values)


def _cache(names: Sequence[str]) -> list[str]:
    """The names of the keys and of the values with %d for the layer; none where they do not come in such pairs."""
    patterns = list(dict.fromkeys(re.sub(r"\d+", "%d", name) for name in names))
    if len(patterns) != 2 or any(pattern.count("%d") != 1 for pattern in patterns):
        return []
    layers = range(len(names) // 2)
    if set(names) != {pattern.replace("%d", str(layer)) for pattern in patterns for layer in layers}:
        return []
    return sorted(patterns, key=lambda pattern: "val" in pattern.lower().replace("key_values", ""))


def _sizes(config: dict[str, Any], inputs: Sequence[Value], outputs: Sequence[Value], names: Names) -> Sizes:
    """Sizes as the graph tells them, or else config.json."""
    caches = [value for value in inputs if value.cached]
    width = next(value.sizes[-1] for value in outputs if value.name == names.logits)
    try:
        heads = int(config["num_attention_heads"])
        return Sizes(
            vocabulary=width or int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            hidden=int(config["hidden_size"]),
            layers=len(caches) // 2,
            heads=heads,
            kv_heads=caches[0].sizes[1] or int(config.get("num_key_value_heads", heads)),
            head_size=caches[0].sizes[3] or int(config["hidden_size"]) // heads,
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise ModelError(
            f"config.json of the model has no usable sizes: {cause!r:.80}", hint="Remove the model and fetch it again"
        ) from cause


def _listed(values: Sequence[Value]) -> str:
    names = [value.name for value in values]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") or "nothing"


def _values(given: Sequence[onnx.ValueInfoProto]) -> list[Value]:
    tensors = [(value.name, value.type.tensor_type) for value in given]
    return [
        Value(name, tensor.elem_type, tuple(size.dim_value for size in tensor.shape.dim)) for name, tensor in tensors
    ]
