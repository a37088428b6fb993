"""The scripts: when start, test and check make the environment, with no network; how promises keeps its page.

The real scripts run in a small project of their own, which is built by a backend that lies in it and needs nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TOO_OLD = """
import sys
import threading
sys.argv = ["scripts/start"]
sys.path.insert(0, {scripts!r})
sys.version_info = (3, 9, 1)
import python_version
python_version.demand()
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


environment: Any = _load("environment")

# What is needed: decisions over folders, no process started


@pytest.fixture
def checkout(tmp_path: Path) -> Any:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shammah'\n")
    (tmp_path / "shammah").mkdir()
    (tmp_path / "shammah" / "__init__.py").write_text("__version__ = '1'\n")
    return environment.Checkout(tmp_path)


def _put_python(checkout: Any, version: str = environment.PYTHON) -> None:
    checkout.python.parent.mkdir(parents=True)
    checkout.python.write_text("")
    (checkout.folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}.7\n")


def _made(checkout: Any, **changed: Any) -> Any:
    """An environment as it stands after a good run, but for what is `changed` in its marker."""
    _put_python(checkout)
    project = environment.fingerprint(checkout)
    marker = environment.Marker(True, environment.PYTHON, str(checkout.root), project, ())
    environment.write_marker(checkout, marker._replace(**changed))
    return checkout


def test_a_finished_environment_is_ready(checkout: Any) -> None:
    assert environment.needed(_made(checkout), ()) == "ready"


@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege on Windows")
def test_a_checkout_that_is_reached_by_another_name_is_the_same(checkout: Any, tmp_path: Path) -> None:
    (tmp_path / "other name").symlink_to(_made(checkout).root)
    assert environment.needed(environment.Checkout(tmp_path / "other name"), ()) == "ready"


def test_extras_that_are_there_already_are_no_reason_to_install(checkout: Any) -> None:
    _made(checkout, extras=("test", "train"))
    assert [environment.needed(checkout, extras) for extras in ((), ("test",))] == ["ready", "ready"]


@pytest.mark.parametrize(
    "changed",
    [{"finished": False}, {"python": "2.7"}, {"root": "/somewhere/else"}],
    ids=["half made", "of another Python", "moved"],
)
def test_an_environment_that_cannot_be_trusted_is_made_anew(checkout: Any, changed: dict[str, Any]) -> None:
    assert environment.needed(_made(checkout, **changed), ()) == "make"


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Any) -> None:
    _made(checkout).python.unlink()
    assert environment.needed(checkout, ()) == "make"


@pytest.mark.parametrize("changed", ["pyproject.toml", "shammah/__init__.py"])
def test_a_changed_declaration_or_version_is_installed(checkout: Any, changed: str) -> None:
    _made(checkout)
    with (checkout.root / changed).open("a") as file:
        file.write("# new\n")
    assert environment.needed(checkout, ()) == "install"


def test_a_missing_extra_is_installed(checkout: Any) -> None:
    assert environment.needed(_made(checkout), ("test",)) == "install"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"finished": true}', '{"extras": 1}'])
def test_a_torn_marker_counts_as_none(checkout: Any, text: str) -> None:
    _made(checkout).marker.write_text(text)
    assert environment.read_marker(checkout) is None
    assert environment.needed(checkout, ()) == "install"


def test_an_environment_from_elsewhere_is_used_if_its_python_fits(checkout: Any) -> None:
    _put_python(checkout)
    assert environment.needed(checkout, ()) == "install"


def test_an_environment_from_elsewhere_of_another_python_is_made_anew(checkout: Any) -> None:
    _put_python(checkout, "3.1")
    assert environment.needed(checkout, ()) == "make"


def test_a_missing_or_empty_folder_is_made(checkout: Any) -> None:
    assert environment.needed(checkout, ()) == "make"
    checkout.folder.mkdir()
    assert environment.needed(checkout, ()) == "make"


def test_a_folder_that_holds_something_else_is_never_cleared(checkout: Any) -> None:
    (checkout.folder / "letters").mkdir(parents=True)
    with pytest.raises(environment.SetupError, match="is no Python environment") as raised:
        environment.ensure(checkout, ())
    assert raised.value.hint == "Move it away and start again"
    assert [each.name for each in checkout.folder.iterdir()] == ["letters"]


def test_a_file_in_the_way_is_named(checkout: Any) -> None:
    checkout.folder.write_text("mine")
    with pytest.raises(environment.SetupError, match="is no Python environment"):
        environment.ensure(checkout, ())


# The marker over a run


def test_the_marker_is_finished_only_at_the_end(checkout: Any) -> None:
    seen = []

    def build(_checkout: Any, step: str, extras: Sequence[str]) -> None:
        seen.append((step, tuple(extras), environment.read_marker(checkout).finished))
        _put_python(checkout)

    environment.ensure(checkout, ("test",), build)
    assert seen == [("make", ("test",), False)]
    assert environment.needed(checkout, ("test",)) == "ready"


def test_an_update_keeps_the_extras_of_before(checkout: Any) -> None:
    _made(checkout, extras=("test",), project="older")
    asked = []
    environment.ensure(checkout, (), lambda _checkout, step, extras: asked.append((step, extras)))
    assert asked == [("install", ("test",))]


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError])
def test_a_run_that_breaks_off_is_begun_anew(checkout: Any, end: type[BaseException]) -> None:
    def build(*_: object) -> None:
        _put_python(checkout)
        raise end

    with pytest.raises((KeyboardInterrupt, environment.SetupError)):
        environment.ensure(checkout, (), build)
    assert environment.needed(checkout, ()) == "make"


def test_without_a_network_an_older_environment_stays_in_use(checkout: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _made(checkout, project="older")
    environment.ensure(checkout, (), _unreachable)
    assert environment.read_marker(checkout).finished
    assert environment.needed(checkout, ()) == "install"
    assert "the next start tries again" in capsys.readouterr().err


def test_without_a_network_missing_extras_are_an_error(checkout: Any) -> None:
    _made(checkout)
    with pytest.raises(environment.SetupError) as raised:
        environment.ensure(checkout, ("test",), _unreachable)
    assert "needs a network once" in raised.value.hint


def _unreachable(*_: object) -> None:
    raise environment.explained("Failed to establish a new connection: NewConnectionError")


# Errors in words


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "WARNING: Retrying: NameResolutionError: Temporary failure in name resolution\n"
            "ERROR: No matching distribution found for hatchling",
            "out of reach",
            "needs a network",
        ),
        ("ERROR: No matching distribution found for onnxruntime>=1.31", "not made for this system", "3.11 to 3.14"),
        ("OSError: [Errno 28] No space left on device", "disk is full", "Free about"),
        ("error: metadata-generation-failed", "pip could not install", "stands above"),
    ],
)
def test_what_pip_says_becomes_a_next_step(said: str, message: str, hint: str) -> None:
    error = environment.explained(said)
    assert message in str(error)
    assert hint in error.hint


@pytest.mark.parametrize("number", [1, 13, 30], ids=["EPERM", "EACCES", "EROFS"])
def test_a_project_that_cannot_be_written_is_said_so(checkout: Any, number: int) -> None:
    error = environment.not_writable(checkout, OSError(number, os.strerror(number), str(checkout.folder)))
    assert str(error).startswith(f"{checkout.folder} cannot be written")
    assert "pipx install" in error.hint


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the rights of a folder do not bind this user")
def test_a_read_only_folder_is_an_error_in_two_lines(checkout: Any) -> None:
    checkout.root.chmod(0o555)
    with pytest.raises(environment.SetupError, match="cannot be written"):
        environment.ensure(checkout, ())


def test_an_old_python_gets_two_lines_and_no_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOO_OLD.format(scripts=str(SCRIPTS))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: shammah needs Python 3.11 or newer, and this is Python 3.9",
        "hint: Start it with a newer one, as in: python3.12 scripts/start",
    ]


@pytest.mark.parametrize("name", ["start", "test", "check", "python_version.py"])
def test_what_an_old_python_reads_parses_there(name: str) -> None:
    # Annotations, f-strings and starred lists are what would not.
    import ast

    tree = ast.parse((SCRIPTS / name).read_text(encoding="utf-8"), feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Starred | ast.AnnAssign)]


# One at a time


def test_starts_at_the_same_time_build_once(checkout: Any) -> None:
    program = (
        "import sys, time, pathlib\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import environment as e\n"
        f"checkout = e.Checkout(pathlib.Path({str(checkout.root)!r}))\n"
        "def build(checkout, step, extras):\n"
        "    time.sleep(0.3)\n"
        "    checkout.python.parent.mkdir(parents=True)\n"
        "    checkout.python.write_text('')\n"
        "    with (checkout.root / 'built').open('a') as file: file.write(step + ' ')\n"
        "e.ensure(checkout, (), build)\n"
    )
    starts = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [start.wait() for start in starts] == [0, 0, 0, 0]
    assert (checkout.root / "built").read_text() == "make "


def test_a_start_beside_another_waits_whatever_lies_there_meanwhile(checkout: Any) -> None:
    # As seen between two steps of making: neither a marker nor an environment yet.
    checkout.folder.mkdir()
    (checkout.folder / "half").touch()
    with environment.sole(checkout):
        second = threading.Thread(target=environment.ensure, args=(checkout, ()))
        second.start()
        second.join(2 * environment.LOOK_EVERY)
        assert second.is_alive()
        (checkout.folder / "half").unlink()
        _made(checkout)
    second.join(10)
    assert not second.is_alive()


def test_a_command_that_cannot_take_this_place_gives_its_exit_status() -> None:
    assert environment.outlive([sys.executable, "-c", "raise SystemExit(7)"]) == 7


# The whole way, with a real environment

BACKEND = """
import os, zipfile

METADATA = "Metadata-Version: 2.1\\nName: shammah\\nVersion: 1\\nProvides-Extra: test\\n"
WHEEL = "Wheel-Version: 1.0\\nTag: py3-none-any\\nRoot-Is-Purelib: true\\nGenerator: here\\n"

def build_editable(folder, config_settings=None, metadata_directory=None):
    about = "shammah-1.dist-info/"
    files = {"shammah.pth": os.getcwd(), about + "METADATA": METADATA, about + "WHEEL": WHEEL}
    files[about + "RECORD"] = "".join(name + ",,\\n" for name in [*files, about + "RECORD"])
    with zipfile.ZipFile(os.path.join(folder, "shammah-1-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "shammah-1-py3-none-any.whl"
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "shammah"
version = "1"
"""
PROGRAM = "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.getcwd(), sys.prefix]))\nsys.exit(5)\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small project with the real scripts, in a folder with a space in its name."""
    root = tmp_path_factory.mktemp("made") / "a project"
    (root / "shammah").mkdir(parents=True)
    shutil.copytree(SCRIPTS, root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "starter_*"))
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "shammah" / "__init__.py").write_text("")
    (root / "shammah" / "__main__.py").write_text(PROGRAM)
    yield root
    shutil.rmtree(root)


def _start(root: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_USER": "1"}
    return subprocess.run(
        [sys.executable, str(root / "scripts" / "start"), *arguments],
        cwd=folder or root,
        env=offline,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_start_that_was_killed_is_made_good_by_the_next_one(project: Path, tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, str(project / "scripts" / "start")], stderr=subprocess.PIPE)
    assert first.stderr is not None
    assert b"Making .venv" in first.stderr.readline()
    time.sleep(0.5)
    first.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    first.communicate()
    (project / ".venv" / "left over").touch()

    done = _start(project, "-p", "two words", "--flag", folder=tmp_path)

    assert json.loads(done.stdout) == [["-p", "two words", "--flag"], str(tmp_path), str(project / ".venv")]
    assert done.returncode == 5
    assert "Making .venv" in done.stderr
    assert not (project / ".venv" / "left over").exists()


def test_the_next_start_says_and_changes_nothing(project: Path, tmp_path: Path) -> None:
    _start(project)  # In case this test runs alone.
    before = {path: path.stat().st_mtime_ns for path in (project / ".venv").iterdir()}
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger was imported')")
    done = _start(project, folder=tmp_path)
    assert done.stderr == ""
    assert json.loads(done.stdout)[0] == []
    assert {path: path.stat().st_mtime_ns for path in (project / ".venv").iterdir()} == before


def test_a_new_declaration_is_installed_and_what_pip_refuses_is_told(project: Path) -> None:
    _start(project)
    (project / "pyproject.toml").write_text(PROJECT + 'dependencies = ["no-such-package-anywhere"]\n')
    broken = BACKEND.replace("Provides-Extra: test", "Requires-Dist: no-such-package-anywhere")
    (project / "backend.py").write_text(broken)
    refused = _start(project)
    assert refused.returncode == 1
    assert "No matching distribution found for no-such-package-anywhere" in refused.stderr
    assert refused.stderr.splitlines()[-2].startswith("error: A package is not made for this system")


# scripts/check


def test_check_runs_every_tool_and_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    checks: Any = _load("checks")
    assert [name for name, _ in checks.checks(())] == ["format", "lint", "types", "tests"]
    assert checks.report([]) == 0
    assert checks.report(["lint", "tests"]) == 1
    assert capsys.readouterr().err.splitlines() == ["All checks passed.", "failed: lint, tests"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["tests", "--help"]])
def test_check_prints_its_help_and_runs_nothing(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("check", "checks.py", "environment.py", "python_version.py"):
        shutil.copy(SCRIPTS / name, tmp_path)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "check"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Format, lint, types and tests")
    assert "scripts/check --help" in done.stdout


def test_check_looks_at_the_scripts_without_a_suffix_too() -> None:
    checks: Any = _load("checks")
    found = {path.name for path in checks.scripts_without_suffix(SCRIPTS)}
    assert {"start", "test", "check", "readme"} <= found


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no executable bit")
@pytest.mark.parametrize("name", ["scripts/start", "scripts/test", "scripts/check", "scripts/readme", ".ci/run"])
def test_the_scripts_can_be_started_by_their_name(name: str) -> None:
    assert (SCRIPTS.parent / name).stat().st_mode & 0o111 == 0o111


# scripts/promises

STAND_IN = """
import sys
import threading
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.promise import Reached, write
words = sys.argv[1:]
tried = words[words.index("--only") + 1 : words.index("--json")] if "--only" in words else ["3", "4"]
write(Path(words[-1]), [Reached(int(number), f"{number} | {words[0]}", "all", True) for number in tried])
"""

HALF = STAND_IN.replace('["3", "4"]', '["21"]').replace("])\n", "], more=True)\nraise ValueError\n")


@pytest.fixture
def promises(tmp_path: Path) -> Path:
    """scripts/promises beside trials that only say what they were asked for."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("promises", "promise.py", "machine.py"):
        shutil.copy(SCRIPTS / name, folder)
    (folder / "trial_history.py").write_text(STAND_IN)
    (folder / "trial_config.py").write_text("raise SystemExit(3)\n")
    (folder / "trial_network.py").write_text(HALF)
    return folder / "promises"


def _rows(promises: Path, *arguments: str) -> tuple[int, list[list[str]]]:
    """The exit status of a run, and the cells of each row of the page after it."""
    status = subprocess.run([sys.executable, str(promises), *arguments], capture_output=True, check=False).returncode
    page = promises.parent.parent / "docs" / "promises.md"
    lines = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    return status, [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and line[2].isdecimal()]


def test_a_trial_renews_its_own_rows_and_leaves_the_others(promises: Path) -> None:
    _rows(promises, "--only", "trial_config")
    _rows(promises, "--only", "trial_history")
    status, rows = _rows(promises, "--only", "trial_history:4", "--short")
    assert status == 0
    assert [(row[0], row[2]) for row in rows] == [
        ("3", "3 \\| --kills"),
        ("4", "4 \\| --kills"),
        ("5", "the trial broke off"),
    ]
    lengths = [row[5].split(", ")[1] for row in rows]
    assert lengths == ["full", "short", "full"]


def test_each_row_of_the_page_tells_its_day_and_the_load(promises: Path) -> None:
    _, [row, *_] = _rows(promises, "--only", "trial_history")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, full, load [\d.]+ before and [\d.]+ after", row[5])


def test_a_trial_that_breaks_off_is_a_missed_promise(promises: Path) -> None:
    status, [[number, *_, held, _, shown_by]] = _rows(promises, "--only", "trial_config")
    assert (status, number, held, shown_by) == (1, "5", "**no**", "`scripts/trial_config.py`")


def test_a_trial_that_breaks_off_half_way_keeps_what_it_has_shown(promises: Path) -> None:
    status, rows = _rows(promises, "--only", "trial_network")
    assert (status, [(row[0], row[4]) for row in rows]) == (1, [("21", "yes"), ("25", "**no**")])


def test_a_quick_look_at_the_promises_writes_nothing(promises: Path) -> None:
    assert _rows(promises, "--quick", "--only", "trial_history") == (0, [])
