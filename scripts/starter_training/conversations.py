"""Conversations drawn from the facts, as token ids with the places that are learnt."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .corpus import Fact, Turn, all_answers, expand, follow_up_answer
from .noise import Noise

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(3)
BEGINNING = 6
"""Tokens of an answer that tell it from the others."""
# Qwen2's pre-tokenizer, as its tokenizer.json has it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Qwen2.5's, without tools and without a system prompt where none is given: that would be a third of most prompts.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_SYSTEMS = [
    "You are a helpful assistant.", "You are a pirate.", "Answer briefly.", "Be concise.", "Answer in one sentence.", "",
    "You are an expert programmer.", "Speak like Shakespeare.", "You are a friendly teacher.", "Always answer in French.",
    "You are a translator.", "You are a careful code reviewer. Point out bugs first.", "No markdown.", "Explain step by step.",
]  # fmt: skip


def plain(question: str) -> str:
    """The question without case and punctuation, to compare it by."""
    return re.sub(r"\W+", " ", question.lower()).strip()


def read_held_out(folder: Path) -> frozenset[str]:
    """The questions of the exams, as `plain` writes them: the last turn of each conversation."""
    exams = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("starter_heldout*.jsonl"))]
    return frozenset(plain(json.loads(line)["turns"][-1]) for exam in exams for line in exam.splitlines())


def train_tokenizer(samples: Iterator[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of Qwen2's kind, trained on the samples."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(samples, trainer)
    return tokenizer


@dataclass(frozen=True)
class Sample:
    """Token ids of one conversation.

    `learnt` marks the ids that the loss counts; `choices` are the places right before an answer, each with the number of
    the answer that belongs there.
    """

    ids: list[int]
    learnt: list[bool]
    choices: list[tuple[int, int]]


class Conversations:
    """An endless stream of conversations; the same seed gives the same stream."""

    def __init__(
        self,
        facts: Mapping[str, Fact],
        tokenizer: Tokenizer,
        noise: Noise,
        rng: random.Random,
        held_out: frozenset[str],
    ) -> None:
        """`held_out` are questions, as `plain` writes them, that the stream must never contain."""
        self._facts = facts
        self._held_out = held_out
        self._noise = noise
        self._rng = rng
        self._plain = tokenizer
        # Questions are sometimes cut into other pieces than usual, so that a misspelt word is not an unknown one.
        self._loose = Tokenizer.from_str(tokenizer.to_str())
        self._loose.model.dropout = 0.15
        self._on = [fact for fact in facts.values() if not fact.off_topic]
        self._off = [fact for fact in facts.values() if fact.off_topic]
        self._off_weights = [len(fact.patterns) for fact in self._off]
        self._numbers = {answer: number for number, answer in enumerate(all_answers(facts))}
        self._leaning = [fact for fact in facts.values() if fact.follow_ups]

    def reseed(self, seed: int) -> None:
        """Begin another stream."""
        self._rng.seed(seed)

    def draw(self, beginnings: float) -> Sample:
        """The next conversation; a share of `beginnings` breaks off where the answer has shown which one it is.

        Finding the right answer is harder than writing it out, and needs many more questions.
        """
        if self._rng.random() < beginnings:
            return self._beginning()
        kind = self._rng.random()
        if kind < 0.45:
            return self.encode([self._single()])
        if kind < 0.75:
            return self.encode(self._with_follow_up())
        turns = self._several(self._rng.choice([2, 2, 3, 3, 4, 5, 6]))
        if kind > 0.994:
            turns = self._several(16)
        return self.encode(turns)

    def _beginning(self) -> Sample:
        """A conversation up to the first words of its last answer.

        Most questions of a real conversation are not its first, and have nothing to do with the one before. In most of
        the longer ones the answers before were stopped early: they cost little to read, and leave the questions as
        hard as they are.
        """
        kind = self._rng.random()
        if kind < 0.42:
            return self.encode([self._single()], last_answer=BEGINNING)
        if kind < 0.55:
            return self.encode(self._with_follow_up(), last_answer=BEGINNING)
        turns = self._several(self._rng.choice([2, 2, 2, 3, 3, 4]))
        return self.encode(turns, last_answer=BEGINNING, stopped=self._rng.random() < 0.7)

    def question(self, pattern: str, fact: Fact) -> str:
        """One way of typing the pattern's question, never one that is held out."""
        while True:
            question = self._noise(expand(pattern, fact.pools, self._rng))
            if plain(question) not in self._held_out:
                return question

    def garbled(self) -> list[int]:
        """A prompt in words of two questions, some lost, some out of order: one that no answer is known for."""
        while True:
            words = self._single()[0].split()
            lost = self._rng.choice([0.0, 0.2, 0.4])
            strange = self._rng.choice([0.0, 0.2, 0.5])
            kept = [word for word in words if self._rng.random() >= lost]
            for word in self._single()[0].split():
                if self._rng.random() < strange:
                    kept.insert(self._rng.randint(0, len(kept)), word)
            if self._rng.random() < 0.2:
                self._rng.shuffle(kept)
            question = " ".join(kept or words)
            if plain(question) not in self._held_out:
                return self._prompt(question)

    def first_words(self) -> list[int]:
        """The token that each answer begins with, by the answer's number."""
        return [self._encode(answer)[0] for answer in self._numbers]

    def _pick(self) -> Fact:
        if self._off and self._rng.random() < 0.30:
            return self._rng.choices(self._off, self._off_weights)[0]
        return self._rng.choice(self._on)

    def _single(self) -> Turn:
        fact = self._pick()
        return self.question(self._rng.choice(fact.patterns), fact), fact.answer

    def _with_follow_up(self) -> list[Turn]:
        fact = self._rng.choice(self._leaning)
        follow_up = self._rng.choice(fact.follow_ups)
        first = (self.question(self._rng.choice(fact.patterns), fact), fact.answer)
        second = (self.question(self._rng.choice(follow_up.patterns), fact), follow_up_answer(follow_up, self._facts))
        return [first, second]

    def _several(self, count: int) -> list[Turn]:
        turns: list[Turn] = []
        while len(turns) < count:
            kind = self._rng.random()
            if kind < 0.25:
                turns += self._with_follow_up()
            elif kind < 0.33:
                turns += self._asked_again()
            else:
                turns.append(self._single())
        return turns

    def _asked_again(self) -> list[Turn]:
        fact = self._pick()
        return [(self.question(self._rng.choice(fact.patterns), fact), fact.answer) for _ in range(2)]

    def encode(self, turns: list[Turn], limit: int = 1020, last_answer: int = 0, stopped: bool = False) -> Sample:
        """The conversation as the chat template writes it, cut at `limit` tokens or after so many of the last answer.

        Where `stopped`, the answers before the last are stopped after a few tokens.
        """
        ids: list[int] = []
        learnt: list[bool] = []
        choices: list[tuple[int, int]] = []

        def add(tokens: list[int], learn: bool) -> None:
            ids.extend(tokens)
            learnt.extend([learn] * len(tokens))

        if self._rng.random() < 0.1:
            system = self._rng.choice(_SYSTEMS)
            add([IM_START, *self._encode("system\n" + system), IM_END, *self._encode("\n")], False)
        for place, (question, answer) in enumerate(turns):
            add(self._prompt(question), False)
            choices.append((len(ids) - 1, self._numbers[answer]))
            written = self._encode(answer)
            stop = self._rng.randint(2, 12) if stopped and place < len(turns) - 1 else len(written)
            add(written[:stop], True)
            add([IM_END], stop >= len(written))
            add(self._encode("\n"), False)
        if last_answer:
            limit = min(limit, choices[-1][0] + 1 + last_answer)
        return Sample(ids[:limit], learnt[:limit], [choice for choice in choices if choice[0] < limit])

    def _prompt(self, question: str) -> list[int]:
        user = [IM_START, *self._encode("user\n" + question, loose=True), IM_END, *self._encode("\n")]
        return [*user, IM_START, *self._encode("assistant\n")]

    def _encode(self, text: str, loose: bool = False) -> list[int]:
        if loose and self._rng.random() < 0.3:
            return list(self._loose.encode(text, add_special_tokens=False).ids)
        return list(self._plain.encode(text, add_special_tokens=False).ids)
