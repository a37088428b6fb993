"""Text that others wrote, from its bytes: in UTF-8 or UTF-16, or else in the system's own encoding."""

from __future__ import annotations

import codecs
import locale
import re

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""What a text may begin with, and what it is in then; PowerShell before 6 writes UTF-16."""

_CONTROL = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""All that texts and logs of terminals have no use for."""


def text_of(data: bytes, *, own: str = "", errors: str = "strict") -> str:
    """The text in these bytes, without a mark at its start, each end of a line as a newline.

    Args:
        data: All of it.
        own: The encoding of a text that is neither marked nor UTF-8; the system's where none is given.
        errors: What becomes of bytes that are no text at all, as in `bytes.decode`.
    """
    marked = (name for mark, name in _MARKS.items() if data.startswith(mark))
    text = data.decode(next(marked, "") or _unmarked(data, own or locale.getencoding()), errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unmarked(data: bytes, own: str) -> str:
    # A code page takes nearly any bytes; control bytes tell what is no text.
    return own if not _fits(data, "utf-8") and not _CONTROL.search(data) and _fits(data, own) else "utf-8"


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
