"""genai_config.json, which tells onnxruntime-genai what a graph is (onnxruntime.ai/docs/genai/reference/config)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shammah.errors import ModelError
from shammah.loader.prepare.shape import Sizes, read_json

CONFIG = "genai_config.json"

SMALL = 600_000_000
"""Bytes of weights that all processors lay out anew together. It takes a quarter off the time to load, but keeps every
weight in memory twice until the last is done: 722 instead of 550 MB with a 0.5B, 2,113 instead of 1,486 with a 1.5B."""


@dataclass(frozen=True)
class Names:
    """What the graph calls its inputs and outputs; those of the cache with %d for the layer, None for none."""

    ids: str = "input_ids"
    mask: str | None = "attention_mask"
    positions: str | None = None
    past_key: str = "past_key_values.%d.key"
    past_value: str = "past_key_values.%d.value"
    logits: str = "logits"
    present_key: str = "present.%d.key"
    present_value: str = "present.%d.value"


def genai_config(
    sizes: Sizes, names: Names, graph: Path, shared: bool, config: dict[str, Any], generation: dict[str, Any]
) -> dict[str, Any]:
    """The content of genai_config.json for a graph; `shared`: past and present of the cache may be one buffer.

    Raises:
        ModelError: neither config.json nor generation_config.json names the token that ends an answer.
    """
    model = {
        "type": "qwen2", "vocab_size": sizes.vocabulary, "context_length": sizes.positions,
        **_special_tokens(config, generation), "decoder": _decoder(sizes, names, graph),
    }  # fmt: skip
    search = {"max_length": sizes.positions, "past_present_share_buffer": shared, "do_sample": False}
    return {"model": model, "search": search}


def _decoder(sizes: Sizes, names: Names, graph: Path) -> dict[str, Any]:
    inputs = {
        "input_ids": names.ids, "attention_mask": names.mask, "position_ids": names.positions,
        "past_key_names": names.past_key, "past_value_names": names.past_value,
    }  # fmt: skip
    outputs = {
        "logits": names.logits, "present_key_names": names.present_key, "present_value_names": names.present_value,
    }  # fmt: skip
    small = sum(path.stat().st_size for path in graph.parent.glob("*.onnx*")) <= SMALL
    session = {"session.prepack.enable_parallel": "1"} if small else {}
    return {
        "filename": graph.name, "session_options": {**session, "provider_options": []},
        "head_size": sizes.head_size, "hidden_size": sizes.hidden, "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers, "num_key_value_heads": sizes.kv_heads,
        "inputs": {key: name for key, name in inputs.items() if name}, "outputs": outputs,
    }  # fmt: skip


def _special_tokens(config: dict[str, Any], generation: dict[str, Any]) -> dict[str, Any]:
    """The ids of begin, end and padding; the runtime takes no nulls, so what is missing is the end's."""

    def named(key: str) -> Any:
        return generation.get(key) if generation.get(key) is not None else config.get(key)

    end = named("eos_token_id")
    ends = [token for token in (end if isinstance(end, list) else [end]) if type(token) is int]
    if not ends:
        raise ModelError(
            "Neither generation_config.json nor config.json names the token that ends an answer (eos_token_id)",
            hint="Choose another repository, or add eos_token_id to its generation_config.json",
        )
    begin, padding = (
        token if type(token) is int else ends[-1] for token in map(named, ("bos_token_id", "pad_token_id"))
    )
    return {"bos_token_id": begin, "eos_token_id": ends, "pad_token_id": padding}


def model_files(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and, where there is one, generation_config.json."""
    generation = source / "generation_config.json"
    return read_json(source / "config.json"), read_json(generation) if generation.is_file() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object to be read by people too."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
