"""What scripts/check runs: ruff twice, mypy, pytest. Each runs whatever the others say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from environment import HERE, SetupError, ensure, tell

ROOT = HERE.root


def check(arguments: Sequence[str]) -> int:
    """Run all checks; returns 0 when every one passed."""
    try:
        ensure(HERE, ("test",))
    except SetupError as error:
        tell(f"error: {error}\nhint: {error.hint}")
        return 1
    except KeyboardInterrupt:
        return 130
    return report([name for name, command in checks(arguments) if not _passes(name, command)])


def checks(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each check with its command; `arguments` are pytest's."""
    scripts = [str(path.relative_to(ROOT)) for path in sorted(scripts_without_suffix(ROOT / "scripts"))]
    return [
        ("format", ["ruff", "format", "--check", ".", *scripts]),
        ("lint", ["ruff", "check", ".", *scripts]),
        ("types", ["mypy"]),
        ("tests", ["pytest", *arguments]),
    ]


def scripts_without_suffix(folder: Path) -> Iterator[Path]:
    """Python scripts that ruff does not find by their name."""
    for path in folder.iterdir():
        if path.is_file() and not path.suffix and path.read_bytes().startswith(b"#!/usr/bin/env python3"):
            yield path


def report(failed: Sequence[str]) -> int:
    """Say which checks failed; returns the exit status."""
    tell(f"failed: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


def _passes(name: str, command: Sequence[str]) -> bool:
    tell(f"--- {name}: {' '.join(command)}")
    try:
        return subprocess.run([str(HERE.python), "-P", "-m", *command], cwd=ROOT, check=False).returncode == 0
    except KeyboardInterrupt:
        return False
