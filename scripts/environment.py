"""The project's own Python environment: `.venv` beside the code, made when it is missing or stale, and then used.

    ready      nothing to do: a small file in .venv says that it was made from what lies here now
    install    the project or the wanted extras changed: pip brings the environment up to date
    make       there is none, or it is half made, moved, or of another Python: it is made anew

Needs the standard library only. scripts/start, scripts/test and scripts/check share it. What an everyday start does
not need is imported late, since that start should cost a few milliseconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

Step = Literal["ready", "install", "make"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
LOOK_EVERY = 0.2
"""Seconds between two looks at a lock that another start holds."""

TELL = {
    "make": "Making .venv beside the code and installing shammah into it: about 100 MB to fetch, "
    "half a minute to some minutes, this once.",
    "install": "Bringing .venv up to date: seconds, or some minutes where packages are new.",
}


class SetupError(Exception):
    """Why there is no environment, and what to do next."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class NetworkError(SetupError):
    """The package index cannot be reached."""


class Checkout(NamedTuple):
    """A copy of the project, and where its environment lies."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def marker(self) -> Path:
        return self.folder / "shammah.json"

    @property
    def lock(self) -> Path:
        # Beside the folder, not in it: what half-made environments hold is looked at under the lock only.
        return self.root / ".venv.lock"


HERE = Checkout(Path(__file__).resolve().parent.parent)


class Marker(NamedTuple):
    """What an environment was made from. It is written unfinished at the start and finished at the very end."""

    finished: bool
    python: str
    root: str
    project: str
    extras: tuple[str, ...]


def run(module: str, arguments: Sequence[str], extras: Sequence[str] = (), checkout: Checkout = HERE) -> int:
    """Make sure of the environment, then run a module in it in place of this process; else returns the exit status."""
    try:
        ensure(checkout, extras)
        # -P: a file in the folder where a person happens to be is never taken for a module.
        return become([str(checkout.python), "-P", "-m", module, *arguments])
    except SetupError as error:
        tell(f"error: {error}\nhint: {error.hint}")
        return 1
    except KeyboardInterrupt:
        tell("Stopped. The next start takes care of what is unfinished.")
        return 130


def become(command: list[str]) -> int:
    """Put the command in the place of this process; where a system cannot, run it and return its exit status."""
    if os.name == "nt":  # Its exec would give the terminal back to the shell while the program still runs.
        return outlive(command)
    try:
        os.execv(command[0], command)
    except OSError as cause:
        raise SetupError(
            f"{command[0]} cannot be started: {cause.strerror}", hint="Remove .venv and start again"
        ) from cause


def outlive(command: Sequence[str]) -> int:
    """Run the command to its end; what Ctrl-C means is its own affair."""
    import subprocess

    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def tell(text: str) -> None:
    """Say something beside the output."""
    print(text, file=sys.stderr, flush=True)


# What is needed


def needed(checkout: Checkout, extras: Sequence[str]) -> Step:
    """What must happen before the environment can be used; another start that is at work on it would mislead.

    Raises:
        SetupError: something else lies where it should be.
    """
    marker = read_marker(checkout)
    return _needed_by_stranger(checkout) if marker is None else _needed_by(marker, checkout, extras)


def is_ready(checkout: Checkout, extras: Sequence[str]) -> bool:
    """Whether nothing must happen; true whatever another start does meanwhile, since a marker is replaced whole."""
    marker = read_marker(checkout)
    return marker is not None and _needed_by(marker, checkout, extras) == "ready"


def _needed_by(marker: Marker, checkout: Checkout, extras: Sequence[str]) -> Step:
    here = marker.python == PYTHON and _is(marker.root, checkout.root)
    if not (marker.finished and here and checkout.python.exists()):
        return "make"
    if marker.project != fingerprint(checkout) or not set(extras) <= set(marker.extras):
        return "install"
    return "ready"


def _is(path: str, root: Path) -> bool:
    # Not as text: Windows and macOS know a folder in capital letters and small ones.
    try:
        return root.samefile(path)
    except OSError:
        return False


def _needed_by_stranger(checkout: Checkout) -> Step:
    """An environment that this script did not make is used if it fits, and only an environment is ever cleared."""
    configuration = checkout.folder / "pyvenv.cfg"
    if configuration.is_file():
        return "install" if checkout.python.exists() and _python_of(configuration) == PYTHON else "make"
    empty = checkout.folder.is_dir() and not any(checkout.folder.iterdir())
    if os.path.lexists(checkout.folder) and not empty:
        raise SetupError(
            f"{checkout.folder} is there and is no Python environment", hint="Move it away and start again"
        )
    return "make"


def _python_of(configuration: Path) -> str:
    import re

    # "version" is what venv writes, "version_info" what virtualenv and uv write.
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", configuration.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def fingerprint(checkout: Checkout) -> str:
    """Changes when the declared dependencies or the version change."""
    import hashlib

    parts = (checkout.root / "pyproject.toml", checkout.root / "shammah" / "__init__.py")
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def read_marker(checkout: Checkout) -> Marker | None:
    """The marker, or None where there is none that can be read."""
    import json

    try:
        found = json.loads(checkout.marker.read_bytes())
        return Marker(**{**found, "extras": tuple(found["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_marker(checkout: Checkout, marker: Marker) -> None:
    """Replace the marker in one step."""
    import json

    fresh = checkout.marker.with_suffix(".new")
    fresh.write_text(json.dumps(marker._asdict()), encoding="utf-8")
    fresh.replace(checkout.marker)


# Bringing it about

Build = Callable[[Checkout, Step, Sequence[str]], None]


def ensure(checkout: Checkout, extras: Sequence[str], build: Build | None = None) -> None:
    """Return when the environment is there with these extras; `build` brings a step about.

    Raises:
        SetupError: it cannot be.
    """
    if is_ready(checkout, extras):
        return
    try:
        with sole(checkout):
            step = needed(checkout, extras)  # Another start may have done it while this one waited.
            if step != "ready":
                _update(checkout, step, extras, build or bring_about)
    except OSError as cause:
        raise not_writable(checkout, cause) from cause


def _update(checkout: Checkout, step: Step, extras: Sequence[str], build: Build) -> None:
    tell(TELL[step])
    started = time.monotonic()
    before = read_marker(checkout)
    wanted = tuple(sorted({*extras, *(before.extras if before else ())}))
    after = Marker(True, PYTHON, str(checkout.root), fingerprint(checkout), wanted)
    checkout.folder.mkdir(exist_ok=True)
    write_marker(checkout, after._replace(finished=False))
    try:
        build(checkout, step, wanted)
    except NetworkError as error:
        if step != "install" or before is None or not set(extras) <= set(before.extras):
            raise
        # pip fetches everything before it changes anything, so what worked yesterday still does.
        write_marker(checkout, before)
        tell(f"{error}, so .venv stays as it was; the next start tries again.")
        return
    write_marker(checkout, after)
    tell(f"Done in {time.monotonic() - started:.0f} s.")


@contextmanager
def sole(checkout: Checkout) -> Iterator[None]:
    """Let one start at a time work on the environment; the others wait."""
    with checkout.lock.open("a+b") as file:
        waiting = False
        while not _lock(file.fileno()):
            if not waiting:
                tell("Another start is at work on .venv; waiting for it.")
                waiting = True
            time.sleep(LOOK_EVERY)
        yield  # Closing the file, or the end of the process, gives the lock back.


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # A file system without locks: better unguarded than not at all.
        return True


def bring_about(checkout: Checkout, step: Step, extras: Sequence[str]) -> None:
    """Make the environment if that is the step, and install the project into it.

    Raises:
        SetupError: it failed; what the tool said is printed.
    """
    if step == "make":
        _clear(checkout)
        _make(checkout)
    _install(checkout, extras)


def _clear(checkout: Checkout) -> None:
    import shutil

    for each in checkout.folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each != checkout.marker:
            each.unlink()


def _make(checkout: Checkout) -> None:
    from importlib.util import find_spec

    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise SetupError(
            f"This Python {PYTHON} comes without venv",
            hint="On Debian and Ubuntu: sudo apt install python3-venv; then start again",
        )
    # Not sys.executable, which may be the very environment that is made anew.
    python = getattr(sys, "_base_executable", None) or sys.executable
    failed = _output_of_failure([python, "-I", "-m", "venv", str(checkout.folder)], checkout.root)
    if failed is not None:
        tell(failed)
        raise SetupError("Python could not make .venv", hint="What it said stands above; remove .venv and start again")


def _install(checkout: Checkout, extras: Sequence[str]) -> None:
    python = str(checkout.python)
    target = f".[{','.join(extras)}]" if extras else "."
    pip = [python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "install", "--quiet", "--retries", "2", "--timeout", "20", "--editable", target]
    failed = _output_of_failure(install, checkout.root)
    if failed is not None and "No module named pip" in failed:  # As in an environment that uv made.
        failed = _output_of_failure([python, "-I", "-m", "ensurepip"], checkout.root)
        failed = failed or _output_of_failure(install, checkout.root)
    if failed is not None:
        tell("\n".join(failed.splitlines()[-12:]))
        raise explained(failed)


def _output_of_failure(command: Sequence[str], folder: Path) -> str | None:
    """What a command printed if it failed; None if it did not."""
    import subprocess

    # A person's own wish for --user would make pip refuse to work in an environment.
    surroundings = {**os.environ, "PIP_USER": "0"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return None if done.returncode == 0 else done.stdout


# Why it failed

UNREACHABLE = (
    *("newconnectionerror", "name resolution", "getaddrinfo", "connecttimeout", "readtimeout", "timed out"),
    *("network is unreachable", "proxyerror", "sslerror", "connection refused", "connection reset"),
)


def explained(output: str) -> SetupError:
    """What pip's output means for a person."""
    said = output.lower()
    if any(sign in said for sign in UNREACHABLE):
        return NetworkError(
            "The packages cannot be fetched: the package index is out of reach",
            hint="Installing needs a network once. Connect and start again; behind a proxy, set HTTPS_PROXY",
        )
    if "no space left" in said:
        return SetupError("The disk is full", hint="Free about 500 MB and start again")
    if "no matching distribution" in said or "requires a different python" in said:
        return SetupError(
            f"A package is not made for this system: Python {PYTHON} on {sys.platform}",
            hint="Use Python 3.11 to 3.14, python3.12 scripts/start, say, on a 64-bit Linux or Windows, "
            "or on macOS 14 or later with Apple silicon",
        )
    return SetupError(
        "pip could not install the project", hint="What it said stands above; start again after mending it"
    )


def not_writable(checkout: Checkout, cause: OSError) -> SetupError:
    """What an error of the file system means for a person."""
    import errno

    reason = cause.strerror or str(cause)
    if cause.errno == errno.ENOSPC:
        return SetupError("The disk is full", hint="Free about 500 MB and start again")
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SetupError(
            f"{checkout.folder} cannot be written: {reason}",
            hint=f"Copy the project to a folder of your own, or install it: pipx install {checkout.root}. "
            "If a chat from this folder is open, leave it first",
        )
    return SetupError(f"{cause.filename or checkout.folder} failed: {reason}", hint="Remove .venv and start again")
