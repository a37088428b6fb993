"""The settings: declared once, read with the reason for every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shammah.config import (
    Config,
    Setting,
    Value,
    example,
    find,
    load,
    parse_value,
    set_value,
    settings,
    toml_text,
    value_of,
    with_value,
)
from shammah.config.lines import key_lines
from shammah.config.source import LIMIT
from shammah.errors import ConfigError

ROOT = Path(__file__).parents[1]

CONTRACT: dict[str, Value | None] = {
    "local.enabled": True,
    "local.size": "auto",
    "local.variant": "instruct",
    "local.keep_download": False,
    "local.repo": "",
    "local.file": "",
    "local.backend": "auto",
    "local.threads": 0,
    "local.context": 4096,
    "generation.max_tokens": 1024,
    "generation.temperature": None,
    "generation.top_k": None,
    "generation.top_p": None,
    "generation.repetition_penalty": None,
    "generation.seed": None,
    "routing.mode": "auto",
    "routing.reserve_ram_gb": 1.0,
    "cloud.max_tokens": 4096,
    "cloud.daily_budget_usd": 5.0,
    "chat.system": "",
    "chat.markdown": True,
}

KEYS = [setting.key for setting in settings()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def error_of(path: Path, text: str | bytes) -> ConfigError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value


@pytest.mark.parametrize(("key", "default"), CONTRACT.items())
def test_every_setting_of_the_contract_has_its_default(key: str, default: Value | None) -> None:
    assert find(key).default == default
    assert value_of(Config(), key) == default


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.key)
def test_every_number_has_limits_and_every_setting_a_meaning_and_a_value_to_show(setting: Setting) -> None:
    assert setting.meaning.endswith(".")
    assert setting.default is not None or setting.sample is not None
    assert (setting.kind in (int, float)) == (setting.minimum is not None and setting.maximum is not None)


def test_typed_access_gives_the_values_of_the_file(path: Path) -> None:
    path.write_text('[local]\nsize = "0.5b"\n[generation]\ntemperature = 1\n', encoding="utf-8")
    config = load(path)
    assert config.local.size == "0.5b"
    assert config.generation.temperature == 1.0
    assert type(config.generation.temperature) is float
    assert config.cloud == Config().cloud


def test_that_a_length_was_chosen_is_known_also_where_it_is_the_default(path: Path) -> None:
    path.write_text("[generation]\nmax_tokens = 1024\n", encoding="utf-8")
    chosen = load(path)
    assert (chosen.generation.max_tokens, value_of(chosen, "generation.max_tokens")) == (1024, 1024)
    unset = with_value(chosen, "generation.max_tokens", None)
    assert (unset.generation.max_tokens, value_of(unset, "generation.max_tokens")) == (None, 1024)


def test_a_missing_file_and_an_empty_one_give_the_defaults(path: Path) -> None:
    assert load(path) == Config()
    path.touch()
    assert load(path) == Config()


def test_the_example_file_is_written_from_the_declaration() -> None:
    assert (ROOT / "config.example.toml").read_text(encoding="utf-8") == example()


def test_loading_the_example_gives_the_defaults_and_it_names_every_setting(path: Path) -> None:
    path.write_text(example(), encoding="utf-8")
    assert load(path) == Config()
    named = key_lines(re.sub(r"^# (\w+ = )", r"\1", example(), flags=re.MULTILINE))
    assert {".".join(key) for key in named if len(key) == 2} == set(KEYS)
    assert max(map(len, example().splitlines())) <= 100


def test_what_the_example_shows_for_unset_values_is_allowed(path: Path) -> None:
    path.write_text(re.sub(r"^# (\w+ = )", r"\1", example(), flags=re.MULTILINE), encoding="utf-8")
    assert load(path).generation.temperature == 0.7


def test_a_byte_order_mark_and_windows_line_ends_are_fine(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf[local]\r\nsize = "7b"\r\n')
    assert load(path).local.size == "7b"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '# x\n\n[local]\nsise = "7b"',
            "There is no setting local.sise (config.toml line 4)",
            "Did you mean local.size?",
        ),
        ("local.sise = 1", "There is no setting local.sise (config.toml line 1)", "Did you mean local.size?"),
        ("\nlocal = { sise = 1 }", "There is no setting local.sise (config.toml line 2)", "Did you mean local.size?"),
        ("size = 1", "There is no setting size (config.toml line 1)", "Did you mean local.size?"),
        ("[chat]\nmode = 1", "There is no setting chat.mode (config.toml line 2)", "Did you mean routing.mode?"),
        ("generation.temp = 1", "There is no setting generation.temp", "Did you mean generation.temperature?"),
        ("generation.top-k = 1", "There is no setting generation.top-k", "Did you mean generation.top_k?"),
        ('"a\\nb" = 1', 'There is no setting "a\\nb" (config.toml line 1)', "config show"),
        ("[locl]\nsize = 1", "There is no section locl (config.toml line 1)", "Did you mean [local]?"),
        ("[garden]", "There is no section garden (config.toml line 1)", "The sections are local, generation"),
        ("\nlocal = 5", "local must be a section, not 5 (config.toml line 2)", "Write [local]"),
        ("[[local]]", "local must be a section, not a list (config.toml line 1)", "Write [local]"),
        ("[local.size]\nx = 1", "local.size must be text in quotes, not a section (config.toml line 1)", "For example"),
        (
            '[chat]\nsystem = """\nlocal.context = "no"\n"""\n\n[local]\ncontext = "big"',
            'local.context must be a whole number, not "big" (config.toml line 7)',
            "For example: local.context = 4096",
        ),
        ("local.threads = true", "local.threads must be a whole number, not true", "For example: local.threads = 0"),
        ("local.threads = 4.0", "local.threads must be a whole number, not 4.0", "For example"),
        ("local.enabled = 1", "local.enabled must be true or false, not 1", "For example: local.enabled = true"),
        ("local.size = 7", "local.size must be text in quotes, not 7", "For example"),
        ('local.size = "7"', 'local.size must be one of "auto", "starter"', 'Did you mean "7b"?'),
        ('routing.mode = "zzz"', 'routing.mode must be one of "auto"', 'The default is "auto"'),
        ("local.threads = -1", "local.threads must be from 0 to 1024, not -1 (config.toml line 1)", "For example"),
        ("generation.temperature = nan", "generation.temperature must be from 0 to 2, not nan", "For example"),
        ("generation.temperature = inf", "generation.temperature must be from 0 to 2, not inf", "For example"),
        (f"routing.reserve_ram_gb = 1{'0' * 400}", "routing.reserve_ram_gb must be from 0 to 4096", "For example"),
        (
            f"local.threads = 0x{'f' * 5000}",
            "local.threads must be from 0 to 1024, not so large a number",
            "For example",
        ),
        ("chat.system = 2024-01-01", "chat.system must be text in quotes, not a date or time", "For example"),
        ("\nlocal.size = 7b", "(config.toml line 2, column ", "left as it is"),
        ("routing.mode = local", "Invalid value (config.toml line 1, column 16)", "Text stands in quotes"),
        ("local.enabled = True\n", "Invalid value (config.toml line 1, column 17)", "in small letters"),
        ('local.size = "7b"\nlocal.size = "3b"', "Cannot overwrite a value (config.toml line 2", "Mend that line"),
        (f"a = 1\nb = {'9' * 5000}\nc = 2", "(config.toml line 2)", "Mend or remove"),
        (f"a = 1\n\nb = {'[' * 5000}{']' * 5000}", "(config.toml line 3)", "Mend or remove"),
        (b"[local]\n# caf\xe9\n", "config.toml is not UTF-8 (config.toml line 2)", "Save it as UTF-8"),
        (b"\xff\xfe[\x00", "config.toml is not UTF-8 (config.toml line 1)", "Save it as UTF-8"),
    ],
)
def test_a_mistake_is_told_with_its_key_its_line_and_the_next_step(
    path: Path, text: str | bytes, message: str, hint: str
) -> None:
    error = error_of(path, text)
    assert message in str(error)
    assert hint in error.hint
    assert "\n" not in f"{error}{error.hint}"


def test_a_folder_in_the_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        load(path)


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "home" / "config.toml")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_named_pipe_in_the_place_of_the_file_does_not_wait_for_a_writer(path: Path) -> None:
    import os

    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no plain file"):
        load(path)


def test_a_file_over_the_limit_is_refused(path: Path) -> None:
    assert "larger than 1 MB" in str(error_of(path, b"#" * (LIMIT + 1)))


NASTY_VALUES = [
    "1",
    "-1.5e3",
    "true",
    "2024-01-01T10:00:00Z",
    '"a # b = \\" [x]"',
    "'it = \"x'",
    '"""\nfake = 1\n[fake]\n""" # end',
    '""""quoted"""""',
    "'''\nfake.key = {\n'''",
    "[1, [2, 3], {a = 1}, ']']",
    "[ # comment ]\n  1,\n  2\n]",
    "{ x = 1, y.z = [1, 2] }",
]


@effort(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "# note = 1", "   "]), st.sampled_from(NASTY_VALUES)), max_size=12))
def test_each_key_is_found_on_the_line_where_it_stands(entries: list[tuple[str, str]]) -> None:
    lines: list[str] = []
    expected = {}
    for number, (gap, value) in enumerate(entries):
        lines.append(gap)
        header, written, key = [
            ("", f'a."b c".k{number}', ("a", "b c", f"k{number}")),
            ("", f"b . c{number}", ("b", f"c{number}")),
            ("", f"d{number} = {{ e", (f"d{number}", "e")),
        ][number % 3]
        expected[key] = len(lines) + 1
        lines += f"{header}{written} = {value}{' }' if '{ e' in written else ''}".split("\n")
    lines.append("[table]\nlast = 1")
    text = "\n".join(lines)
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:  # a comment swallows the closing brace
        return
    found = key_lines(text)
    assert {key: found[key] for key in expected} == expected
    assert found["table", "last"] == text.count("\n") + 1


PIECES = [
    "[local]",
    "[",
    "]",
    "size",
    "=",
    '"',
    "'''",
    '"""',
    "\n",
    "\r\n",
    ".",
    "{",
    "}",
    ",",
    "#",
    "1",
    "nan",
    "é",
    "\x00",
    "\\",
]

broken_texts = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([*PIECES, *KEYS]), max_size=40).map(lambda pieces: "".join(pieces).encode()),
    st.tuples(st.integers(0, 4000), st.integers(0, 20), st.binary(max_size=4)).map(
        lambda cut: example().encode()[: cut[0]] + cut[2] + example().encode()[cut[0] + cut[1] :]
    ),
)


@effort(deadline=None)
@given(broken=broken_texts)
def test_a_broken_file_is_only_ever_told_with_a_line_and_never_overwritten(
    tmp_path_factory: pytest.TempPathFactory, broken: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.toml"
    path.write_bytes(broken)
    try:
        load(path)
    except ConfigError as error:
        assert re.search(r"line \d+", str(error))
        assert "\n" not in f"{error}{error.hint}"
    try:
        set_value(path, "local.threads", "3")
    except ConfigError:
        assert path.read_bytes() == broken
    else:
        assert tomli.loads(path.read_bytes().decode("utf-8-sig"))["local"]["threads"] == 3


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("local.enabled", "off", False),
        ("local.enabled", " YES ", True),
        ("local.threads", "4", 4),
        ("generation.temperature", "0", 0.0),
        ("generation.temperature", "unset", None),
        ("local.size", "Default", None),
        ("local.size", "7B", "7b"),
        ("local.size", '"7b"', "7b"),
        ("local.repo", "C:\\models\\qwen", "C:\\models\\qwen"),
        ("local.repo", '"C:\\temp\\new model"', "C:\\temp\\new model"),
        ("local.file", "'onnx\\model.onnx'", "onnx\\model.onnx"),
        ("chat.system", "Answer in verse, please.", "Answer in verse, please."),
        ("chat.system", '"default"', "default"),
        ("chat.system", '"two\\nlines"', "two\nlines"),
        ("chat.system", "'it\\n'", "it\\n"),
        ("chat.system", '"no" means "no"', '"no" means "no"'),
        ("chat.system", '""', ""),
        ("chat.system", '"', '"'),
    ],
)
def test_a_typed_value_needs_no_quotes(key: str, text: str, value: Value | None) -> None:
    assert parse_value(key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("local.sise", "7b", "There is no setting local.sise"),
        ("", "7b", "There is no setting"),
        ("local.enabled", "maybe", 'local.enabled must be true or false, not "maybe"'),
        ("local.threads", "4.5", 'local.threads must be a whole number, not "4.5"'),
        ("local.threads", "9" * 5000, "local.threads must be a whole number"),
        ("local.threads", "", 'local.threads must be a whole number, not ""'),
        ("generation.temperature", "nan", "generation.temperature must be from 0 to 2, not nan"),
        ("generation.temperature", "0,7", 'generation.temperature must be a number, not "0,7"'),
        ("chat.system", "\udcff", "chat.system must be UTF-8 text"),
    ],
)
def test_a_wrong_typed_value_is_told(key: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_value(key, text)


def test_a_config_with_one_value_changed_leaves_the_first_as_it_was() -> None:
    first = Config()
    second = with_value(first, "local.threads", 3)
    assert (first.local.threads, second.local.threads) == (0, 3)
    assert with_value(second, "local.threads", None) == first


def test_a_wrong_value_does_not_enter_a_config() -> None:
    with pytest.raises(ConfigError, match="must be from 0 to 1024"):
        with_value(Config(), "local.threads", -3)


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()))
def test_a_value_as_toml_writes_it_is_read_back_as_it_was(value: Value) -> None:
    assert tomli.loads(f"x = {toml_text(value)}") == {"x": value}


def test_reading_settings_loads_no_editor_of_toml() -> None:
    code = (
        "import sys, shammah.settings, shammah.environment; print('tomlkit' in sys.modules, 'difflib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
