"""Read one prompt in slices of several lengths, in turn, with one model; prints one JSON object.

python -m scripts.measure_slices FOLDER THREADS PROMPT_TOKENS ROUNDS LENGTH...

The lengths ascend: the peak of each is then told by the first time it was tried.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Before the runtime is imported: later is too late.

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.peak_memory import peak_memory
from shammah.worker import generation


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    threads, prompt_tokens, rounds, *lengths = map(int, sys.argv[2:])
    decoder = generation.Decoder(folder, prompt_tokens + 64, threads)
    prompt = [300 + number * 7919 % 3000 for number in range(prompt_tokens)]
    peaks = {}
    for length in lengths:  # This round warms up, too.
        one_round(decoder, prompt, length)
        peaks[length] = peak_memory()
    taken = [{length: one_round(decoder, prompt, length) for length in lengths} for _ in range(rounds)]
    medians = {length: statistics.median(one[length] for one in taken) for length in lengths}
    print(json.dumps([{"length": n, "prefill": medians[n], "peak_bytes": peaks[n]} for n in lengths]))


def one_round(decoder: generation.Decoder, prompt: list[int], length: int) -> float:
    """Tokens per second."""
    generation.SLICE = length
    decoder.forget()
    began = time.perf_counter()
    decoder.read(prompt, lambda _done: True)
    return len(prompt) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
