"""Which of the family this machine can run well, from numbers alone: predicted memory, speed and disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from shammah.errors import ModelError
from shammah.models.catalog import Model, Needs, Shape, of_variant, size_text
from shammah.models.machine import Machine
from shammah.models.names import name_of

PATIENCE = 8.0
"""Tokens per second that a chat needs at least; people read at five to eight."""
SPEED_CONTEXT = 512
"""Tokens of conversation at which speed is predicted."""

WORTH_HAVING = 1024
"""Tokens of context below which a chat is no pleasure."""

BANDWIDTH_SHARE = 0.65
"""Of the probed bandwidth, what reading weights reaches, in bytes of the files: packed in memory they are more. Between
two states of one host, the probe telling 16.5 and 28 GB/s while 0.5B answered 36 and 1.5B 12.5 tokens/s in both: the
prediction is 26 % low in the one and 25 % high in the other (2 processors with AVX512-VNNI, `scripts/bench --compare`,
2026-11-21)."""
ASSUMED_BANDWIDTH = 20e9
"""Where it was not measured: a laptop with two channels of DDR4, bytes per second."""
CACHE_SHARE = 0.25
"""Of the same, what attention reaches on the cache: 2 ms for 512 tokens of 0.5B (12 % of a token, 2026-11-21)."""
LAYER_SECONDS = 0.00015
"""A layer's fixed cost for a token: starting its products, norms (3.6 ms for the 24 of 0.5B, 2026-11-21)."""

PRODUCTS = {
    "avx512_vnni": 50e9,
    "avx_vnni": 35e9,
    "i8mm": 40e9,
    "avx512": 30e9,
    "dotprod": 25e9,
    "avx2": 20e9,
    "neon": 10e9,
}
"""Multiplications of 4-bit weights a second, by one processor with these instructions; the fastest that it has counts.
Measured: avx512_vnni, 48e9 for one row, 45e9 to 54e9 reading prompts with 0.5B (2026-11-21). Others are estimates."""
PLAIN_PRODUCTS = 3e9
"""The same without any of them."""
UNKNOWN_PRODUCTS = PRODUCTS["avx2"]
"""The same where the instructions are not known: nearly every processor of the last ten years has these."""

DISK_MARGIN = 200_000_000
"""Bytes left on the disk beside download and prepared model: history, logs, tokenizer files."""

Cause = Literal["memory", "speed", "disk", "unknown", "licence"]


@dataclass(frozen=True)
class Obstacle:
    """One reason against a model; the text goes on after its name."""

    cause: Cause
    text: str


@dataclass(frozen=True)
class Fit:
    """A model on a machine, predicted: bytes, tokens per second, and every obstacle to running it well."""

    model: Model
    peak_bytes: int
    tokens_per_s: float
    first_token_s: float
    obstacles: tuple[Obstacle, ...]

    @property
    def fits(self) -> bool:
        """Whether memory, speed and disk suffice; it may still be unproven or for research only."""
        return not {"memory", "speed", "disk"} & {one.cause for one in self.obstacles}

    @property
    def against(self) -> str:
        """The first obstacle as a sentence without its full stop; "" where there is none."""
        return f"{self.model.name} {self.obstacles[0].text}" if self.obstacles else ""


@dataclass(frozen=True)
class Choice:
    """What `auto` takes, None for the starter; `why` is a sentence or two without the last full stop."""

    model: Model | None
    peak_bytes: int
    tokens_per_s: float
    why: str


def choose(
    machine: Machine, context: int, reserve_gb: float, variant: str = "instruct", here: Collection[str] = ()
) -> Choice:
    """The largest of a variant that runs well beside what is reserved, and may be taken without asking.

    Args:
        machine: What there is.
        context: Tokens of conversation to keep in memory.
        reserve_gb: Memory to leave to other programs.
        variant: "instruct" or "coder".
        here: Repositories that are prepared on this disk: they exist, and need no more of it.
    """
    fits = [fit(model, machine, context, reserve_gb, here) for model in of_variant(variant)]
    for number, found in reversed(list(enumerate(fits))):
        if not found.obstacles:
            return _chosen(found, fits[number + 1 :])
    return Choice(None, 0, 0.0, f"The starter answers: {fits[0].against}")


def _chosen(found: Fit, larger: list[Fit]) -> Choice:
    numbers = f"about {size_text(found.peak_bytes)} of memory and {found.tokens_per_s:.0f} tokens/s"
    why = f"{found.model.name} is the largest for this machine: {numbers}"
    if larger:
        why += f". {larger[0].against}"
    return Choice(found.model, found.peak_bytes, found.tokens_per_s, why)


def fit(model: Model, machine: Machine, context: int, reserve_gb: float, here: Collection[str] = ()) -> Fit:
    """How a model would run on a machine, with everything that speaks against it; arguments as for `choose`."""
    context = min(context, model.context)
    is_here = model.repo in here
    disk = 0 if is_here else model.download_bytes + model.prepared_bytes + DISK_MARGIN
    return Fit(
        model=model,
        peak_bytes=model.needs.peak(context),
        tokens_per_s=tokens_per_s(model, machine),
        first_token_s=predicted_first_token_s(model, machine, SPEED_CONTEXT),
        obstacles=tuple(_obstacles(model, machine, context, reserve_gb, is_here, disk)),
    )


def _obstacles(
    model: Model, machine: Machine, context: int, reserve_gb: float, is_here: bool, disk: int
) -> Iterator[Obstacle]:
    free = room(machine.memory_available, reserve_gb)
    peak, speed = model.needs.peak(context), tokens_per_s(model, machine)
    if peak > free:
        yield Obstacle("memory", f"needs {_memory(peak, free, reserve_gb)}")
    elif not is_here and model.preparing_bytes > free:
        yield Obstacle("memory", f"needs, to be prepared, {_memory(model.preparing_bytes, free, reserve_gb)}")
    if speed < PATIENCE:
        yield Obstacle("speed", f"would give {speed:.1f} tokens/s here, and {PATIENCE:.0f} are wanted")
    if machine.disk_free is not None and disk > machine.disk_free:
        left = size_text(machine.disk_free)
        yield Obstacle("disk", f"needs {size_text(disk)} of disk to be fetched and prepared, and {left} are free")
    if model.research_only:
        yield Obstacle("licence", "is for research only, and is taken when it is asked for by name")
    if not (model.exists or is_here):
        yield Obstacle("unknown", "is not known to exist as ONNX files")


def speed_text(tokens_per_s: float) -> str:
    """Tokens per second for a person: with a decimal below ten, and never none at all."""
    if tokens_per_s < 0.05:
        return "<0.1"
    return f"{tokens_per_s:.{0 if tokens_per_s >= 9.95 else 1}f}"


def room(available: int, reserve_gb: float) -> int:
    """Bytes that a model may take beside what is reserved."""
    return max(0, available - round(reserve_gb * 1e9))


def tokens_per_s(model: Model, machine: Machine, position: int = SPEED_CONTEXT) -> float:
    """Predicted speed of an answer once the conversation has `position` tokens.

    Every token reads all weights once, which the memory or the products of the processors bound, reads its cache, and
    pays a fixed cost a layer.
    """
    bandwidth = (machine.bandwidth or ASSUMED_BANDWIDTH) * BANDWIDTH_SHARE
    weights = max(model.token_bytes / bandwidth, _products(model.shape) / _rate(machine))
    cache = position * model.shape.cache_token / (bandwidth * CACHE_SHARE)
    return 1 / (weights + cache + model.shape.layers * LAYER_SECONDS)


def predicted_first_token_s(model: Model, machine: Machine, prompt_tokens: int) -> float:
    """Predicted seconds from Enter to the first token of a cold prompt: all but the head runs for every token of it."""
    shape = model.shape
    attention = shape.layers * shape.heads * shape.head_size * 2 * prompt_tokens / 2
    return prompt_tokens * (shape.body + attention) / _rate(machine) + 1 / tokens_per_s(model, machine, prompt_tokens)


def _products(shape: Shape) -> int:
    """Multiplications for one token of an answer."""
    return shape.body + shape.head


def _rate(machine: Machine) -> float:
    """Multiplications a second of all processors together."""
    if machine.instructions is None:
        return machine.processors * UNKNOWN_PRODUCTS
    known = [rate for name, rate in PRODUCTS.items() if name in machine.instructions]
    return machine.processors * max(known, default=PLAIN_PRODUCTS)


def check_memory(needs: Needs, available: int, context: int, reserve_gb: float, variant: str = "instruct") -> None:
    """Refuse a model that does not fit before it is loaded: a machine that swaps is worse than a smaller model.

    Raises:
        ModelError: it needs more than is free; the hint names the next smaller size that fits.
    """
    peak, free = needs.peak(context), room(available, reserve_gb)
    if peak <= free:
        return
    least = min(free, peak - 1)
    fitting = (model for model in of_variant(variant) if model.exists and model.needs.peak(context) <= least)
    smaller = [name_of(model) for model in fitting]
    instead = f"shammah models use {smaller[-1] if smaller else 'starter'} takes the next smaller that fits"
    raise ModelError(
        f"{needs.name} needs {_memory(peak, free, reserve_gb)}",
        hint=f"Close other programs, or: {instead}{_shorter(needs, free)}",
    )


def _shorter(needs: Needs, free: int) -> str:
    """The context with which it would fit, where that is long enough to be worth having."""
    tokens = needs.longest(free) // 256 * 256
    return f"; with local.context at {tokens} this one fits" if tokens >= WORTH_HAVING else ""


def _memory(needed: int, free: int, reserve_gb: float) -> str:
    return (
        f"about {size_text(needed)} of memory, and {size_text(free)} are free "
        f"beside the {reserve_gb:g} GB for other programs"
    )
