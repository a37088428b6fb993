"""The same measurement for llama.cpp: run by a Python that has llama-cpp-python; needs nothing of this project.

python scripts/measure_llama.py MODEL.gguf THREADS PROMPT_TOKENS ANSWER_TOKENS ROUNDS
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import llama_cpp
from peak_memory import peak_memory

WARM_UP = 4
"""Tokens of the answer to the first prompt, which is not counted."""


def main() -> None:
    """Measure and print."""
    threads, prompt_tokens, answer_tokens, rounds = map(int, sys.argv[2:6])
    began = time.perf_counter()
    context = prompt_tokens + answer_tokens + 64
    model = llama_cpp.Llama(
        sys.argv[1], n_ctx=context, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False
    )
    load = time.perf_counter() - began
    prompt = [300 + number * 7919 % 3000 for number in range(prompt_tokens)]
    one_round(model, prompt, WARM_UP)
    taken = [one_round(model, prompt, answer_tokens) for _ in range(rounds)]
    figures = {
        "load_s": load,
        "prefill": statistics.median(prefill for prefill, _ in taken),
        "decode": statistics.median(decode for _, decode in taken),
        "peak_bytes": peak_memory(),
    }
    print(json.dumps(figures))


def one_round(model: Any, prompt: list[int], count: int) -> tuple[float, float]:
    """Read the prompt and answer greedily; tokens per second of both."""
    model.reset()
    began = time.perf_counter()
    model.eval(prompt)
    token = best(model)
    read = time.perf_counter()
    for _ in range(count):
        model.eval([token])
        token = best(model)
    ended = time.perf_counter()
    return len(prompt) / (read - began), count / (ended - read)


def best(model: Any) -> int:
    """The likeliest next token."""
    import numpy as np

    logits = llama_cpp.llama_get_logits_ith(model._ctx.ctx, -1)
    return int(np.ctypeslib.as_array(logits, shape=(model.n_vocab(),)).argmax())


if __name__ == "__main__":
    main()
