"""Markdown drawn on a terminal while it streams in."""

from shammah.screen.markdown.writer import ASCII, UNICODE, Glyphs, MarkdownWriter

__all__ = ["ASCII", "UNICODE", "Glyphs", "MarkdownWriter"]
