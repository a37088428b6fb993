"""Take a worker's steps from its start to the first token in this process; prints one JSON object of seconds.

python -m scripts.measure_start FOLDER CONTEXT THREADS QUESTION STARTED

STARTED is the time (seconds since 1970) at which this process was started.
"""

from __future__ import annotations

import sys
import time

LINE = time.time()

import json
import os
from itertools import pairwise
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Before the runtime is imported: later is too late.

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Measure and print."""
    folder, context, threads, question = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    times = [("", float(sys.argv[5])), ("python", LINE)]

    import shammah.worker.service  # noqa: F401 (with all that it needs itself)
    from shammah.message import Message
    from shammah.worker.generation import Decoder
    from shammah.worker.sampling import Sampler, Sampling, model_defaults
    from shammah.worker.template import ChatTemplate
    from shammah.worker.text import Text

    times.append(("imports", time.time()))
    _, stops = model_defaults(folder)
    text = Text(folder)
    template = ChatTemplate(folder, text)
    times.append(("tokenizer", time.time()))
    decoder = Decoder(folder, context, threads)
    times.append(("model", time.time()))
    prompt = template.encode([Message("user", question)])
    decoder.read(prompt, lambda _done: True)
    times.append(("prompt", time.time()))
    stream = text.stream()
    for token in decoder.generate(Sampler(Sampling(), None, prompt), stops):
        if stream.add(token):
            break
    times.append(("token", time.time()))
    print(json.dumps({name: after - before for (_, before), (name, after) in pairwise(times)}))


if __name__ == "__main__":
    main()
