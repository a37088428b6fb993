"""The line between what is rewritten and what runs as it was downloaded."""

from __future__ import annotations


class NotUnderstood(Exception):  # noqa: N818 - not an error: the download runs as it is
    """The export holds something that the rewriting does not know; the message is a sentence that names it."""
