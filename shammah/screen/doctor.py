"""What works on this machine, what does not, and the next step."""

from __future__ import annotations

import os
from pathlib import Path

from shammah import __version__, machine
from shammah.models import store
from shammah.models.machine import memory
from shammah.paths import STARTER, Home
from shammah.screen.rows import Rows

PACKAGES = (
    "onnxruntime",
    "onnxruntime-genai",
    "onnx",
    "huggingface-hub",
    "anthropic",
    "httpx2",
    "numpy",
    "tokenizers",
    "jinja2",
    "prompt-toolkit",
)
_HUB_S = 20.0
"""Seconds to wait for the hub, the start of the process that asks it among them."""


def findings(folder: Path, endpoint: str, model: Path, claude: str) -> Rows:
    """What works, what does not, and the next step for each.

    `endpoint` is the hub to ask whether it answers, "" where it may not be asked; `model` the folder in use; `claude`
    tells of the key and when it is used.
    """
    import platform  # Late: this report alone needs it.

    from shammah.environment import worker_environment
    from shammah.local.providers import provider_rows

    return [
        ("shammah", __version__),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *((name, _version(name)) for name in PACKAGES),
        ("memory", str(memory())),
        ("processors", _processors()),
        ("starter", "ready to load" if (STARTER / "model.onnx").is_file() else "missing: install shammah again"),
        *provider_rows(model, worker_environment()),
        *(("model", f"{found.repo}, {found.bytes / 1e6:,.0f} MB") for found in store.stored(Home(folder).models)),
        ("hub", _hub(endpoint)),
        ("claude", claude),
        ("folder", _folder(Home(folder))),
    ]


def _hub(endpoint: str) -> str:
    from shammah.environment import loader_environment  # Late: this report alone needs them.
    from shammah.local.trial import ask
    from shammah.pipes import command

    if not endpoint:
        return "not asked: local mode, local.fetch is false, or HF_HUB_OFFLINE is set"
    # As the loader asks: other libraries look for certificates elsewhere, on macOS in vain.
    heard = ask({"endpoint": endpoint}, _HUB_S, loader_environment(), command("shammah.loader.reach"))
    said = heard.find("hub")
    return str(said) if said else f"{endpoint} does not answer: {heard.trouble}; check the network, or HF_ENDPOINT"


def _version(name: str) -> str:
    from importlib import metadata  # Late: it brings email and zipfile, a tenth of the start.

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"missing: pip install {name}"


def _processors() -> str:
    physical, logical = machine.processors()
    return f"{physical or '?'} physical, {logical or '?'} logical"


def _folder(home: Home) -> str:
    if not home.folder.exists():
        return f"{home.folder} is made with the first question"
    if not os.access(home.folder, os.W_OK):
        return f"{home.folder} cannot be written to: change its rights, or set SHAMMAH_HOME to another folder"
    return f"{home.folder} is there and can be written to"
