"""Colours for the lines of a code block, one line at a time.

Each line is read once: the lexer's stack of states is kept from line to line, so a long block costs no more per line
than a short one. A comment that spans lines is known from the moment it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shammah.screen.markdown.style import BOLD, CYAN, DIM, GREEN, ITALIC, MAGENTA, PLAIN, RED, Paint

LONGEST_LINE = 1000
"""Characters; a longer line is data rather than code, and stays plain."""
MOST_CODE = 200_000
"""Characters of one block that are coloured; the rest stays plain."""

_COMMENTS = {"/*": "*/", "<!--": "-->"}
_STYLES = {
    "Token.Comment.Preproc": MAGENTA,
    "Token.Comment": DIM | ITALIC,
    "Token.Keyword.Constant": CYAN,
    "Token.Keyword": MAGENTA,
    "Token.Operator.Word": MAGENTA,
    "Token.Literal.String": GREEN,
    "Token.Literal.Number": CYAN,
    "Token.Name.Function": BOLD,
    "Token.Name.Class": BOLD,
    "Token.Name.Tag": MAGENTA,
    "Token.Name.Decorator": CYAN,
    "Token.Name.Builtin": CYAN,
    "Token.Generic.Inserted": GREEN,
    "Token.Generic.Deleted": RED,
    "Token.Generic.Heading": BOLD,
    "Token.Generic.Subheading": BOLD,
    "Token.Generic.Prompt": DIM,
}

Part = tuple[Any, str]
"""A pygments token type and its text."""


class Plain:
    """Shows code as it is."""

    def line(self, text: str) -> str:
        """Return the line, ready to show."""
        return text


class Highlighter:
    """Shows code in the colours of one language."""

    def __init__(self, lexer: Any, paint: Paint, *, keeps_states: bool) -> None:
        self._lexer = lexer
        self._keeps_states = keeps_states
        self._paint = paint
        self._stack = ["root"]
        self._closing = ""
        self._left = MOST_CODE
        self._styles: dict[Any, int] = {}

    def line(self, text: str) -> str:
        """Return the line, ready to show."""
        self._left -= len(text)
        if len(text) > LONGEST_LINE or self._left < 0:
            return text
        return "".join([self._paint(part, style) for part, style in self._merged(self._parts(text))])

    def _parts(self, text: str) -> Iterator[tuple[str, int]]:
        if self._closing:
            end = text.find(self._closing)
            inside = len(text) if end < 0 else end + len(self._closing)
            yield text[:inside], _STYLES["Token.Comment"]
            if end < 0:
                return
            self._closing = ""
            text = text[inside:]
        for kind, part in self._code(text):
            yield part, self._style(kind)

    def _code(self, text: str) -> list[Part]:
        for opening, closing in _COMMENTS.items():
            at = text.rfind(opening)
            if at >= 0 and text.find(closing, at + len(opening)) < 0:
                # Whether this opens a comment or stands in a string shows when the comment is closed at once.
                stack = list(self._stack)
                parts = list(self._lexed(text + closing))
                if parts and str(parts[-1][0]).startswith("Token.Comment") and parts[-1][1].startswith(opening):
                    self._closing = closing
                    return [*parts[:-1], (parts[-1][0], parts[-1][1].removesuffix(closing))]
                self._stack = stack
        return list(self._lexed(text + "\n"))

    def _lexed(self, text: str) -> Iterator[Part]:
        if self._keeps_states:
            return self._stepped(text)
        return ((kind, part) for _, kind, part in self._lexer.get_tokens_unprocessed(text))

    def _stepped(self, text: str) -> Iterator[Part]:
        """Do what `RegexLexer.get_tokens_unprocessed` does, which forgets its stack at the end of the text."""
        from pygments.token import Error, Text  # type: ignore[import-untyped]

        at = 0
        while at < len(text):
            for match_at, action, move in self._lexer._tokens[self._stack[-1]]:
                found = match_at(text, at)
                if not found:
                    continue
                if isinstance(action, tuple):
                    yield action, found.group()
                elif action is not None:
                    for _, kind, part in action(self._lexer, found):
                        yield kind, part
                at = found.end()
                self._move(move)
                break
            else:
                if text[at] == "\n":
                    self._stack = ["root"]
                yield (Text if text[at] == "\n" else Error), text[at]
                at += 1

    def _move(self, move: Any) -> None:
        """Follow a rule to its next state: names to push, "#pop", "#push", or a number of states to leave."""
        moves = move if isinstance(move, tuple) else () if move is None else (move,)
        for step in moves:
            if step == "#pop":
                del self._stack[max(len(self._stack) - 1, 1) :]
            elif step == "#push":
                self._stack.append(self._stack[-1])
            elif isinstance(step, int):
                del self._stack[max(len(self._stack) + step, 1) :]
            else:
                self._stack.append(step)

    def _style(self, kind: Any) -> int:
        if kind not in self._styles:
            names = str(kind).split(".")
            known = (".".join(names[:length]) for length in range(len(names), 0, -1))
            self._styles[kind] = next((_STYLES[name] for name in known if name in _STYLES), PLAIN)
        return self._styles[kind]

    def _merged(self, parts: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        text, style = "", PLAIN
        for part, next_style in parts:
            part = part.replace("\n", "")
            if next_style != style and part:
                if text:
                    yield text, style
                text, style = "", next_style
            text += part
        if text:
            yield text, style


def highlighter(language: str, paint: Paint, *, color: bool) -> Plain | Highlighter:
    """Return what shows the lines of a block in `language`; an unknown language is shown plain."""
    if not (language and color):
        return Plain()
    # Here and not above: pygments takes a tenth of a second, and most answers hold no code.
    from pygments.lexer import ExtendedRegexLexer, RegexLexer  # type: ignore[import-untyped]
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return Plain()
    # Sessions, templates and the like put lexers together in their own ways; each of their lines is read by itself.
    plain_rules = isinstance(lexer, RegexLexer) and not isinstance(lexer, ExtendedRegexLexer)
    return Highlighter(lexer, paint, keeps_states=plain_rules)
