"""Where a model can run on this machine: the execution providers that are really there, and how genai is told of one.

Being installed says little, and what genai's `is_webgpu_available()` says nothing: a package may find no device, and
two packages may have overwritten each other. So the libraries are asked, in a process of their own, since a driver
that crashes or hangs must not take the worker along.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from shammah.environment import worker_environment
from shammah.local.trial import COMMAND, Heard, ask

LOOK_LIMIT = 30.0
"""Seconds that the libraries may take to name their devices."""


@dataclass(frozen=True)
class Provider:
    """One place to run: `ep` as onnxruntime calls it, `genai` as genai's Config does ("" the CPU, always there).

    `library` is the plug-in to register first; `device` names the hardware where the runtime tells.
    """

    name: str
    ep: str
    genai: str = ""
    library: str = ""
    device: str = ""

    @property
    def title(self) -> str:
        """The name as a person writes it."""
        return TITLES.get(self.name, self.name)


@dataclass(frozen=True)
class Absent:
    """A provider that cannot be used here: why, and what would change that."""

    name: str
    why: str
    hint: str


@dataclass(frozen=True)
class Loaded:
    """A model in memory, and where it runs as the model itself tells; `note` says why it is not where it was wanted."""

    model: og.Model
    provider: Provider
    device: str
    note: str = ""


CPU = Provider("cpu", "CPUExecutionProvider")

TITLES = {"cpu": "The CPU", "cuda": "CUDA", "webgpu": "WebGPU", "coreml": "CoreML", "directml": "DirectML"}

_EP = {"cuda": "CUDAExecutionProvider", "webgpu": "WebGpuExecutionProvider", "directml": "DmlExecutionProvider"}
_GENAI = {"cuda": "cuda", "webgpu": "WebGPU", "directml": "DML"}
_PACKAGE = {
    "cuda": "onnxruntime-genai-cuda",
    "webgpu": "onnxruntime-ep-webgpu",
    "directml": "onnxruntime-genai-directml",
}
_PLUG_IN = "onnxruntime_providers_webgpu"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-genai", *_PACKAGE.values())
"""Every package that decides where a model can run."""


def available(backend: str, places: Sequence[Provider | Absent]) -> list[Provider]:
    """Those of the surveyed places that can be tried for `local.backend`, the CPU always among them and first."""
    found = [place for place in places if isinstance(place, Provider)]
    return [place for place in found if backend == "auto" or place.name in (backend, "cpu")]


def missing(backend: str, places: Sequence[Provider | Absent]) -> str:
    """One sentence on why the provider that was asked for is not there; "" where none was asked for."""
    for place in places:
        if isinstance(place, Absent) and place.name == backend:
            return f"{TITLES[backend]} cannot be used: {place.why}. {place.hint}."
    return ""


def survey(command: Sequence[str] = COMMAND) -> list[Provider | Absent]:
    """Every provider there is a setting for, as it stands here; starts no process on a plain installation."""
    versions = installed()
    there = [name for name, package in _PACKAGE.items() if package in versions]
    task = {"kind": "look", "libraries": _libraries()}
    heard = ask(task, LOOK_LIMIT, worker_environment(), command) if there else Heard([], "")
    others = [_found(name, heard) if name in there else _not_installed(name) for name in _PACKAGE]
    return [CPU, *others, _coreml()]


def installed() -> dict[str, str]:
    """The versions of those packages of PACKAGES that are installed."""
    from importlib import metadata  # Late: it takes a twentieth of a worker's start, and a model on the CPU needs none.

    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def configured(folder: Path, provider: Provider, session: Mapping[str, object]) -> og.Config:
    """genai's settings for the model in `folder` on this provider and no other; `session` goes to its session options.

    Raises:
        RuntimeError: genai_config.json is not as genai wants it, or the plug-in cannot be loaded.
    """
    config = og.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": dict(session)}}}))
    config.clear_providers()
    if provider.library:
        _register(provider)
    if provider.genai:
        config.append_provider(provider.genai)
    return config


def load(folder: Path, provider: Provider, session: Mapping[str, object]) -> Loaded:
    """The model on this provider, or, where that fails, on the CPU with one sentence that says so.

    Raises:
        RuntimeError: it cannot be loaded on the CPU either.
    """
    if provider.name == "cpu":
        return _load(folder, CPU, session)
    try:
        return _load(folder, provider, session)
    except RuntimeError as cause:
        note = f"{provider.title} could not load the model, so the CPU runs it: {first_line(cause)}"
        cpu = _load(folder, CPU, session)
        return Loaded(cpu.model, CPU, cpu.device, note)


def first_line(cause: object) -> str:
    """A runtime's message without its stack."""
    return str(cause).strip().split("\n", 1)[0].strip()


def _load(folder: Path, provider: Provider, session: Mapping[str, object]) -> Loaded:
    model = og.Model(configured(folder, provider, session))
    device = str(model.device_type).lower()
    if provider.genai and device == "cpu":
        raise RuntimeError("the model it loaded says that it runs on the CPU")
    return Loaded(model, provider, device)


def _register(provider: Provider) -> None:
    try:
        og.register_execution_provider_library(provider.ep, provider.library)
    except RuntimeError as cause:
        # The runtime keeps a library for as long as the process lives.
        if "already" not in str(cause):
            raise


def _libraries() -> dict[str, str]:
    """Plug-ins to register, by the provider's name in onnxruntime; found without importing the package."""
    from importlib import metadata

    try:
        files = metadata.distribution(_PACKAGE["webgpu"]).files or []
    except metadata.PackageNotFoundError:
        return {}
    library = next((str(file.locate()) for file in files if file.stem.removeprefix("lib") == _PLUG_IN), "")
    return {_EP["webgpu"]: library} if library else {}


def _found(name: str, heard: Heard) -> Provider | Absent:
    if heard.trouble:
        return Absent(name, f"asked for its devices, {heard.trouble}", "Update the driver, or uninstall the package")
    if error := (heard.find("refused") or {}).get(_EP[name]):
        return Absent(name, f"its library does not load: {first_line(error)}", f"Reinstall {_PACKAGE[name]}")
    if name != "webgpu" and heard.find("genai") != _PACKAGE[name]:
        return Absent(name, f"another package lies over {_PACKAGE[name]}", "docs/providers.md tells how to install it")
    if name != "webgpu" and _EP[name] not in heard.find("providers"):
        return Absent(name, "this onnxruntime was built without it", "docs/providers.md tells how to install it")
    devices = [device for device in heard.find("devices") if device["ep"] == _EP[name]]
    if name == "webgpu" and not devices:
        return Absent(name, "no graphics device is found", "Install the driver of the graphics card, on Linux Vulkan's")
    library = _libraries().get(_EP[name], "") if name == "webgpu" else ""
    return Provider(name, _EP[name], _GENAI[name], library, _device(devices))


def _device(devices: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({device["text"] for device in devices}))


def _not_installed(name: str) -> Absent:
    return Absent(name, f"{_PACKAGE[name]} is not installed", f'pip install "shammah[{name}]", see docs/providers.md')


def _coreml() -> Absent:
    if sys.platform != "darwin":
        return Absent("coreml", "it is part of macOS only", "local.backend auto does without it")
    why = "it has no kernels for 4-bit weights and grouped attention, so all work would stay on the CPU"
    return Absent("coreml", why, "Try WebGPU, which reaches the same graphics processor")
