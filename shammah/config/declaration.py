"""Every setting of config.toml, once: its default, what it may be and what it means."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

from shammah.message import MAX_TOKENS

Value = bool | int | float | str
"""What a setting can hold; None stands for unset."""


def setting(
    default: Value | None,
    meaning: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    sample: Value | None = None,
    stands_for: Value | None = None,
) -> Any:
    """Declare one field; its type says the kind, a Literal the choices.

    `sample` is what unset may become, `stands_for` what it counts as.
    """
    limits = {"minimum": minimum, "maximum": maximum}
    shown = {"default": default if stands_for is None else stands_for, "unset": default is None}
    return field(default=default, metadata={"meaning": meaning, "sample": sample, **shown, **limits})


@dataclass(frozen=True)
class Local:
    """Models on this machine."""

    enabled: bool = setting(True, "Run models on this machine.")
    size: Literal["auto", "starter", "0.5b", "1.5b", "3b", "7b", "14b"] = setting(
        "auto", "Size of the model; auto takes the largest that fits memory and patience."
    )
    variant: Literal["instruct", "coder"] = setting("instruct", "instruct for any question, coder for code.")
    repo: str = setting("", "Any other model: a repository on the hub, or a folder on disk.")
    file: str = setting("", "The model's file in that repository or folder.")
    backend: Literal["auto", "cpu", "cuda", "webgpu", "coreml", "directml"] = setting(
        "auto", "What computes; auto takes the fastest that was measured here."
    )
    threads: int = setting(0, "Threads of the processor. 0 = one for each physical processor.", minimum=0, maximum=1024)
    context: int = setting(4096, "Tokens of conversation kept in memory.", minimum=64, maximum=1_048_576)
    fetch: bool = setting(True, "Fetch a model from the hub when the settings want one that is not on this disk.")
    keep_download: bool = setting(False, "Keep a model's files as downloaded after they are prepared.")


@dataclass(frozen=True)
class Generation:
    """How answers are made. Sampling that is unset comes from the model's own generation_config.json."""

    max_tokens: int | None = setting(
        None,
        "Most tokens of one answer; where it is set, of one by Claude too.",
        minimum=1,
        maximum=1_000_000,
        stands_for=MAX_TOKENS,
    )
    temperature: float | None = setting(
        None, "How freely words are chosen. 0 = always the likeliest (greedy).", minimum=0, maximum=2, sample=0.7
    )
    top_k: int | None = setting(
        None, "Choose among this many likeliest tokens only. 0 = no bound.", minimum=0, maximum=1_000_000, sample=20
    )
    top_p: float | None = setting(
        None,
        "Choose among the likeliest tokens that together have this share. 1 = no bound.",
        minimum=0,
        maximum=1,
        sample=0.8,
    )
    repetition_penalty: float | None = setting(
        None,
        "Above 1, tokens that have occurred become less likely. 1 = no change.",
        minimum=0.1,
        maximum=10,
        sample=1.1,
    )
    seed: int | None = setting(
        None, "The same seed gives the same answer on the same machine.", minimum=0, maximum=2**32 - 1, sample=42
    )


@dataclass(frozen=True)
class Routing:
    """Who answers."""

    mode: Literal["auto", "local", "cloud", "ask"] = setting(
        "auto",
        "auto chooses for each question, local stays on this machine, cloud asks Claude, ask asks you first.",
    )
    reserve_ram_gb: float = setting(
        1.0, "Gigabytes of memory left to the rest of the machine.", minimum=0, maximum=4096
    )


@dataclass(frozen=True)
class Cloud:
    """Answers by Claude, where you allow them. The key is never in this file."""

    allowed: bool = setting(
        False, "In mode auto, questions may go to Claude while the local model loads, or when it cannot answer."
    )
    model: str = setting("claude-sonnet-5-5", "The Claude model.")
    max_tokens: int = setting(4096, "Most tokens of one answer by Claude.", minimum=1, maximum=1_000_000)
    daily_budget_usd: float = setting(
        5.0,
        "Dollars that Claude may cost in a day, passed by one request at most. 0 = none.",
        minimum=0,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class Chat:
    """The chat in the terminal."""

    system: str = setting("", "System prompt: a lasting instruction that comes before every conversation.")
    markdown: bool = setting(True, "Render Markdown on a terminal.")
    editing_mode: Literal["emacs", "vi"] = setting("emacs", "Keys of the input line.")


@dataclass(frozen=True)
class Config:
    """All settings, as `config.local.size`."""

    local: Local = field(default_factory=Local)
    generation: Generation = field(default_factory=Generation)
    routing: Routing = field(default_factory=Routing)
    cloud: Cloud = field(default_factory=Cloud)
    chat: Chat = field(default_factory=Chat)


@dataclass(frozen=True)
class Setting:
    """One setting as declared. `kind` is bool, int, float or str.

    `unset`: it holds None until a person sets it, and counts as `default` where that is not None.
    """

    key: str
    kind: type
    default: Value | None
    unset: bool
    meaning: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    sample: Value | None

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        return self.key.partition(".")[2]


@cache
def sections() -> dict[str, type]:
    """The sections of config.toml with the class of each."""
    return get_type_hints(Config)


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting, in the order of the file."""
    return tuple(setting for name, section in sections().items() for setting in _declared(name, section))


@cache
def by_key() -> dict[str, Setting]:
    """Every setting under its key."""
    return {setting.key: setting for setting in settings()}


def _declared(section: str, declaration: type) -> list[Setting]:
    hints = get_type_hints(declaration)
    return [
        Setting(
            key=f"{section}.{each.name}",
            kind=_kind(hints[each.name]),
            choices=_choices(hints[each.name]),
            **each.metadata,
        )
        for each in fields(declaration)
    ]


def _kind(hint: Any) -> type:
    """`bool` of bool, `float` of float | None, `str` of Literal["a", "b"]."""
    first = next((option for option in get_args(hint) if option is not NoneType), hint)
    return first if isinstance(first, type) else type(first)


def _choices(hint: Any) -> tuple[str, ...]:
    return tuple(option for option in get_args(hint) if isinstance(option, str))
