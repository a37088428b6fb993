"""Text without halves of characters."""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """The text as UTF-8 can hold it: halves of surrogate pairs are joined, a half alone becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
