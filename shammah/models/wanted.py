"""Which model the settings ask for: by size, by repository, by folder, or the best that fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shammah.config import Local
from shammah.errors import ModelError
from shammah.models import catalog
from shammah.models.store import is_repository


@dataclass(frozen=True)
class Automatic:
    """The largest of the family that fits this machine."""

    variant: str


@dataclass(frozen=True)
class Source:
    """A repository on the hub or a folder with an export, which the loader brings to a folder that can be loaded."""

    name: str
    repo: str
    file: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder that can be loaded as it is."""

    name: str
    path: Path


Wanted = Automatic | Source | Folder


def wanted(local: Local) -> Wanted | None:
    """What the settings ask for; None for the starter alone.

    Raises:
        ModelError: `local.repo` is neither a repository's name nor a folder with a model.
    """
    if local.repo:
        return None if local.repo == "starter" else named(local.repo, local.file, local.variant)
    if local.size == "starter":
        return None
    return Automatic(local.variant) if local.size == "auto" else named(local.size, "", local.variant)


def named(name: str, file: str = "", variant: str = "instruct") -> Source | Folder:
    """The model that a person names: a size, a repository, or a folder.

    Raises:
        ModelError: it is none of these.
    """
    if name.lower() in catalog.SIZES:
        found = catalog.find(name.lower(), variant)
        return Source(found.name, found.repo, file)
    if folder := _folder(name):
        return Folder(folder.name, folder) if (folder / "genai_config.json").is_file() else _export(folder, file)
    if is_repository(name):
        return Source(name.partition("/")[2], name, file)
    raise ModelError(
        f"There is no model {name}: it is no size, no repository OWNER/NAME and no folder with a model",
        hint=f"Name one of starter, {', '.join(catalog.SIZES)}, a repository, or a folder",
    )


def settings_for(name: str) -> dict[str, str]:
    """The settings that make this model the one that answers.

    Raises:
        ModelError: there is no such model.
    """
    if name.lower() in ("starter", "auto", *catalog.SIZES):
        return {"local.repo": "", "local.size": name.lower()}
    found = named(name)
    return {"local.repo": str(found.path) if isinstance(found, Folder) else found.repo}


def licence_remark(name: str, variant: str) -> str:
    """What must be said before a model of the family is fetched; "" where its licence allows any use."""
    if name.lower() not in catalog.SIZES:
        return ""
    found = catalog.find(name.lower(), variant)
    return f"The licence of {found.name}: {found.licence}." if found.research_only else ""


def _folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # Too long a name, a zero byte in it, the ~name of nobody here.
        return None


def _export(folder: Path, file: str) -> Source:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"There is no model in {folder}: it holds neither genai_config.json nor config.json",
            hint="Name the folder of a model, a repository, or a size",
        )
    return Source(folder.name, str(folder), file)
