"""The model's own chat template: a conversation to prompt ids."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shammah.errors import ModelError
from shammah.message import Message
from shammah.worker.text import Text

CHATML = (
    "{%- for message in messages %}"
    "{%- if loop.first and message.role != 'system' %}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""The form that Qwen2.5 was trained on, for models that come without a template."""
_REFUSALS = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template that is wrong, or hostile, ends with: Python's own errors pass through jinja2 as they are."""


class ChatTemplate:
    """Renders the template of tokenizer_config.json in a sandbox, and keeps contents apart from its markers."""

    def __init__(self, folder: Path, text: Text) -> None:
        """Read and compile the template.

        Raises:
            ModelError: there is none, or it cannot be compiled.
        """
        self._text = text
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(_source(folder, text.special))
        except (OSError, *_REFUSALS) as cause:
            raise _unusable(cause) from cause
        markers = sorted(text.special, key=len, reverse=True)
        self._marker = re.compile("(" + "|".join(map(re.escape, markers)) + ")") if markers else re.compile("(?!)")

    def encode(self, messages: Sequence[Message], *, answer: bool = True) -> list[int]:
        """Prompt ids of the conversation, up to where the answer begins (`answer`) or to its last message's end.

        Control tokens come from the template only: a message that spells one stays text.

        Raises:
            ModelError: the template refuses the conversation.
        """
        # Each content travels through the template as a name that no text can hold by accident, and is put back
        # after the template's own control tokens are found.
        secret = secrets.token_hex(8)
        names = {f"\ue000{secret}.{place}\ue001": message.content for place, message in enumerate(messages)}
        given = [{"role": m.role, "content": name} for m, name in zip(messages, names, strict=True)]
        try:
            rendered = self._template.render(messages=given, add_generation_prompt=answer)
        except _REFUSALS as cause:
            raise _unusable(cause) from cause
        return self._ids(rendered, names)

    def _ids(self, rendered: str, contents: dict[str, str]) -> list[int]:
        ids: list[int] = []
        for part in self._marker.split(rendered):
            if part in self._text.special:
                ids.append(self._text.special[part])
            elif part:
                ids += self._text.encode(_put_back(part, contents))
        return ids


def _put_back(part: str, contents: dict[str, str]) -> str:
    return re.sub("\ue000[0-9a-f]+\\.[0-9]+\ue001", lambda name: contents.get(name[0], name[0]), part)


def _source(folder: Path, special: Mapping[str, int]) -> str:
    alone = folder / "chat_template.jinja"
    if alone.exists():
        return alone.read_text(encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    ours = {"<|im_start|>", "<|im_end|>"} <= special.keys()
    if ours and isinstance(settings, dict) and "chat_template" not in settings:
        return CHATML  # Exporters leave the template out; these two tokens belong to no other.
    template = settings["chat_template"]
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}["default"]
    if not isinstance(template, str):
        raise TypeError("chat_template is no text")
    return template


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _unusable(cause: Exception) -> ModelError:
    return ModelError(
        f"The model's chat template cannot be used: {cause}", hint="Choose another model with /model, or fetch it again"
    )
