"""README.md tells the truth: its tables are the program's, its commands work, what it names exists.

Commands that answer a question are run as they stand, in a folder and a home of their own; those that open the chat are
parsed; those that install are checked against pyproject.toml; the scripts of the project run on a stand-in for Python.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.bindings.open_in_editor import load_open_in_editor_bindings
from prompt_toolkit.key_binding.defaults import load_key_bindings
from prompt_toolkit.keys import KEY_ALIASES

from scripts import environment
from shammah.commandline import parse, parser
from shammah.config import settings
from shammah.screen.commands import COMMANDS
from shammah.screen.keys import key_bindings
from shammah.subcommands import subcommands

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, "docs/development.md": (ROOT / "docs" / "development.md").read_text(encoding="utf-8")}

INSTALL = ("pipx install .", "uv tool install .", "python3 -m pip install .")
JSON_KEYS = {"answer", "finish", "route", "usage", "timing", "sent_bytes", "cost_usd", "conversation"}
CHECKED_BY_NAME = ("python3 scripts/check",)
"""Run the tests themselves; that the script exists is all that a test of them can say."""


def _load_script(name: str) -> ModuleType:
    loader = SourceFileLoader(f"script_{name}", str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


script: Any = _load_script("readme")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str = README) -> list[str]:
    """The shell commands of a page, a line each."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]


def spans(text: str) -> list[str]:
    """What a page sets in backticks within its lines."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


# What the program writes into it


@pytest.mark.parametrize("name", ["command line", "commands", "keys", "settings"])
def test_the_tables_are_those_of_the_program(name: str) -> None:
    fresh = script.with_parts(README, {name: script.tables()[name]})
    assert fresh == README, "write it anew: .venv/bin/python scripts/readme"


def test_there_is_a_place_for_the_recorded_session() -> None:
    assert "recorded" in script.with_parts(README, {"session": "recorded"})


def test_a_page_without_the_place_is_refused() -> None:
    with pytest.raises(SystemExit, match="0 places for keys"):
        script.with_parts("# shammah\n", {"keys": ""})


def test_every_key_of_the_table_is_bound() -> None:
    ours = key_bindings(lambda: "", lambda _hint: None)
    bound = {tuple(str(getattr(key, "value", key)) for key in binding.keys) for binding in _bindings(ours)}
    by_the_prompt = {("c-z",)}  # enable_suspend
    for key in script.KEYS:
        for sequence in key.bound:
            assert tuple(KEY_ALIASES.get(part, part) for part in sequence) in bound | by_the_prompt, key.shown


def test_every_key_of_our_own_is_in_the_table() -> None:
    ours = key_bindings(lambda: "", lambda _hint: None).bindings
    told = {tuple(KEY_ALIASES.get(part, part) for part in sequence) for key in script.KEYS for sequence in key.bound}
    bound = {tuple(str(getattr(key, "value", key)) for key in binding.keys) for binding in ours}
    assert bound - told <= {("<bracketed-paste>",), ("<sigint>",)}  # No keys: a paste, and Ctrl-C from elsewhere.


def _bindings(ours: KeyBindings) -> Iterator[Any]:
    yield from ours.bindings
    yield from load_key_bindings().bindings
    yield from load_open_in_editor_bindings().bindings


# What it names


def test_every_chat_command_it_names_exists() -> None:
    names = {name for command in COMMANDS for name in command.names}
    texts = [span for page in PAGES.values() for span in spans(page)]
    named = {word for text in texts for word in re.findall(r"(?:^|\s)(/[a-z?]+)", text)}
    assert named >= {"/help", "/why", "/model"}
    assert named <= names


def test_every_option_it_names_exists() -> None:
    known = {option for action in parser()._actions for option in action.option_strings}
    known |= {option for given in _parsers(subcommands()) for option in given._option_string_actions}
    texts = [*spans(README), *(line for line in commands() if "shammah" in line)]
    named = {word for text in texts for word in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)}
    assert named - {"--staged", "-m"} <= known  # The first is git's, the other Python's too.


def test_every_setting_it_names_exists() -> None:
    keys = {setting.key for setting in settings()}
    sections = {key.partition(".")[0] for key in keys}
    texts = [*spans(README), *commands()]
    named = {word for text in texts for word in re.findall(r"\b[a-z]+\.[a-z_]+\b(?![/.])", text)}
    assert {word for word in named if word.partition(".")[0] in sections} <= keys


def test_every_subcommand_it_names_exists() -> None:
    known = {name for given in [subcommands()] for name in _choices(given)}
    named = {span.split()[1] for span in spans(README) if re.match(r"shammah [a-z]+\b", span)}
    assert named >= {"models", "config"}
    assert named <= known


@pytest.mark.parametrize("page", list(PAGES))
def test_every_file_it_names_exists(page: str) -> None:
    text = PAGES[page]
    links = {(ROOT / page).parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)}
    named = {ROOT / word for word in re.findall(r"\b(?:scripts|tests|docs|shammah)/[\w/.-]*\w", text)}
    modules = {ROOT / "shammah" / word for word in re.findall(r"(?<![\w/])\w+(?:/\w+)*\.py\b", text)}
    modules = {
        path for path in modules if path.parts[len(ROOT.parts) + 1] not in ("scripts", "tests", "docs", "shammah")
    }
    missing = sorted(str(path.relative_to(ROOT)) for path in links | named | modules if not path.exists())
    assert not missing, "\n".join(missing)


def _parsers(given: Any) -> Iterator[Any]:
    yield given
    for action in given._actions:
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from _parsers(inner)


def _choices(given: Any) -> Iterator[str]:
    for action in given._actions:
        if isinstance(action.choices, dict):
            yield from action.choices


# Its commands

shammah_commands = [line for line in commands() if re.search(r"(^|\| )shammah\b", line)]
script_commands = [line for line in commands() if line.startswith(("python3 scripts/start", "python3 scripts/test"))]
on_a_shell = pytest.mark.skipif(os.name == "nt", reason="the commands are written for a POSIX shell")


def test_every_command_is_of_a_kind_that_a_test_looks_at() -> None:
    looked_at = {*shammah_commands, *script_commands, *INSTALL, *CHECKED_BY_NAME}
    assert set(commands()) == looked_at


def test_the_program_can_be_installed_as_it_tells() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = project["project"]["scripts"]["shammah"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert (ROOT / project["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in project["project"]["license-files"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what the commands need: git with something staged, notes, a home, and `shammah` on the path."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "config.toml").write_text("[local]\nthreads = 1\n")
    for name in ("notes.md", "todo.md"):
        (tmp_path / name).write_text("- water the plants\n")
    (tmp_path / "bin").mkdir()
    _executable(tmp_path / "bin" / "shammah", f'exec {shlex.quote(sys.executable)} -P -m shammah "$@"')
    _executable(tmp_path / "bin" / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    return tmp_path


def _executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _shell(line: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    surroundings = {
        "PATH": f"{home.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home.parent),
        "SHAMMAH_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@on_a_shell
def test_the_commands_of_shammah_work_in_their_order(place: Path) -> None:
    _shell("git init -q . && git add notes.md", place, place / "home")
    for line in shammah_commands:
        done = _shell(line, place, place / "home")
        assert (done.returncode, done.stderr) == (0, ""), line
        if "--json" in line:
            assert json.loads(done.stdout).keys() >= JSON_KEYS


@on_a_shell
@pytest.mark.parametrize("line", [*script_commands, "python3 scripts/start --version", "python3 scripts/test -k 'a b'"])
def test_the_two_commands_hand_their_arguments_to_the_environment(line: str, place: Path) -> None:
    project = place / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts", ignore=shutil.ignore_patterns("starter_*", "__pycache__"))
    for name in ("pyproject.toml", "shammah/__init__.py"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    # A finished environment, whose Python tells what it is asked to do.
    checkout = environment.Checkout(project)
    checkout.python.parent.mkdir(parents=True)
    _executable(checkout.python, 'printf "%s\\n" "$@"')
    fingerprint = environment.fingerprint(checkout)
    environment.write_marker(
        checkout, environment.Marker(True, environment.PYTHON, str(project), fingerprint, ("test",))
    )
    done = _shell(line, project, place / "home")
    module = "shammah" if "start" in line else "pytest"
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["-P", "-m", module, *shlex.split(line)[2:]]


def test_the_ways_into_the_chat_are_understood() -> None:
    inline = [span for span in spans(README) if re.match(r"shammah -", span)]
    for line in [*inline, "shammah", "shammah -c", "shammah --local -m starter"]:
        parse(shlex.split(line)[1:])


def test_ci_runs_the_test_command_of_this_page() -> None:
    assert "python3 scripts/test" in commands()
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert run[-1] == 'exec python3 scripts/test "$@"'
