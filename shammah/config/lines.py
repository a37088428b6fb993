"""On which line of a TOML text each key stands; the parser tells what a file says, but not where."""

from __future__ import annotations

import re
from dataclasses import dataclass

import tomli

KeyPath = tuple[str, ...]

DEEPEST = 3
"""Names: no setting lies deeper than two, and the third tells a table in a setting's place."""

TOKEN = re.compile(
    r'''
    (?P<newline> \n)
  | (?P<blank>   [ \t\r]+ | \#[^\n]* )
  | (?P<quoted>  """(?:\\.|[^\\])*?""""{0,2} | \'\'\'.*?\'\'\'\'{0,2} | "(?:\\.|[^"\\])*" | '[^']*' )
  | (?P<mark>    [\[\]{}=,.] )
  | (?P<bare>    [^\s\[\]{}=,."'\#]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """One piece of the text; `kind` is a group of TOKEN, or "end"."""

    kind: str
    text: str
    line: int


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key and each table is first named, in a text that is valid TOML."""
    return _Scanner(_tokens(text)).scan()


def _tokens(text: str) -> list[Token]:
    tokens = []
    line = 1
    for match in TOKEN.finditer(text):
        if match.lastgroup != "blank":
            tokens.append(Token(match.lastgroup or "", match[0], line))
        line += match[0].count("\n")
    return [*tokens, Token("end", "", line)]


class _Scanner:
    """Walks over the tokens once; trusts that a parser has accepted the text."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._lines: dict[KeyPath, int] = {}

    @property
    def _here(self) -> Token:
        return self._tokens[self._at]

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._here.kind != "end":
            if self._here.kind == "newline":
                self._at += 1
            elif self._here.text == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        while self._here.text == "[":
            self._at += 1
        table = self._key(())
        while self._here.text == "]":
            self._at += 1
        return table

    def _pair(self, prefix: KeyPath) -> None:
        path = self._key(prefix)
        self._at += 1  # the equals sign
        if self._here.text == "{" and len(path) < DEEPEST:
            self._inline_table(path)
        else:
            self._skip_value()

    def _key(self, prefix: KeyPath) -> KeyPath:
        """Read a dotted key, and note the line of each of its parts."""
        path = prefix
        while self._here.kind in ("bare", "quoted") or self._here.text == ".":
            if self._here.text != ".":
                path = (*path, _name(self._here))
                if len(path) <= DEEPEST:
                    self._lines.setdefault(path, self._here.line)
            self._at += 1
        return path

    def _inline_table(self, prefix: KeyPath) -> None:
        self._at += 1
        while self._here.text not in ("}", ""):
            if self._here.kind in ("bare", "quoted"):
                self._pair(prefix)
            else:
                self._at += 1  # a comma or a new line
        self._at += 1

    def _skip_value(self) -> None:
        """Go to what follows the value: a new line, a comma or the bracket that closes what it stands in."""
        depth = 0
        while self._here.kind != "end":
            if depth == 0 and (self._here.kind == "newline" or self._here.text in (",", "}", "]")):
                return
            if self._here.kind == "mark":
                depth += (self._here.text in "[{") - (self._here.text in "]}")
            self._at += 1


def _name(token: Token) -> str:
    return str(tomli.loads(f"name = {token.text}")["name"]) if token.kind == "quoted" else token.text
