"""Files that go with a question: read as text, put behind it with their names; and which of them look like secrets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from shammah.errors import UsageError

LIMIT = 2_000_000
"""Bytes: no model here can read more, and a mistyped path should not fill the memory."""
_AT_PATH = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(\S+))')


_SECRET_NAMES = (
    *(".env", ".env.*", "*.env", "secret.*", "secrets.*", "credentials*", "*.tfstate", "*.tfvars"),
    *(".netrc", "_netrc", ".pgpass", "pgpass.conf", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd", ".dockercfg"),
    *("id_*", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdb", "*.kdbx"),
)
_SECRET_FOLDERS = (".ssh", ".aws", ".gnupg", ".kube", ".docker", ".password-store")
_COPY = re.compile(r"([~#]|\.(bak|old|orig|save|swp|tmp))+$")
"""What editors and careful people put behind a name."""
_SECRET_TEXTS = {
    "a private key": r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY|PuTTY-User-Key-File-\d",
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key for Claude": r"\bsk-ant-[\w-]{20,}",
    "a key for an API": r"\b(sk-(proj-)?[A-Za-z0-9]{32,}|AIza[\w-]{35}|[rs]k_live_[A-Za-z0-9]{20,})",
    "an access token": r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,}|hf_[A-Za-z0-9]{30,}|xox[abeoprs]-[\w-]{20,})",
}


@dataclass(frozen=True)
class Attachment:
    """A file's name as the user gave it, and its text; `secret` says why it must not leave, "" if it may."""

    name: str
    text: str
    secret: str = ""


def read_file(name: str) -> Attachment:
    """Read a text file.

    Raises:
        UsageError: it is missing, no file, too large, or no text.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            raise UsageError(f"{name} is a folder", hint="Name a file in it")
        size = path.stat().st_size
        if size > LIMIT:
            raise _too_large(name, f"{size:,}")
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LIMIT + 1)  # A device tells no size, and may have no end.
    except UnicodeDecodeError as cause:
        raise UsageError(f"{name} is no text in UTF-8", hint="Convert it to text first") from cause
    except (OSError, ValueError, RuntimeError) as cause:  # RuntimeError: the ~name of nobody here.
        reason = getattr(cause, "strerror", None) or str(cause)
        raise UsageError(f"{name} cannot be read: {reason}", hint="Check the path") from cause
    if len(text) > LIMIT:
        raise _too_large(name, f"more than {LIMIT:,}")
    return Attachment(name, text, secret_reason(name) or secret_in(text, path.name))


def secret_reason(name: str) -> str:
    """Why a file holds secrets, by its name and folder or those of what it is a link to; "" where they say nothing."""
    path = Path(name)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # As in `_exists`; also a link to itself.
        path = path.expanduser()
        return _secret_by_name(path) or _secret_by_name(path.resolve())
    return _secret_by_name(path)


def secret_in(text: str, name: str = "The text") -> str:
    """Why a text is secret, by what it holds; "" where it looks like no secret."""
    found = next((what for what, pattern in _SECRET_TEXTS.items() if re.search(pattern, text)), "")
    return f"{name} holds what looks like {found}" if found else ""


def secret_of(question: str, files: Sequence[Attachment] = ()) -> str:
    """Why a question with these files is secret: a file by its name or text, or what was pasted or piped in."""
    return next((file.secret for file in files if file.secret), "") or secret_in(question, "the question")


def _secret_by_name(path: Path) -> str:
    name = _COPY.sub("", path.name.casefold().strip("# ").rstrip("."))
    if any(fnmatchcase(name, pattern) for pattern in _SECRET_NAMES):
        return f"{path.name} holds secrets by its name"
    folder = next((part for part in path.parts[:-1] if part.casefold() in _SECRET_FOLDERS), "")
    return f"{path.name} lies in {folder}, where secrets are kept" if folder else ""


def with_files(question: str, files: Sequence[Attachment]) -> str:
    """The question, and below it each file between fences that its text does not contain."""
    parts = [question] if question.strip() else []
    for file in files:
        longest = max((len(run) for run in re.findall("`{3,}", file.text)), default=2)
        fence = "`" * (longest + 1)
        parts.append(f"File {file.name}:\n{fence}\n{file.text.rstrip()}\n{fence}")
    return "\n\n".join(parts)


def named_files(question: str) -> list[Attachment]:
    """Read the files that a question names as @path; an @word that is no existing file is just a word."""
    names = [quoted or plain.rstrip(".,;:!?)") for quoted, plain in _AT_PATH.findall(question)]
    found = dict.fromkeys(name for name in names if name and _exists(name))
    return [read_file(name) for name in found]


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # Too long a name, a zero byte in it, the ~name of nobody here.
        return False


def _too_large(name: str, size: str) -> UsageError:
    return UsageError(f"{name} has {size} bytes; at most {LIMIT:,} go with a question", hint="Send a part of it")
