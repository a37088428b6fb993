"""Markdown on a terminal: what is seen, when it is seen, and that nothing of it is lost."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from shammah.screen.markdown import MarkdownWriter
from shammah.screen.safe_text import safe_text

SGR = re.compile(r"\x1b\[[0-9;]*m")
MARKS = "*_~`[]()<>#-+=|\\!:.\n\n  \t1"
SOURCE = st.lists(
    st.one_of(
        st.sampled_from(MARKS),
        st.sampled_from(
            [
                "**",
                "```",
                "~~~",
                "\n\n",
                "\n- ",
                "\n1. ",
                "\n> ",
                "\n# ",
                "\n| a | b |",
                "\n|---|--:|",
                "\n    ",
                "\n---\n",
            ]
        ),
        st.sampled_from(
            [
                "word",
                "snake_case",
                "日本語。",
                "👩‍👩‍👧",
                "é",
                "https://a.b/c_d",
                "](url)",
                "- [x] ",
                "```py\n",
                "\x1b[31m",
                "\r",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=60,
).map("".join)
WIDTHS = st.integers(1, 120)


def drawn(source: str, width: int = 80, *, color: bool = False, size: int = 0) -> str:
    written: list[str] = []
    writer = MarkdownWriter(written.append, lambda: width, color)
    for at in range(0, len(source), size or len(source) or 1):
        writer.feed(source[at : at + (size or len(source))])
    writer.close()
    return "".join(written)


def seen(source: str, width: int = 80) -> str:
    """What is drawn in colour, without the codes."""
    return SGR.sub("", drawn(source, width, color=True))


def after(piece: str, *pieces: str) -> str:
    """What is on the screen once these pieces have come."""
    written: list[str] = []
    writer = MarkdownWriter(written.append, lambda: 80, True)
    for part in (piece, *pieces):
        writer.feed(part)
    return SGR.sub("", "".join(written))


# What it looks like


@pytest.mark.parametrize(
    "text",
    [
        "snake_case_words and __init__.py's _x",
        "2 * 3 * 4",
        "*",
        "a * alone, and **unclosed",
        "an open `tick and [bracket and ](more",
        "**",
        "~5 minutes, ~ten",
        "a < b and c > d & e",
        "<div class='x'>html</div>",
        "5) not a list? 1.5 neither",
        "#hashtag",
        "| one bar",
        "[text] (apart) [1][2]",
        "C:\\new\\path",
        "...and so on!",
        "1986. A year",
    ],
)
def test_what_is_no_markdown_comes_out_as_typed(text: str) -> None:
    assert seen("It is: " + text) == f"It is: {text}\n"
    assert drawn("It is: " + text) == f"It is: {text}\n"


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("**bold**", "\x1b[1mbold\x1b[0m"),
        ("*italic* _too_", "\x1b[3mitalic\x1b[0m \x1b[3mtoo\x1b[0m"),
        ("***both***", "\x1b[1;3mboth\x1b[0m"),
        ("**a *b* c**", "\x1b[1ma\x1b[0m\x1b[1m \x1b[0m\x1b[1;3mb\x1b[0m\x1b[1m c\x1b[0m"),
        ("`code *x*`", "\x1b[36mcode\x1b[0m\x1b[36m *x*\x1b[0m"),
        ("`` a`b ``", "\x1b[36ma`b\x1b[0m"),
        (r"\*plain\*", "*plain*"),
        ("[text](http://x)", "\x1b[4mtext\x1b[0m \x1b[2m(http://x)\x1b[0m"),
        ("<https://a.b>", "\x1b[4mhttps://a.b\x1b[0m"),
        ("see https://a.b/c_d_e.", "see \x1b[4mhttps://a.b/c_d_e\x1b[0m."),
        ("~~old~~", "\x1b[2m~~old~~\x1b[0m"),
        ("**注意。**これ", "\x1b[1m注\x1b[0m\x1b[1m意。\x1b[0mこれ"),
    ],
)
def test_inline_marks_become_styles(source: str, codes: str) -> None:
    assert drawn(source, color=True) == codes + "\n"


def test_without_colour_the_marks_stay_and_no_code_is_written() -> None:
    source = "## Title\n**bold** `code` *it* [a](b)\n```py\nx = 1\n```\n"
    assert drawn(source) == "## Title\n**bold** `code` *it* a (b)\n─── py\nx = 1\n───\n"


def test_a_heading_is_set_apart() -> None:
    assert seen("text\n# Title ##\nmore") == "text\n\nTitle\nmore\n"


def test_lists_nest_and_keep_their_indentation_when_wrapped() -> None:
    source = "- one two three four\n  - five six seven\n    - deep\n1. first\n   - under it\n- [ ] open\n- [x] done\n"
    assert seen(source, 14).splitlines() == [
        "• one two",
        "  three four",
        "  ◦ five six",
        "    seven",
        "    ▪ deep",
        "1. first",
        "   ◦ under it",
        "☐ open",
        "☑ done",
    ]


def test_quotes_carry_their_bar_on_every_row() -> None:
    assert seen("> one two three four\n>\n> - a\n> > b\n", 12).splitlines() == [
        "│ one two",
        "│ three four",
        "│",
        "│ • a",
        "│ │ b",
    ]


def test_prose_is_never_wider_than_a_hundred_columns() -> None:
    assert max(map(len, seen("word " * 100, 300).splitlines())) <= 100


def test_chinese_is_wrapped_by_columns_and_not_before_a_full_stop() -> None:
    assert seen("中文段落没有。空格", 12) == "中文段落没\n有。空格\n"


def test_an_address_wider_than_the_screen_stays_whole() -> None:
    address = "https://example.org/" + "a" * 60
    assert address in seen(f"- see {address} there", 40)


def test_code_is_never_wrapped_and_keeps_its_spaces() -> None:
    line = "    x = '" + "long " * 40 + "'"
    assert line in seen(f"```python\n{line}\n\n  y\n```\n", 40).splitlines()


def test_code_in_a_list_loses_only_the_indentation_of_the_list() -> None:
    source = "1. do\n   ```sh\n   if x\n     y\nz\n   ```\n2. then"
    assert seen(source).splitlines() == ["1. do", "   ─── sh", "   if x", "     y", "   z", "   ───", "2. then"]


def test_a_fence_of_tildes_may_hold_ticks() -> None:
    assert seen("~~~\n```\n~~~\nafter") == "───\n```\n───\nafter\n"


def test_a_table_is_drawn_in_columns() -> None:
    source = "| Name | Size |\n|:--|--:|\n| a \\| b | 1 |\n| 日本 | 22 |\n\nafter"
    assert seen(source).splitlines() == [
        "Name  │ Size",
        "──────┼─────",
        "a | b │    1",
        "日本  │   22",
        "",
        "after",
    ]


def test_a_table_is_folded_to_fit_and_becomes_records_where_it_cannot() -> None:
    row = "| " + " | ".join(["several words here"] * 4) + " |\n"
    source = row + "|---|---|---|---|\n" + row
    for width in (70, 50, 30):
        assert max(map(len, seen(source, width).splitlines())) <= width
    assert "several words here: several" in seen(source, 30)


def test_a_row_that_no_table_follows_is_text() -> None:
    assert seen("| a | b |\nplain") == "| a | b |\nplain\n"


def test_rows_of_a_table_may_differ_in_length() -> None:
    assert seen("|\n|---|--:|\n| a | b | c |").splitlines()[-1] == "a │ b │ c"


def test_line_breaks_of_the_source_are_kept() -> None:
    assert seen("Line one\nLine two\n\n\n\nNext") == "Line one\nLine two\n\nNext\n"


# When it is seen


def test_a_word_appears_as_soon_as_it_is_complete() -> None:
    assert after("The quick bro") == "The quick"
    assert after("The quick bro", "wn ") == "The quick brown"


def test_only_what_is_undecided_is_held_back() -> None:
    assert after("See **the bold") == "See"
    assert after("See **the bold", "** one ") == "See the bold one"
    assert after("- item no") == "• item"
    assert after("```py\nx = 1\ny") == "─── py\nx = 1\n"
    assert after("## A head") == "A"


def test_an_open_mark_holds_the_text_back_for_a_while_only() -> None:
    assert len(after("**" + "word " * 100)) > 400


# What must never happen


@settings(max_examples=300, deadline=None)
@given(SOURCE, WIDTHS, st.integers(1, 9))
def test_what_is_seen_does_not_depend_on_the_pieces(source: str, width: int, size: int) -> None:
    assert drawn(source, width, size=size) == drawn(source, width)
    assert SGR.sub("", drawn(source, width, color=True, size=size)) == seen(source, width)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "alpha",
                "beta *gamma*",
                "`delta`",
                "**eps",
                "\n\n",
                "\n- ",
                "\n> ",
                "\n1. ",
                "\n| a | b |\n|-|-|\n| c ",
                "\n```\n",
                "[zeta](eta)",
                "# ",
            ]
        )
    ),
    WIDTHS,
)
def test_every_word_of_the_source_is_shown(parts: list[str], width: int) -> None:
    source = " ".join(parts)
    shown = re.sub(r"[^a-z]", "", drawn(source, max(width, 30)))
    words = re.findall(r"[a-z]{3,}", source)
    assert all(shown.count(word) >= words.count(word) for word in words)


@settings(max_examples=200, deadline=None)
@given(SOURCE, WIDTHS)
def test_only_our_own_codes_reach_the_terminal_and_each_line_resets_them(source: str, width: int) -> None:
    for line in drawn(source, width, color=True).split("\n"):
        assert "\x1b" not in SGR.sub("", line)
        assert set(SGR.findall(line)[1::2]) <= {"\x1b[0m"}
        assert len(SGR.findall(line)) % 2 == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["word", "日本語", "👩‍👩‍👧", "a**b**", "x" * 50, " ", " ", "\n", "- ", "> "])),
    st.integers(44, 120),
)
def test_no_row_of_prose_is_wider_than_the_screen(parts: list[str], width: int) -> None:
    # More than one space could begin indented code, which is never wrapped.
    for line in seen(re.sub(" +", " ", "".join(parts)), width).splitlines():
        assert wcswidth(line) <= min(width, 100)


@settings(max_examples=200, deadline=None)
@given(SOURCE)
def test_it_may_break_off_anywhere_and_ends_the_line(source: str) -> None:
    shown = drawn(source)
    assert shown == "" or shown.endswith("\n")
    assert len(safe_text(source).strip()) == 0 or shown


def test_half_a_megabyte_takes_time_in_proportion() -> None:
    def seconds(source: str) -> float:
        started = time.process_time()
        drawn(source, size=4)
        return time.process_time() - started

    for unit in ("some plain words of prose\n", "**open *marks [and `ticks ", "x", "|a", "```\ncode\n"):
        small, large = seconds(unit * (20_000 // len(unit))), seconds(unit * (160_000 // len(unit)))
        assert large < 30 * small + 0.5, unit


# Colours of code


PYTHON = '''\
def greet(name: str = "you") -> str:
    """Say hello,
    politely."""
    return f"hello {name}"  # done
'''
C = '/* a comment\n   over lines */ int main(void) { return 0; }\nchar *s = "/* none";\n'


@pytest.mark.parametrize(
    ("language", "code", "dim"),
    [
        ("python", PYTHON, ["# done"]),
        ("c", C, ["/* a comment", "   over lines */"]),
        ("js", C, ["/* a comment", "   over lines */"]),
    ],
)
def test_comments_are_dim_also_over_lines(language: str, code: str, dim: list[str]) -> None:
    colored = drawn(f"```{language}\n{code}```", color=True)
    assert re.findall(r"\x1b\[2;3m(.*?)\x1b\[0m", colored) == dim


def test_a_string_over_lines_keeps_its_colour() -> None:
    assert '\x1b[32m    politely."""\x1b[0m' in drawn(f"```python\n{PYTHON}```", color=True)


@pytest.mark.parametrize(
    "language", ["yaml", "html", "console", "pycon", "php", "jinja", "diff", "nonsense", "c++", "{.python}", "json"]
)
def test_code_of_any_language_is_shown_unchanged(language: str) -> None:
    code = "a: &x [1, 'two']\n<p>{{ x }}</p> <!-- c -->\n$ ls -l\n>>> print('x')\n  /* open\n+ added\n- gone\n"
    assert seen(f"```{language}\n{code}```") == f"─── {language}\n{code}───\n"
