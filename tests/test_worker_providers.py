"""Which provider runs the model: what is there, the contest with providers that fail on purpose, what is remembered."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from shammah.environment import worker_environment
from shammah.local.protocol import Failed, Generate, Load, Reply
from shammah.local.trial import ask
from shammah.message import Message, Options
from shammah.worker import contest as contests
from shammah.worker.contest import Contest, Lost, Ran, choose, contest, lost_later, report
from shammah.worker.inbox import Inbox
from shammah.worker.providers import CPU, Absent, Provider, available, installed, load, missing, survey
from shammah.worker.remembered import FILE, digest, forget
from shammah.worker.service import Service

RIVAL = Path(__file__).with_name("rival.py")
THREADS, CONTEXT = 1, 1024
WAYS = ("crash", "wrong", "elsewhere", "fast")
PATIENCE = 600.0
"""Seconds for what must end well: only a machine that is busy with other work needs them."""


def rival(way: str) -> Provider:
    return Provider(way, f"{way}ExecutionProvider", way)


def rivals_command(provider: Provider) -> Sequence[str]:
    return contests.own(provider) if provider.name in ("cpu", "webgpu") else (sys.executable, str(RIVAL), provider.name)


def held(folder: Path, *rivals: Provider, limit: float = PATIENCE, asked: str = "auto") -> Contest:
    return contest(folder, [CPU, *rivals], THREADS, CONTEXT, asked=asked, limit=limit, command=rivals_command)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins are started by their path and import shammah from the checkout."""
    monkeypatch.setenv("PYTHONPATH", str(RIVAL.parents[1]))


@pytest.fixture
def model(starter: Path, tmp_path: Path) -> Path:
    """A copy of the starter that may be written to."""
    return Path(shutil.copytree(starter, tmp_path / "model"))


@pytest.fixture(scope="module")
def many(starter: Path) -> Contest:
    """One contest with all the providers that fail on purpose, and a fast one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(RIVAL.parents[1]))
        return held(starter, *map(rival, WAYS))


def result(of: Contest, name: str) -> Ran | Lost:
    return next(result for result in of.results if result.provider.name == name)


def test_the_cpu_is_always_there_and_first() -> None:
    assert survey()[0] == CPU
    assert available("cpu", [CPU]) == [CPU]


@pytest.mark.skipif(len(installed()) > 2, reason="another runtime package is installed")
def test_what_is_not_installed_is_said_with_the_next_step() -> None:
    said = missing("webgpu", survey())
    assert said.startswith("WebGPU cannot be used: onnxruntime-ep-webgpu is not installed")
    assert 'pip install "shammah[webgpu]"' in said


def test_a_machine_with_the_cpu_only_takes_no_contest(model: Path) -> None:
    assert choose(model, "auto", THREADS, CONTEXT, look=lambda: [CPU]).results == ()
    assert not (model / FILE).exists()


def test_a_provider_that_was_asked_for_and_is_not_there_leaves_the_cpu_and_says_so(model: Path) -> None:
    chosen = choose(model, "cuda", THREADS, CONTEXT, look=lambda: [CPU, Absent("cuda", "it is away", "Bring it")])
    assert (chosen.winner, chosen.why) == (CPU, "CUDA cannot be used: it is away. Bring it.")


def test_an_installed_plug_in_that_does_not_load_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Path("onnxruntime_ep_webgpu") / "libonnxruntime_providers_webgpu.so"
    for path, text in (
        (library, "no library"),
        (Path("onnxruntime_ep_webgpu-0.0.1.dist-info") / "METADATA", "Name: onnxruntime-ep-webgpu\nVersion: 0.0.1\n"),
        (Path("onnxruntime_ep_webgpu-0.0.1.dist-info") / "RECORD", f"{library.as_posix()},,\n"),
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = missing("webgpu", survey())
    assert said.startswith("WebGPU cannot be used: its library does not load:")


def test_libraries_that_crash_when_they_are_asked_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "onnxruntime_genai_cuda-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: onnxruntime-genai-cuda\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    places = survey((sys.executable, str(RIVAL), "crash"))
    assert available("auto", places) == [CPU]
    assert "its process ended with status 139" in missing("cuda", places)


def test_the_fastest_with_the_right_tokens_wins(many: Contest) -> None:
    assert many.winner == rival("fast")
    assert many.why.startswith("fast is the fastest here and reads")


def test_the_cpu_agrees_with_itself_at_every_place(many: Contest) -> None:
    cpu = result(many, "cpu")
    assert isinstance(cpu, Ran)
    assert cpu.agreement == 1.0


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("crash", "its process ended with status 139 (reading)"),
        ("wrong", "it gives wrong tokens: right at "),
        ("elsewhere", "it runs only 1 of the 38 heavy operations"),
    ],
)
def test_a_provider_that_fails_loses_whatever_its_speed_and_the_reason_is_said(
    many: Contest, way: str, why: str
) -> None:
    lost = result(many, way)
    assert isinstance(lost, Lost)
    assert lost.why.startswith(why)
    assert f"{way} is not used: {why}" in many.why


def test_a_provider_that_hangs_is_ended_at_its_limit() -> None:
    heard = ask({"kind": "run"}, 2.0, worker_environment(), rivals_command(rival("hang")))
    assert heard.trouble == "it was not done after 2 s"


def test_a_provider_that_hangs_is_ended_with_what_it_started_and_nobody_waits_for_what_is_out_of_reach() -> None:
    began = time.monotonic()
    heard = ask({"kind": "run"}, 2.0, worker_environment(), rivals_command(rival("children")))
    try:
        assert time.monotonic() - began < 30
        assert heard.trouble == "it was not done after 2 s"
        inside, _ = (psutil.Process(pid) if psutil.pid_exists(pid) else None for pid in heard.find("pids"))
        assert os.name == "nt" or inside is None or inside.status() == psutil.STATUS_ZOMBIE
    finally:
        for pid in heard.find("pids"):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def test_a_library_that_does_not_load_leaves_the_cpu(starter: Path, tmp_path: Path) -> None:
    library = tmp_path / "provider.so"
    library.write_text("no library")
    broken = Provider("webgpu", "WebGpuExecutionProvider", "WebGPU", str(library))

    of = held(starter, broken)

    assert of.winner == CPU
    assert "WebGPU is not used: " in of.why
    loaded = load(starter, broken, {"intra_op_num_threads": THREADS})
    assert (loaded.provider, loaded.device) == (CPU, "cpu")
    assert loaded.note.startswith("WebGPU could not load the model, so the CPU runs it: ")
    assert "\n" not in loaded.note


def test_a_provider_that_was_asked_for_need_not_be_the_fastest() -> None:
    cpu, slow = Ran(CPU, 200, 50, 1), Ran(rival("fast"), 20, 5, 1)
    assert min((cpu, slow), key=lambda ran: contests.rank(ran, "auto")) == cpu
    assert min((cpu, slow), key=lambda ran: contests.rank(ran, "fast")) == slow


def test_the_outcome_is_remembered_until_it_is_forgotten(model: Path) -> None:
    def chosen() -> Contest:
        look = lambda: [CPU, rival("crash")]  # noqa: E731
        return choose(model, "auto", THREADS, CONTEXT, look, rivals_command)

    first, second = chosen(), chosen()
    assert (len(first.results), second.results) == (2, ())
    assert (second.winner, second.why) == (first.winner, first.why)
    assert ("provider", first.why) in report(model)
    forget(model)
    assert not (model / FILE).exists()


def test_another_model_in_the_folder_is_another_contest(model: Path) -> None:
    before = digest(model)
    with (model / "model.onnx").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert digest(model) != before


def test_a_provider_that_fails_in_an_answer_is_not_taken_again(model: Path) -> None:
    look = lambda: [CPU, rival("fast")]  # noqa: E731
    said = lost_later(model, rival("fast"), "auto", THREADS, "the device is lost\nstack", look)
    assert said == "fast failed in an answer, so the CPU runs the model: the device is lost"
    assert choose(model, "auto", THREADS, CONTEXT, look, rivals_command).winner == CPU


def test_a_provider_that_fails_where_the_cpu_fails_too_is_told_and_ends_the_worker(model: Path) -> None:
    replies: list[Reply] = []
    inbox = Inbox()
    service = Service(replies.append, inbox)
    service.carry_out(Load(1, str(model), CONTEXT, THREADS))
    # Without a graphics card, the CPU's model has to pass for another provider's.
    service._model.decoder.provider = rival("fast")  # type: ignore[union-attr]
    (model / "model.onnx").unlink()
    inbox.put(Generate(2, [Message("user", "Hello")], Options(temperature="no number")))  # type: ignore[arg-type]
    serving = threading.Thread(target=service.serve, daemon=True)
    serving.start()
    serving.join(30)
    assert not serving.is_alive()
    told = replies[-1]
    assert isinstance(told, Failed)
    assert (told.request, told.fatal) == (2, True)
    assert told.message.startswith("The model in model cannot be loaded")
    assert told.hint


def software_webgpu(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """The plug-in on a software Vulkan driver."""
    if "onnxruntime-ep-webgpu" not in installed():
        pytest.skip("onnxruntime-ep-webgpu is not installed")
    monkeypatch.setenv("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1")
    found = [place for place in available("webgpu", survey()) if place.name == "webgpu"]
    if not found or "(CPU)" not in found[0].device:
        pytest.skip("no software Vulkan driver, or a graphics card is there")
    return found[0]


def test_webgpu_on_a_software_driver_loses(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = held(starter, software_webgpu(monkeypatch), limit=25.0)
    assert of.winner == CPU
    assert "WebGPU" in of.why


@pytest.mark.slow
def test_webgpu_on_a_software_driver_gives_the_right_tokens(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = held(starter, software_webgpu(monkeypatch), limit=3600.0)
    ran = result(of, "webgpu")
    assert isinstance(ran, Ran), ran
    assert of.winner == CPU
