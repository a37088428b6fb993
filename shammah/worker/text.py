"""Token ids and text: a text never acts as a control token, and half a character is never shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import DecodeStream

from shammah.characters import whole_characters
from shammah.errors import ModelError

_CONTROL = re.compile(r"<\|\w+\|>")


class Text:
    """The model's tokenizer."""

    def __init__(self, folder: Path) -> None:
        """Read tokenizer.json.

        Raises:
            ModelError: the file is missing or broken.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as cause:  # The library raises the bare class.
            raise ModelError(
                f"The model's tokenizer.json cannot be used: {cause}", hint="Choose another model with /model"
            ) from cause
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # What a user writes is text even where it spells a control token; controls go in by id only.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        # Qwen2.5 declares some of its controls (<|fim_prefix|>, <|repo_name|>, ...) as ordinary added tokens.
        added = tokenizer.get_added_tokens_decoder()
        controls = [token.content for token in added.values() if _CONTROL.fullmatch(token.content)]
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in controls])
        added = tokenizer.get_added_tokens_decoder()
        self.special = {token.content: id for id, token in added.items() if token.special}

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; control tokens that it spells become ordinary tokens."""
        return list(self._tokenizer.encode(whole_characters(text), add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of all ids at once, control tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def stream(self) -> TextStream:
        """A decoder for ids that come one by one."""
        return TextStream(self._tokenizer)


class TextStream:
    """Decodes ids one by one; all pieces together equal `Text.decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._written = 0

    def add(self, id: int) -> str:
        """The text that this id completes; empty while a character is still in parts."""
        self._ids.append(id)
        piece = self._stream.step(self._tokenizer, id) or ""
        self._written += len(piece)
        return piece

    def rest(self) -> str:
        """What is left at the end of the answer: the replacement for a character that never became whole."""
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))[self._written :]
