"""Which files of a repository are fetched: the graph that holds what prepare needs, and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal

from shammah.errors import HubError
from shammah.models.protocol import ListedFile

GRAPHS = ("model_q4f16.onnx", "model_q4.onnx", "model_fp16.onnx", "model.onnx")
"""The best first. q4f16 holds the same 4-bit blocks as q4 in two thirds of the bytes; the others are quantised here.

int8, quantized, uint8 and bnb4 are not understood, and run as downloaded where a person names them.
"""
FOLDERS = ("onnx", ".")
NEEDED = ("config.json", "tokenizer.json")
WELCOME = (
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
)
GENAI = "genai_config.json"
_GENAI_FILES = re.compile(r".*\.(json|jinja|txt|model)|.*\.onnx.*", re.IGNORECASE)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_UNSTORABLE = re.compile(r'[<>:"|?*]|[ .]$')

Form = Literal["export", "genai"]


@dataclass(frozen=True)
class Selection:
    """What to fetch. `root` is the folder in the repository that holds config.json, `graph` a path from there."""

    form: Form
    root: str
    graph: str
    files: tuple[ListedFile, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def climbs(path: str) -> bool:
    """Whether a path could lead out of the folder that it is put into, on any system."""
    parts = re.split(r"[/\\]", path)
    control = any(ord(letter) < 32 for letter in path)
    return control or ".." in parts or "" in parts or "." in parts or bool(PureWindowsPath(path).drive)


def storable(path: str) -> bool:
    """Whether every system can store a file under this path, and none takes it for something else."""
    parts = path.split("/")
    odd = any(_RESERVED.fullmatch(part) or _UNSTORABLE.search(part) or len(part.encode()) > 200 for part in parts)
    # An ending of our own means a file that is not complete.
    return not odd and "\\" not in path and not path.endswith(".part") and len(path) <= 400


def select(repo: str, files: Sequence[ListedFile], wanted: str = "") -> Selection:
    """Choose the files; `wanted` is the path of the graph, or of the genai folder, that a person names.

    Raises:
        HubError: the repository holds nothing that can be run, or not what is wanted.
    """
    by_path = {PurePosixPath(file.path): file for file in files}
    graph = _wanted(repo, by_path, wanted) if wanted else _best(by_path)
    if graph is None:
        raise HubError(f"{repo} holds no model in the ONNX form{_what_else(by_path)}", hint=_other(repo))
    if graph.parent / GENAI in by_path:
        return _genai(by_path, graph.parent)
    return _export(repo, by_path, graph)


def _best(files: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """The graph to take unasked: a hub export, since prepare makes the most of it, else a genai folder for the CPU."""
    there = set(files)
    exports = [PurePosixPath(folder, name) for name in GRAPHS for folder in FOLDERS]
    if found := next((path for path in exports if path in there and path.parent / GENAI not in there), None):
        return found
    configs = sorted(path for path in there if path.name == GENAI)
    return min(configs, key=lambda path: ("cpu" not in str(path).lower(), len(path.parts), path), default=None)


def _wanted(repo: str, files: Iterable[PurePosixPath], wanted: str) -> PurePosixPath:
    there = set(files)
    named = PurePosixPath(wanted)
    for path in (named, named / GENAI, PurePosixPath("onnx") / named):
        if path in there and (path.suffix == ".onnx" or path.name == GENAI):
            return path
    graphs = sorted(str(path) for path in there if path.suffix == ".onnx" or path.name == GENAI)
    hint = f"It holds {', '.join(graphs[:12])}" if graphs else _other(repo)
    raise HubError(f"{repo} holds no model {wanted}", hint=hint)


def _export(repo: str, files: dict[PurePosixPath, ListedFile], graph: PurePosixPath) -> Selection:
    # The folder of the graph or one above it; the hub's layout has it one above.
    root = next((parent for parent in graph.parents if parent / "config.json" in files), graph.parent)
    missing = [name for name in NEEDED if root / name not in files]
    if missing:
        raise HubError(f"{repo} has no {' and no '.join(missing)} for {graph}", hint=_other(repo))
    beside = [root / name for name in NEEDED + WELCOME if root / name in files]
    # The runtime finds external data by names such as X.onnx_data, X.onnx_data_1 and X.onnx.data.
    data = [path for path in files if path.parent == graph.parent and _is_data(path.name, graph.name)]
    chosen = tuple(files[path] for path in [*beside, graph, *sorted(data)])
    return Selection("export", _text(root), str(graph.relative_to(root)), chosen)


def _is_data(name: str, graph: str) -> bool:
    return name.startswith(graph) and "data" in name.removeprefix(graph)


def _genai(files: dict[PurePosixPath, ListedFile], folder: PurePosixPath) -> Selection:
    beside = sorted(path for path in files if path.parent == folder and _GENAI_FILES.fullmatch(path.name))
    return Selection("genai", _text(folder), GENAI, tuple(files[path] for path in beside))


def _text(folder: PurePosixPath) -> str:
    return "" if folder == PurePosixPath(".") else str(folder)


def _what_else(files: Iterable[PurePosixPath]) -> str:
    endings = {path.suffix for path in files}
    found = [words for ending, words in ((".safetensors", "safetensors"), (".gguf", "GGUF")) if ending in endings]
    return f", only {' and '.join(found)}" if found else ""


def _other(repo: str) -> str:
    name = repo.rpartition("/")[2]
    return f"onnx-community/{name} may hold it; shammah models list shows repositories that do"
