"""Which model the settings ask for: by size, by repository, by folder, or the best that fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shammah.config import Local
from shammah.errors import ModelError
from shammah.models import catalog, names
from shammah.models.names import Name
from shammah.models.store import is_repository

LONGEST = 40
"""Characters of a name that is no model's, as it is shown again."""


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
    return named(local.repo, local.file) if local.repo else _of_family(Name(local.size, local.variant), "")


def named(name: str, file: str = "") -> Wanted | None:
    """The model that a person names: one of the family, a repository, or a folder; None for the starter.

    Args:
        name: What was typed.
        file: The graph in a repository or a folder, "" for the best there is.

    Raises:
        ModelError: it names no model.
    """
    name = _bare(name)
    if said := _said(name):
        return _of_family(said, file)
    return _elsewhere(name, file)


def settings_for(name: str) -> dict[str, str]:
    """The settings that make this model the one that answers.

    Raises:
        ModelError: there is no such model.
    """
    name = _bare(name)
    if said := _said(name):
        variant = {} if said.size == "starter" else {"local.variant": said.variant}
        return {"local.repo": "", "local.size": said.size or "auto", **variant}
    found = _elsewhere(name, "")
    return {"local.repo": str(found.path) if isinstance(found, Folder) else found.repo}


def licence_remark(name: str) -> str:
    """What must be said before a model of the family is fetched; "" where its licence allows any use."""
    said = _said(_bare(name))
    if said is None or said.size not in catalog.SIZES:
        return ""
    found = catalog.find(said.size, said.variant)
    return f"The licence of {found.name}: {found.licence}." if found.research_only else ""


def _bare(name: str) -> str:
    """A name without the quotes that Windows copies a path with."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _said(name: str) -> Name | None:
    """What a name says of the family; a folder with a model goes before all but the settings' own words."""
    said = names.read(name)
    if said is None or name.lower() in names.SETTINGS:
        return said
    folder = _folder(name)
    return None if folder and (_loads(folder) or _can_be_prepared(folder)) else said


def _of_family(said: Name, file: str) -> Wanted | None:
    if said.size == "starter":
        return None
    if said.size not in catalog.SIZES:
        return Automatic(said.variant)
    found = catalog.find(said.size, said.variant)
    return Source(found.name, found.repo, file)


def _elsewhere(name: str, file: str) -> Source | Folder:
    """What is named outside the family: a folder, or a repository."""
    if folder := _folder(name):
        return Folder(folder.name, folder) if _loads(folder) else _export(folder, file)
    if is_repository(name):
        return Source(name.partition("/")[2], name, file)
    shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}…"
    raise ModelError(
        f"There is no model {shown}: it is no size, no repository OWNER/NAME and no folder with a model",
        hint=_instead(name),
    )


def _instead(name: str) -> str:
    if near := names.suggestions(name):
        return f"Did you mean {' or '.join(near)}?"
    sizes = ", ".join(catalog.SIZES)
    return f"Name one of starter, auto, {sizes}, with coder after a size for code; or a repository, or a folder"


def _folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # Too long a name, a zero byte in it, the ~name of nobody here.
        return None


def _loads(folder: Path) -> bool:
    return (folder / "genai_config.json").is_file()


def _can_be_prepared(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _export(folder: Path, file: str) -> Source:
    if not _can_be_prepared(folder):
        raise ModelError(
            f"There is no model in {folder}: it holds neither genai_config.json nor config.json",
            hint="Name the folder of a model, a repository, or a size",
        )
    return Source(folder.name, str(folder), file)
