"""How long a run over several rows takes by their number; prints one JSON object of seconds.

python -m scripts.measure_rows FOLDER THREADS PROMPT_TOKENS
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

import numpy as np
import onnxruntime_genai as og

from shammah.worker.generation import SLICE
from shammah.worker.providers import CPU, load
from shammah.worker.speculation import MOST_ROWS

ROWS = (1, 2, 3, 4, 5, 7, 9, 13, 17)
ROUNDS, WARM_UP = 12, 2


def main() -> None:
    """Measure and print; sizes between measured ones lie on a line."""
    taken = measured(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    medians = [statistics.median(taken[rows][WARM_UP:]) for rows in ROWS]
    print(json.dumps({rows: float(np.interp(rows, ROWS, medians)) for rows in range(1, MOST_ROWS + 1)}))


def measured(folder: Path, threads: int, prompt: int) -> dict[int, list[float]]:
    """Seconds of each run by its rows, with the copy of all logits, after a prompt of so many tokens."""
    ids = np.random.default_rng(1).integers(300, 3000, prompt + MOST_ROWS).astype(np.int32)
    generator = _generator(folder, threads, prompt + 2 * MOST_ROWS)
    for at in range(0, prompt, SLICE):
        generator.append_tokens(ids[at : at + SLICE])
    taken: dict[int, list[float]] = {rows: [] for rows in ROWS}
    # One of each size in turn, so that whatever else the machine does falls on all alike.
    for _ in range(ROUNDS + WARM_UP):
        for rows in ROWS:
            generator.rewind_to(prompt)
            began = time.perf_counter()
            generator.append_tokens(ids[prompt : prompt + rows])
            _ = generator.get_logits() if rows == 1 else generator.get_output("logits")
            taken[rows].append(time.perf_counter() - began)
    return taken


def _generator(folder: Path, threads: int, context: int) -> og.Generator:
    model = load(folder, CPU, {"intra_op_num_threads": threads}).model
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=context, do_sample=False)
    return og.Generator(model, parameters)


if __name__ == "__main__":
    main()
