"""The signs of a secret, which keep what carries them on this machine: names and folders of files, and texts."""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatchcase
from pathlib import Path

_NAMES = (
    *(".env", ".env.*", "*.env", "secret.*", "secrets.*", "credentials*", "*.tfstate", "*.tfvars"),
    *(".netrc", "_netrc", ".pgpass", "pgpass.conf", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd", ".dockercfg"),
    *("id_*", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdb", "*.kdbx"),
)
_FOLDERS = (".ssh", ".aws", ".gnupg", ".kube", ".docker", ".password-store")
_COPY = re.compile(r"([~#]|\.(bak|old|orig|save|swp|tmp))+$")
"""What editors and careful people put behind a name."""
_TEXTS = {
    "a private key": r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY|PuTTY-User-Key-File-\d",
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key for Claude": r"\bsk-ant-[\w-]{20,}",
    "a key for an API": r"\b(sk-(proj-)?[A-Za-z0-9]{32,}|AIza[\w-]{35}|[rs]k_live_[A-Za-z0-9]{20,})",
    "an access token": r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,}|hf_[A-Za-z0-9]{30,}|xox[abeoprs]-[\w-]{20,})",
}


def secret_by_name(name: str) -> str:
    """Why a file holds secrets, by its name and folder or those of what it is a link to; "" where they say nothing."""
    path = Path(name)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # A zero byte, the ~name of nobody, a link to itself.
        path = path.expanduser()
        return _of_path(path) or _of_path(path.resolve())
    return _of_path(path)


def secret_in(text: str, name: str = "The text") -> str:
    """Why a text is secret, by what it holds; "" where it looks like no secret."""
    found = next((what for what, pattern in _TEXTS.items() if re.search(pattern, text)), "")
    return f"{name} holds what looks like {found}" if found else ""


def _of_path(path: Path) -> str:
    name = _COPY.sub("", path.name.casefold().strip("# ").rstrip("."))
    if any(fnmatchcase(name, pattern) for pattern in _NAMES):
        return f"{path.name} holds secrets by its name"
    folder = next((part for part in path.parts[:-1] if part.casefold() in _FOLDERS), "")
    return f"{path.name} lies in {folder}, where secrets are kept" if folder else ""
