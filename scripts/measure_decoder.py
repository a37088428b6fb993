"""Load one prepared or downloaded model in a fresh process and measure it; prints one JSON object.

python -m scripts.measure_decoder FOLDER THREADS PROMPT_TOKENS ANSWER_TOKENS ROUNDS
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
from shammah.worker.generation import Decoder
from shammah.worker.sampling import Sampler, Sampling

WARM_UP = 4
"""Tokens of the answer to the first prompt, which is not counted."""


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    threads, prompt_tokens, answer_tokens, rounds = map(int, sys.argv[2:6])
    began = time.perf_counter()
    decoder = Decoder(folder, prompt_tokens + answer_tokens + 64, threads)
    load = time.perf_counter() - began
    prompt = [300 + number * 7919 % 3000 for number in range(prompt_tokens)]
    one_round(decoder, prompt, WARM_UP)
    taken = [one_round(decoder, prompt, answer_tokens) for _ in range(rounds)]
    figures = {
        "load_s": load,
        "prefill": statistics.median(prefill for prefill, _ in taken),
        "decode": statistics.median(decode for _, decode in taken),
        "peak_bytes": peak_memory(),
    }
    print(json.dumps(figures))


def one_round(decoder: Decoder, prompt: list[int], count: int) -> tuple[float, float]:
    """Read the prompt and answer greedily; tokens per second of both."""
    decoder.forget()
    began = time.perf_counter()
    decoder.read(prompt, lambda _done: True)
    tokens = decoder.generate(Sampler(Sampling(), None, prompt), frozenset())
    next(tokens)
    read = time.perf_counter()
    for _ in range(count):
        next(tokens)
    ended = time.perf_counter()
    tokens.close()
    return len(prompt) / (read - began), count / (ended - read)


if __name__ == "__main__":
    main()
