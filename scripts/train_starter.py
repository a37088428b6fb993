#!/usr/bin/env python3
"""Train the starter model from nothing and write it into the package.

    pip install -e '.[train]'
    python scripts/train_starter.py

Takes about an hour and a half on two processors with bfloat16 units; with a C++ compiler steps are shorter.
The same seed on the same machine gives the same model.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

_BEFORE_TORCH = {
    # Large blocks go back to the system at every step otherwise, and come back page by page: a third of the time.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "100000000",
    # A thread that waits for the other spins some 50 microseconds, then sleeps. Without spinning a step takes 1.3
    # times as long; with spinning to the end, where one more program is at work on two processors, five times.
    "GOMP_SPINCOUNT": "20000",
}
if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
    os.environ.update(_BEFORE_TORCH)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import torch
from starter_training.conversations import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    IM_END,
    Conversations,
    Sample,
    read_held_out,
    train_tokenizer,
)
from starter_training.corpus import TEXT_FOLDER, Fact, all_answers, expand, read_facts
from starter_training.export import write
from starter_training.muon import Muon
from starter_training.network import Layer, Network, Shape
from starter_training.noise import Noise, read_synonyms
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
EXAMS = ROOT / "tests" / "data"
BITS, EMBEDDING_BITS = 4, 8
DECIDED = 4
"""Layers after which the answer shall be chosen, so that the rest can write it out."""
WRITING = 5.0
"""Weight of the written tokens against that choice: an answer has several, most of them easy, and the mean hides it."""
GARBLED = 0.3
"""Share of the tokens of a step that are questions without a known answer; they teach the first word to follow."""
BEGINNINGS = (0.95, 0.92, 0.9, 0.97)
"""Share of conversations that break off after the first words of the answer, in each quarter of the training."""
STRIDE = 8
"""Conversations are filled up to multiples of so many tokens, so that steps have few different sizes."""
WRITTEN_STRIDE = 128
"""The same for the places whose next token is learnt."""
IGNORED = -100
FLAT, ROUNDED = 0.55, 0.9
"""Shares of the steps after which the rate begins to fall, and after which the weights are rounded as stored."""


def main() -> None:
    given = arguments()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    facts = read_facts()
    noise = Noise(read_synonyms(TEXT_FOLDER / "synonyms.md"), random.Random(given.seed))
    shape = Shape()
    before = json.loads((given.out / "training.json").read_text(encoding="utf-8")) if given.begin_with else {}
    if given.begin_with or steps_done(given.checkpoint):
        tokenizer = Tokenizer.from_file(str(given.out / "tokenizer.json"))  # The ids that the network knows.
    else:
        tokenizer = train_tokenizer(tokenizer_samples(facts, noise, given.seed), shape.vocab_size)
        given.out.mkdir(parents=True, exist_ok=True)
        write_tokenizer(tokenizer, given.out)
    stream = Conversations(facts, tokenizer, noise, random.Random(given.seed + 1), read_held_out(EXAMS))
    network = Network(shape)
    if given.begin_with:
        network.load_state_dict(torch.load(given.begin_with)["states"][0])
    if shutil.which("c++"):
        Layer.forward = torch.compile(Layer.forward, dynamic=True)  # type: ignore[method-assign]
    print(f"{len(facts)} facts, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters", flush=True)
    started = time.monotonic()
    resumed_at = steps_done(given.checkpoint)
    losses = train(network, stream, len(all_answers(facts)), given)
    write(network.eval(), given.out, BITS, EMBEDDING_BITS, [IM_END, END_OF_TEXT], END_OF_TEXT)
    report = {
        "facts": len(facts),
        "phrasings": sum(len(fact.patterns) for fact in facts.values()),
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": given.steps,
        "resumed_at_step": resumed_at,
        "seed": given.seed,
        "steps_before": before.get("steps", 0) + before.get("steps_before", 0),
        "minutes_before": before.get("minutes", 0) + before.get("minutes_before", 0),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "final_loss": round(sum(losses[-50:]) / len(losses[-50:]), 4),
        "bytes": sum(path.stat().st_size for path in given.out.iterdir()),
    }
    (given.out / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "shammah" / "starter" / "model")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in one step")
    parser.add_argument("--rate", type=float, default=0.01, help="peak learning rate of Muon")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="written every 500 steps; where it is there already, the training goes on from it, with other questions",
    )
    parser.add_argument(
        "--begin-with",
        type=Path,
        metavar="CHECKPOINT",
        help="begin with the network of a training on other text, the one that made the model in --out",
    )
    return parser.parse_args()


def tokenizer_samples(facts: dict[str, Fact], noise: Noise, seed: int) -> Iterator[str]:
    """Answers and typed questions, in about the share in which the model will see them."""
    rng = random.Random(seed)
    for fact in facts.values():
        for pattern in fact.patterns:
            for _ in range(4):
                yield noise(expand(pattern, fact.pools, rng))
    for answer in all_answers(facts):
        for _ in range(10):
            yield answer


def train(network: Network, stream: Conversations, answers: int, given: argparse.Namespace) -> list[float]:
    """Train in place; the last steps with weights rounded as they will be stored. Returns the loss of every step."""
    chooser = nn.Linear(network.shape.hidden_size, answers)
    matrices = [p for layer in network.layers for p in layer.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in [*network.parameters(), *chooser.parameters()] if id(p) not in chosen]
    optimisers = [
        Muon(matrices, lr=given.rate, weight_decay=0.02, momentum=0.95, rounds=3),
        torch.optim.AdamW(others, lr=given.rate * 0.3, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]
    peaks = [(group, group["lr"]) for optimiser in optimisers for group in optimiser.param_groups]
    network.train()
    losses: list[float] = []
    started = time.monotonic()
    known, unknown = given.tokens * (1 - GARBLED), given.tokens * GARBLED
    parts = [batches(partial(stream.draw, share), _ids_of, known) for share in BEGINNINGS]
    prompts = batches(stream.garbled, len, unknown)
    first_words = torch.tensor(stream.first_words())
    learners = [network, chooser, *optimisers]
    done = steps_done(given.checkpoint)
    if done:
        read_checkpoint(given.checkpoint, learners)
        stream.reseed(given.seed + done)
    rounded = False
    for step in range(done, given.steps):
        if step >= given.steps * ROUNDED and not rounded:
            network.train_as_quantised(BITS, EMBEDDING_BITS)
            rounded = True
        share = schedule(step, given.steps)
        for group, peak in peaks:
            group["lr"] = peak * share
        samples = next(parts[min(len(parts) * step // given.steps, len(parts) - 1)])
        loss, choice_loss = loss_of(network, chooser, samples)
        (WRITING * loss + choice_loss).backward()
        follow_loss = following(network, chooser, next(prompts), first_words)
        follow_loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 50 == 49:
            recent = sum(losses[-50:]) / 50
            spent = time.monotonic() - started
            print(
                f"step {step + 1} of {given.steps}  loss {recent:.3f}  choice {choice_loss:.3f}  "
                f"follow {follow_loss:.3f}  {spent:.0f} s",
                flush=True,
            )
        if given.checkpoint and step % 500 == 499:
            write_checkpoint(given.checkpoint, learners, step + 1)
    return losses


def steps_done(path: Path | None) -> int:
    """How many steps a checkpoint has behind it; 0 where there is none."""
    return int(torch.load(path)["steps"]) if path and path.exists() else 0


def read_checkpoint(path: Path, learners: list[Any]) -> None:
    """Put the learners into the state that was saved."""
    for learner, state in zip(learners, torch.load(path)["states"], strict=True):
        learner.load_state_dict(state)


def write_checkpoint(path: Path, learners: list[Any], steps: int) -> None:
    """Save the learners' state; a broken write leaves the one before."""
    beside = path.with_suffix(".part")
    torch.save({"steps": steps, "states": [learner.state_dict() for learner in learners]}, beside)
    beside.replace(path)


def schedule(step: int, steps: int) -> float:
    """Share of the peak rate: a short rise, a long flat part, then straight down to a hundredth."""
    fall = (steps - step) / (steps * (1 - FLAT))
    return min((step + 1) / 100, 1.0, max(fall, 0.01))


T = TypeVar("T")


def batches(draw: Callable[[], T], length: Callable[[T], int], tokens: float) -> Iterator[list[T]]:
    """Batches of about `tokens` ids, each of things of one rounded length.

    So there are few sizes, and each is prepared for once: with every batch of a size of its own, more than half of the
    time and gigabytes went into kernels made for sizes that never came again.
    """
    waiting: dict[int, list[T]] = {}
    while True:
        thing = draw()
        size = round_up(length(thing), STRIDE)
        batch = waiting.setdefault(size, [])
        batch.append(thing)
        if (len(batch) + 1) * size > tokens:
            yield waiting.pop(size)


def round_up(number: int, stride: int) -> int:
    """The next multiple of the stride."""
    return -(-number // stride) * stride


def _ids_of(sample: Sample) -> int:
    return len(sample.ids)


def loss_of(network: Network, chooser: nn.Linear, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the learnt tokens, and of telling from the last prompt token which answer will come.

    The second needs a matrix that only the training has; it makes the choice of the answer a thing the network learns
    at one place and early, instead of through the words that answers begin with. It is asked for twice: after some
    layers, where the places that write the answer can look it up, and at the end, where the first word is written.
    """
    length = round_up(max(len(sample.ids) for sample in samples), STRIDE)
    ids = torch.full((len(samples), length), END_OF_TEXT)
    learnt = torch.zeros((len(samples), length), dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        learnt[row, : len(sample.ids)] = torch.tensor(sample.learnt)
    rows, places, answers = zip(*((row, *choice) for row, s in enumerate(samples) for choice in s.choices), strict=True)
    decided, hidden = network.hidden_after(ids, torch.bfloat16, [DECIDED, len(network.layers)])
    wanted = torch.where(learnt[:, 1:], ids[:, 1:], IGNORED).flatten()
    counted = (wanted != IGNORED).nonzero().squeeze(1)
    counted = F.pad(
        counted, (0, round_up(len(counted), WRITTEN_STRIDE) - len(counted)), value=int((wanted == IGNORED).nonzero()[0])
    )
    predicting = hidden[:, :-1].flatten(0, 1)[counted]
    logits = F.linear(predicting, network.embedding.rounded_weight().to(hidden.dtype)).float()
    choices = chooser(torch.cat([output[list(rows), list(places)] for output in (decided, hidden)]).float())
    written = F.cross_entropy(logits, wanted[counted], ignore_index=IGNORED)
    return written, F.cross_entropy(choices, torch.tensor(answers * 2))


def following(network: Network, chooser: nn.Linear, prompts: list[list[int]], first_words: Tensor) -> Tensor:
    """How far the first word that would be written is from the first words of the answers that would be chosen.

    Both are read from the same place, and the choice is right more often where a question is asked in new words. No
    answer has to be known for this, so any words will do as a question.
    """
    ids = torch.full((len(prompts), round_up(max(map(len, prompts)), STRIDE)), END_OF_TEXT)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    last = network.hidden(ids, torch.bfloat16)[range(len(prompts)), [len(prompt) - 1 for prompt in prompts]]
    words = F.linear(last, network.embedding.rounded_weight().to(last.dtype)).float()
    with torch.no_grad():
        choices = chooser(last.float()).softmax(-1)
        wanted = torch.zeros_like(words).index_add_(1, first_words, choices)
    return F.cross_entropy(words, wanted)


def write_tokenizer(tokenizer: object, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json with the chat template."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)  # type: ignore[attr-defined]
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
