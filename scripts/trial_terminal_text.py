#!/usr/bin/env python3
"""Promise 16: no text from outside can control the terminal.

Sends 60 hostile payloads, split at every byte, and 10,000 made-up strings through every way to the screen, and counts
the characters that no terminal may be given. Prints one line; exit status 1 where one came through.
"""

from __future__ import annotations

import argparse
import codecs
import io
import random
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.promise import Reached, tell
from shammah.errors import ShammahError
from shammah.screen.printer import Printer, error_lines, markdown_printer, notice, plain_printer

MADE_UP = 10_000
SEED = 16

PAYLOADS = (
    # Titles, colours, links, the clipboard, notices, files: OSC with both of its ends and with none.
    "\x1b]0;title\x07", "\x1b]0;title\x1b\\", "\x1b]2;title\x9c", "\x9d0;title\x9c", "\x1b]0;no end",
    "\x1b]4;1;#ff0000\x07", "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x1b]9;notice\x07",
    "\x1b]10;?\x07", "\x1b]52;c;cm0gLXJmIH4=\x07", "\x1b]52;p;?\x1b\\", "\x9d52;c;cm0=\x07", "\x1b]777;notify;a;b\x07",
    "\x1b]1337;File=inline=1:AAAA\x07", "\x1b]50;font\x07",
    # The cursor, the screen, modes, reports, scrolling: CSI.
    "\x1b[2J\x1b[H", "\x1b[31mred", "\x1b[0m", "\x1b[1A\x1b[2K", "\x1b[6n", "\x1b[c", "\x1b[>c", "\x1b[?1049h",
    "\x1b[?25l", "\x1b[?1000h", "\x1b[?2004h\x1b[201~", "\x1b[21t", "\x1b[8;1;1t", "\x1b[20t", "\x1b[4i", "\x1b[!p",
    "\x1b[999999999C", "\x1b[1;2r", "\x9b2J", "\x9b6n", "\x9b?1049h",
    # Other strings and single sequences.
    "\x1bP$q\"p\x1b\\", "\x1bP+q544e\x1b\\", "\x90q#0;2;0;0;0\x9c", "\x1b_Gi=1;AAAA\x1b\\", "\x9f;x\x9c",
    "\x1b^private\x1b\\", "\x1bXstart\x1b\\", "\x1bc", "\x1b7\x1b8", "\x1b(0lqk\x1b(B", "\x1b#8", "\x1b\x1b[2J", "\x1b",
    # Single controls.
    "bell\x07\x07", "secret\x08\x08\x08\x08\x08\x08public", "good\rbad", "\x0e\x0f\x05\x00\x7f", "\x0b\x0c\x85\x84\x8d",
    # What is not a control and still deceives.
    "abc\u202egnp.exe\u202c", "\u2066a\u2067b\u2068c\u2069\u200e\u200f\u061c",
    "tag\U000e0001\U000e0068\U000e0069\U000e007f",
    "\ufeff\u200b\u2060\u2028\u2029\ufff9\xad", "z" + "\u0301" * 60 + "\u0489" * 60,
    "\ue000\ufdd0\ufffe\U0010ffff\U000f0000",
)  # fmt: skip

MARKDOWN = (
    "**",
    "`",
    "\n```sh\n",
    "\n| a | b |\n|---|---|\n| ",
    "\n- ",
    "\n> ",
    "# ",
    "[",
    "](",
    ")",
    "\n\n",
    " | ",
    "<",
    ">",
)
# The program's own codes, exactly as it makes them: a style, a text on one line, the reset. A code without its partner
# is somebody else's.
OWN_CODES = re.compile(r"\x1b\[(?:[1-4]|3[1256])(?:;(?:[1-4]|3[1256]))*m([^\x1b\n]*)\x1b\[0m")
ALLOWED_FORMATS = frozenset("\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd") | {
    chr(code) for code in range(0x600, 0x606)
}

Way = Callable[[Sequence[str]], str]


def ways() -> dict[str, Way]:
    """Every way that text takes to the screen."""
    return {
        "plain": lambda pieces: printed(plain_printer, pieces),
        "markdown": lambda pieces: printed(lambda out: markdown_printer(out, color=False), pieces),
        "markdown in colour": lambda pieces: without_codes(
            printed(lambda out: markdown_printer(out, color=True), pieces)
        ),
        "error": lambda pieces: error_lines(ShammahError("".join(pieces), hint="".join(pieces))),
        "notice": lambda pieces: notice("".join(pieces), color=False),
        "notice in colour": lambda pieces: without_codes(notice("".join(pieces), color=True)),
    }


def printed(printer: Callable[[io.StringIO], Printer], pieces: Sequence[str]) -> str:
    """What a printer writes for these pieces."""
    out = io.StringIO()
    answer = printer(out)
    for piece in pieces:
        answer.write(piece)
    answer.end()
    return out.getvalue()


def without_codes(text: str) -> str:
    """The text without the codes that are the program's own; anything else of the kind is left in, to be found."""
    return OWN_CODES.sub(r"\1", text)


def forbidden(text: str) -> str:
    """The characters of `text` that no terminal may be given, told by Unicode's categories alone."""
    return "".join(char for char in text if char not in "\n\t" and char not in ALLOWED_FORMATS and is_forbidden(char))


def is_forbidden(char: str) -> bool:
    """Whether a character is a control, a format, a surrogate, private, a line separator, a filler or no character."""
    code = ord(char)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or 0xE0000 <= code <= 0xE0FFF:
        return True
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def splits(payload: str) -> Iterator[list[str]]:
    """The payload whole, byte by byte, and in two pieces cut at every byte, as a decoder hands them on."""
    raw = payload.encode()
    yield [payload]
    yield decoded([raw[at : at + 1] for at in range(len(raw))])
    for at in range(1, len(raw)):
        yield decoded([raw[:at], raw[at:]])


def decoded(parts: Sequence[bytes]) -> list[str]:
    """The text of the parts, never half a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(part) for part in parts] + [decoder.decode(b"", final=True)]


def made_up(chance: random.Random) -> list[str]:
    """A string of payloads, Markdown, words and any characters at all, in pieces cut anywhere."""
    parts = [
        chance.choice((chance.choice(PAYLOADS), chance.choice(MARKDOWN), "words ", any_characters(chance)))
        for _ in range(chance.randint(1, 12))
    ]
    text = "".join(parts)
    cuts = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(0, 8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def any_characters(chance: random.Random) -> str:
    """A few characters, half of them from the ranges where trouble is."""
    ranges = ((0, 0xA0), (0x2000, 0x2070), (0xFE00, 0x10000), (0xD800, 0xE010), (0xE0000, 0xE0200), (0, 0x110000))
    return "".join(chr(chance.randrange(*chance.choice(ranges))) for _ in range(chance.randint(1, 8)))


def main() -> int:
    """Run the trial; the exit status says whether it held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made-up", type=int, default=MADE_UP, help="made-up strings (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    started = time.monotonic()
    chance = random.Random(SEED)
    sent = [split for payload in PAYLOADS for split in splits(payload)]
    sent += [made_up(chance) for _ in range(given.made_up)]
    found = {name: sum(len(forbidden(way(pieces))) for pieces in sent) for name, way in ways().items()}
    total = sum(found.values())
    figure = (
        f"{total} forbidden characters in {len(sent):,} strings on {len(found)} ways ({len(PAYLOADS)} payloads"
        f" split at every byte, {given.made_up:,} made up), {time.monotonic() - started:.1f} s"
    )
    for name, count in found.items():
        if count:
            print(f"{name}: {count}", file=sys.stderr)
    aim = "0 forbidden characters in 60 payloads and 10,000 made-up strings"
    return tell([Reached(16, figure, aim, not total)], given.json)


if __name__ == "__main__":
    sys.exit(main())
