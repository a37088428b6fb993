"""The shape of the house: who may import whom, what the chat never loads, where each library lives."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "shammah"

FLOORS = (
    # nouns
    {"", "errors", "exit_status", "message", "paths"},
    # what several rooms need of the system: nothing in them knows what it is for
    {"characters", "database", "decoding", "files", "locks", "machine", "network", "pipes", "secret_signs"},
    # contracts; what goes over a pipe is one between two processes
    {"engine", "config", "environment", "commandline", "local.protocol", "local.trial", "models.protocol"},
    # what lies on disk of the models: known to the loader, which writes it, and to the chat
    {"models.store"},
    # who answers: pure, knows nothing but words for what it is told
    {"router"},
    # abilities
    {"local", "worker", "loader", "history", "attachments", "settings", "cloud"},
    # larger models: which, how far, and the engine at the end
    {"models"},
    # all that can answer, by its name; who of them was asked one question
    {"engines", "attempts"},
    # the turn, and how fast it goes
    {"session", "bench"},
    # what is asked at the first run, and what the answers change
    {"setup"},
    {"screen"},
    {"pull"},
    # what is done without a chat
    {"oneshot", "subcommands"},
    {"app"},
    {"cli"},
    {"__main__"},
)
"""The rooms of the package from the ground up; a room imports from lower floors, or from itself."""

HOMES: dict[str, tuple[str, ...]] = {
    "anthropic": ("cloud",),
    "httpx2": ("loader", "cloud"),
    "huggingface_hub": ("loader.hub",),
    "jinja2": ("worker",),
    "numpy": ("worker", "loader.prepare"),
    "onnx": ("loader.prepare",),
    "onnxruntime": ("worker", "loader.prepare"),
    "onnxruntime_genai": ("worker",),
    "prompt_toolkit": ("screen",),
    "psutil": ("machine",),
    "pygments": ("screen.markdown",),
    "tokenizers": ("worker",),
    "tomli": ("config",),
    "tomlkit": ("config",),
    "wcwidth": ("screen.markdown",),
}
"""The room that knows each library of others; worker and loader are processes of their own and share some."""

NEVER_IN_THE_CHAT = (
    "onnx",
    "onnxruntime",
    "onnxruntime_genai",
    "numpy",
    "tokenizers",
    "jinja2",
    "huggingface_hub",
    "shammah.worker",
    "shammah.loader",
)

READS_THE_ENVIRONMENT = "environment"
SETS_THE_ENVIRONMENT = ("worker.__main__", "loader.__main__")
"""Switch telemetry off before they import what would report home."""


@cache
def modules() -> dict[str, Path]:
    """Every module by its name within the package; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in it, also for types only."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("shammah.")
                yield f"shammah.{inner}" if node.module.startswith("shammah") and inner in modules() else node.module


def own_imports(module: str) -> set[str]:
    """What a module imports of the package, by names within it."""
    names = {name for name in imported(module) if name == "shammah" or name.startswith("shammah.")}
    return {name.removeprefix("shammah").removeprefix(".") for name in names}


def foreign_imports(module: str) -> set[str]:
    """The libraries of others that a module imports."""
    tops = {name.partition(".")[0] for name in imported(module)}
    return tops - set(sys.stdlib_module_names) - {"shammah"}


def room(module: str) -> str:
    """The room that a module belongs to: itself if it is named among the floors, else its folder."""
    return module if any(module in floor for floor in FLOORS) else module.partition(".")[0]


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def chat_modules() -> list[str]:
    """Everything outside the rooms of the other two processes."""
    return [module for module in modules() if room(module) not in ("worker", "loader")]


def test_every_module_has_its_floor() -> None:
    assert [module for module in modules() if not any(room(module) in rooms for rooms in FLOORS)] == []


def test_modules_import_from_lower_floors_or_their_own_room() -> None:
    upward = [
        f"{module} imports {name}"
        for module in modules()
        for name in sorted(own_imports(module))
        if room(name) != room(module) and floor(name) >= floor(module)
    ]
    assert not upward, "\n".join(upward)


def test_the_chat_names_nothing_of_the_worker() -> None:
    found = [
        f"{module} imports {name}"
        for module in chat_modules()
        for name in sorted(set(imported(module)))
        if any(f"{name}.".startswith(f"{never}.") for never in NEVER_IN_THE_CHAT)
    ]
    assert not found, "\n".join(found)


def test_the_chat_loads_nothing_of_the_worker_even_with_all_its_late_imports() -> None:
    ours = [f"shammah.{module}".rstrip(".") for module in chat_modules()]
    theirs = sorted({name for module in chat_modules() for name in imported(module) if name.partition(".")[0] in HOMES})
    # What is for other systems only cannot be imported here.
    program = (
        "import importlib, sys\n"
        f"for name in {ours + theirs!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        if error.name not in ('termios', 'fcntl', 'tty', 'msvcrt'): raise\n"
        "    except AssertionError:\n"
        "        if not name.startswith('prompt_toolkit.') or not name.endswith(('.win32', '.vt100')): raise\n"
        f"print([name for name in {NEVER_IN_THE_CHAT!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("library", sorted({name for module in modules() for name in foreign_imports(module)}))
def test_a_library_has_one_home(library: str) -> None:
    rooms = {module for module in modules() if library in foreign_imports(module)}
    home = HOMES.get(library)
    assert home is not None, f"{library} has no home in HOMES; {sorted(rooms)} import it"
    strangers = {module for module in rooms if not any(f"{module}.".startswith(f"{one}.") for one in home)}
    assert not strangers, f"{library} lives in {home}, and is imported by {sorted(strangers)}"


def test_every_library_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}
    used = {name for module in modules() for name in foreign_imports(module)}
    assert used <= declared
    assert declared <= used


def test_only_one_module_reads_the_environment() -> None:
    others = {module: _environment_lines(module) for module in modules() if module != READS_THE_ENVIRONMENT}
    sets = {module: others.pop(module) for module in SETS_THE_ENVIRONMENT}
    assert {module: lines for module, lines in others.items() if lines} == {}
    assert sets == {module: _environment_settings(module) for module in SETS_THE_ENVIRONMENT}


def _environment_settings(module: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_environment(node.value)
    ]


def _environment_lines(module: str) -> list[int]:
    nodes = (node for node in ast.walk(tree(module)) if isinstance(node, ast.expr | ast.stmt))
    return [node.lineno for node in nodes if _is_environment(node)]


def _is_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "getenvb" | "putenv"):
            return True
        case ast.ImportFrom(module="os", names=names):
            return any("env" in alias.name for alias in names)
    return False
