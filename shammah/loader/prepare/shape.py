"""The sizes of a Qwen2 network, from its config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shammah.errors import ModelError
from shammah.loader.prepare.understood import NotUnderstood


@dataclass(frozen=True)
class Sizes:
    """What the runtime wants to know of the network."""

    vocabulary: int
    positions: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int


@dataclass(frozen=True)
class Shape(Sizes):
    """What config.json says of the network."""

    inner: int
    theta: float
    epsilon: float


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: the file is missing or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise ModelError(
            f"{path.name} of the model cannot be read: {cause}", hint="Remove the model and fetch it again"
        ) from cause
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} of the model is no JSON object", hint="Remove the model and fetch it again")
    return content


def read_shape(config: dict[str, Any]) -> Shape:
    """The shape of a Qwen2 network.

    Raises:
        NotUnderstood: it is another architecture, or a form of this one that is not rewritten.
    """
    _check_form(config)
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        return Shape(
            vocabulary=int(config["vocab_size"]),
            hidden=hidden,
            inner=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or hidden // heads),
            positions=int(config["max_position_embeddings"]),
            theta=_rotary_base(config),
            epsilon=float(config["rms_norm_eps"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as cause:
        raise NotUnderstood(f"Its config.json has no usable sizes: {cause!r:.80}.") from cause


def _check_form(config: dict[str, Any]) -> None:
    _expect(config, "model_type", ("qwen2",))
    _expect(config, "hidden_act", ("silu", None))
    _expect(config, "use_sliding_window", (False, None))
    if set(config.get("layer_types") or ()) - {"full_attention"}:
        raise NotUnderstood("Its config.json has layers of different kinds, which are not rewritten.")


def _expect(config: dict[str, Any], key: str, known: tuple[object, ...]) -> None:
    if config.get(key) not in known:
        raise NotUnderstood(f"Its config.json has {key} = {config.get(key)!r:.60}, which is not rewritten.")


def _rotary_base(config: dict[str, Any]) -> float:
    """The base of the rotary positions; scaled ones (YaRN and others) are not rewritten."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise NotUnderstood(f"Its rotary positions are scaled by {kind!r:.60}, which is not rewritten.")
    return float(scaling.get("rope_theta", config.get("rope_theta", 10000.0)))
