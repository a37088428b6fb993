"""What the environment says: the only module that reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shammah.errors import ConfigError

YES = ("1", "on", "true", "yes")

SECRET_NAME = re.compile(r"^ANTHROPIC_|(_KEY|_TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS)$", re.IGNORECASE)
SECRET_VALUE = re.compile(r"://[^/\s@]*:[^/\s@]*@")
"""An address with a user's name and password in it, as proxies have."""

WORKER = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What the model worker is started with: nothing calls home, and its pipes are UTF-8 and not held back."""


@dataclass(frozen=True)
class Environment:
    """The variables that shammah obeys; an empty one counts as not set."""

    home: Path
    no_color: bool = False
    hf_endpoint: str = "https://huggingface.co"
    hf_token: str = field(default="", repr=False)
    hf_offline: bool = False
    anthropic_key: str = field(default="", repr=False)
    anthropic_base_url: str = "https://api.anthropic.com"
    editor: str = ""
    term: str = ""


def read(environ: Mapping[str, str] | None = None) -> Environment:
    """What these variables say; without an argument, those of this process.

    Raises:
        ConfigError: the home folder cannot be told.
    """
    # Windows keeps names in upper case whatever was written.
    given = os.environ if environ is None else environ

    def text(name: str, default: str = "") -> str:
        return given.get(name, "").strip() or default

    return Environment(
        home=_home(text("SHAMMAH_HOME", "~/.shammah")),
        no_color=bool(given.get("NO_COLOR")),
        hf_endpoint=text("HF_ENDPOINT", Environment.hf_endpoint).rstrip("/"),
        hf_token=text("HF_TOKEN"),
        hf_offline=text("HF_HUB_OFFLINE").lower() in YES,
        anthropic_key=text("ANTHROPIC_API_KEY"),
        anthropic_base_url=text("ANTHROPIC_BASE_URL", Environment.anthropic_base_url).rstrip("/"),
        editor=text("VISUAL") or text("EDITOR") or ("notepad" if os.name == "nt" else ""),
        term=text("TERM"),
    )


LOADER = {**WORKER, "HF_HUB_OFFLINE": "0"}
"""What the loader is started with; that it may not use the network is told in its request."""
FOR_THE_LOADER = re.compile(r"HF_TOKEN|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE)
"""Secrets that are needed to fetch a model, and go to no other process."""


def loader_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for the loader: as for the worker, with the hub's token and the proxies."""
    given = os.environ if environ is None else environ
    needed = {name: value for name, value in given.items() if FOR_THE_LOADER.fullmatch(name)}
    return {**worker_environment(given), **LOADER, **needed}


def worker_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for the model worker: this process's without its secrets, with telemetry off."""
    given = os.environ if environ is None else environ
    kept = {name: value for name, value in given.items() if not _secret(name, value)}
    return {**kept, **WORKER}


def _secret(name: str, value: str) -> bool:
    return bool(SECRET_NAME.search(name) or SECRET_VALUE.search(value))


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as cause:
        raise ConfigError(f"The home folder {text} is not known", hint="Set SHAMMAH_HOME to a folder") from cause
