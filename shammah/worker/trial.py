"""`python -m shammah.worker.trial`: one question about execution providers, answered in a process that may die of it.

Task     one JSON object on standard input: kind "look", "run", "assign" or "report", and `limit` in seconds
Replies  lines on standard output, a mark and a JSON object each; "error" is the last where it failed

A run reads PROMPT tokens of a plain text and writes WRITTEN more. Told `tokens`, it writes those instead of its own, so
that one early difference does not make all later places differ; `tops` are its own choices in any case.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import onnxruntime_genai as og
from numpy.typing import NDArray

from shammah.local.trial import MARK
from shammah.pipes import private_stdout
from shammah.worker.contest import report
from shammah.worker.generation import SLICE
from shammah.worker.prefix import slices
from shammah.worker.providers import Provider, configured
from shammah.worker.text import Text

PROMPT = 256
WRITTEN = 24
NEAR = 0.5
"""Logits within this of the highest count as right too: rounding differs between processors, and decides such ties."""
PASSAGE = """\
A river begins where water gathers faster than the ground can take it in. High in the hills that is a spring, or the
edge of melting snow; lower down a dozen brooks have joined, and the stream is wide enough to carry a boat. It cuts
into the outer side of every bend and leaves sand on the inner one, so that the bends wander slowly across the plain.
Towns were built where it could be crossed, mills where it fell, and harbours where it met the sea. In dry years people
counted the days until rain; in wet ones they watched the marks on the bridge, where each flood had its line and date.
"""
HEAVY = ("MatMul", "MatMulNBits", "GroupQueryAttention", "MultiHeadAttention", "Attention", "Gemm")
"""Operations that nearly all of the time goes into."""


def main() -> int:
    """Carry out the one task on standard input."""
    replies = private_stdout()
    task = json.loads(sys.stdin.buffer.readline())
    # Ends this process even where a library holds the interpreter, and where the parent was killed.
    faulthandler.dump_traceback_later(float(task["limit"]) + 10, exit=True)
    try:
        for reply in _answers(task):
            replies.write(MARK + json.dumps(reply).encode("ascii") + b"\n")
            replies.flush()
    except Exception as cause:  # The edge of the process: a library's error becomes a reply.
        replies.write(MARK + json.dumps({"error": str(cause).strip().split("\n", 1)[0]}).encode("ascii") + b"\n")
    replies.flush()
    # Some drivers crash when they are unloaded, long after all is said.
    os._exit(0)


def _answers(task: Mapping[str, Any]) -> Any:
    match task["kind"]:
        case "look":
            return _look(task["libraries"])
        case "run":
            return _run(task)
        case "assign":
            return _assign(Path(task["folder"]), Provider(**task["provider"]))
        case "report":
            return [{"rows": report(Path(task["folder"]))}]
        case other:
            raise ValueError(f"there is no task {other}")


def _look(libraries: Mapping[str, str]) -> Any:
    refused = {}
    for ep, library in libraries.items():
        try:
            ort.register_execution_provider_library(ep, library)
        except Exception as cause:  # The library raises classes of its own that share no base.
            refused[ep] = str(cause)
    devices = [{"ep": found.ep_name, "text": _describe(found)} for found in ort.get_ep_devices()]
    yield {
        "genai": og.__id__,
        "providers": ort.get_available_providers(),
        "devices": devices,
        "refused": refused,
    }


def _describe(found: Any) -> str:
    kind = str(found.device.type).rpartition(".")[2]
    facts = dict(found.device.metadata)
    name = facts.get("Description") or f"{found.device.vendor} {found.device.vendor_id:x}:{found.device.device_id:x}"
    return f"{name} ({kind})"


def _run(task: Mapping[str, Any]) -> Any:
    folder, provider = Path(task["folder"]), Provider(**task["provider"])
    context = min(int(task["context"]), _settings(folder)["model"]["context_length"])
    prompt = _prompt(folder, min(PROMPT, context - WRITTEN - 1))
    yield {"stage": "loading the model"}
    model = og.Model(configured(folder, provider, {"intra_op_num_threads": task["threads"]}))
    yield {"device": str(model.device_type), "stage": "reading the first tokens"}
    _warm_up(_generator(model, context), prompt)
    yield {"stage": "reading"}
    generator = _generator(model, context)
    started = time.perf_counter()
    rows = [_read(generator, prompt)]
    read = time.perf_counter()
    yield {"read": len(prompt) / (read - started), "stage": "writing"}
    given: list[int] = []
    for place in range(WRITTEN):
        given.append(task["tokens"][place] if task.get("tokens") else _top(rows[-1]))
        rows.append(_append(generator, given[-1:]))
    yield {"write": WRITTEN / (time.perf_counter() - read), "stage": "going back"}
    generator.rewind_to(len(prompt))
    again = _top(_append(generator, given[:1]))
    tops = [_top(row) for row in rows]
    yield {"tokens": given, "tops": tops, "near": [_near(row) for row in rows], "rewinds": again == tops[1]}


def _warm_up(generator: og.Generator, prompt: Sequence[int]) -> None:
    """Let the driver compile what it needs, for a slice and for a single token."""
    _append(generator, prompt[:SLICE])
    _append(generator, prompt[:1])


def _generator(model: og.Model, context: int) -> og.Generator:
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=context, do_sample=False)
    return og.Generator(model, parameters)


def _read(generator: og.Generator, prompt: Sequence[int]) -> NDArray[np.float32]:
    row = np.empty(0, np.float32)
    for start, stop in slices(0, len(prompt), SLICE):
        row = _append(generator, prompt[start:stop])
    return row


def _append(generator: og.Generator, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Run the tokens; the logits of the last."""
    generator.append_tokens(np.array(tokens, dtype=np.int32))
    return np.array(generator.get_logits()[0, -1], dtype=np.float32)


def _top(row: NDArray[np.float32]) -> int:
    """The most likely token; -1 where a logit is not a number, which no provider agrees with."""
    return int(row.argmax()) if np.isfinite(row).all() else -1


def _near(row: NDArray[np.float32]) -> list[int]:
    return [int(token) for token in np.flatnonzero(row >= row.max() - NEAR)[:64]]


def _prompt(folder: Path, length: int) -> list[int]:
    ids: list[int] = []
    passage = Text(folder).encode(PASSAGE)
    while len(ids) < length:
        ids += passage
    return ids[:length]


def _assign(folder: Path, provider: Provider) -> Any:
    """Who runs the heavy operations, as a session of this graph tells after it was made."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if provider.library:
        ort.register_execution_provider_library(provider.ep, provider.library)
    if devices := [found for found in ort.get_ep_devices() if found.ep_name == provider.ep][:1]:
        options.add_provider_for_devices(devices, {})
        session = ort.InferenceSession(str(_graph(folder)), options)
    else:
        session = ort.InferenceSession(str(_graph(folder)), options, providers=[provider.ep, "CPUExecutionProvider"])
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += sum(node.op_type in HEAVY for node in part.get_nodes())
    yield {"assigned": dict(counts)}


def _graph(folder: Path) -> Path:
    return folder / str(_settings(folder)["model"]["decoder"]["filename"])


def _settings(folder: Path) -> Any:
    return json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
