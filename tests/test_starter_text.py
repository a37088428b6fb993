"""The training text of the starter: every command, flag, setting and variable that an answer names exists."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pytest

from shammah.commandline import parser
from shammah.config import settings
from shammah.paths import STARTER
from shammah.screen.commands import COMMANDS
from shammah.subcommands import subcommands

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from starter_training.corpus import Fact, all_answers, expand, read_facts  # noqa: E402

EXAMS = ROOT / "tests" / "data"
FACTS = read_facts()
QUOTED = [quote for answer in all_answers(FACTS) for quote in re.findall("`([^`]+)`", answer)]
VARIABLES = {
    "SHAMMAH_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "NO_COLOR",
    "DO_NOT_TRACK", "EDITOR", "VISUAL", "TERM",
}  # fmt: skip


def _flags(made: object) -> set[str]:
    return {flag for action in made._actions for flag in action.option_strings}  # type: ignore[attr-defined]


def _subcommand_words() -> set[str]:
    words: set[str] = set()
    waiting = [subcommands()]
    while waiting:
        for action in waiting.pop()._actions:
            if isinstance(action.choices, dict):
                words |= set(action.choices)
                waiting += action.choices.values()
    return words


def test_every_slash_command_in_an_answer_exists():
    known = {name for command in COMMANDS for name in command.names}
    named = {quote.split()[0] for quote in QUOTED if re.match(r"/[a-z?]", quote)}
    paths = {word for word in named if word.count("/") > 1}
    assert named - paths <= known


def test_every_flag_in_an_answer_exists():
    known = _flags(parser()) | {"--json", "--help"}
    named = {word for quote in QUOTED if quote.startswith(("shammah", "-")) for word in quote.split() if word[0] == "-"}
    assert {flag for flag in named if flag != "-"} <= known


def test_every_setting_in_an_answer_exists():
    known = {setting.key for setting in settings()}
    sections = {setting.section for setting in settings()}
    named = {
        word for quote in QUOTED for word in re.findall(r"[a-z]+\.[a-z_]+", quote) if word.split(".")[0] in sections
    }
    files = {word for word in named if word.endswith((".md", ".json"))}
    assert named - files <= known


def test_every_subcommand_in_an_answer_exists():
    words = _subcommand_words()
    for quote in QUOTED:
        match = re.fullmatch(r"shammah ([a-z]+)(?: ([a-z]+))?(?: [A-Z0-9a-z._/\" ]+)?", quote)
        if match and match[1] in {"models", "config", "history"}:
            assert match[2] is None or match[2] in words, quote
        elif match:
            assert match[1] in words or '"' in quote, quote


def test_every_command_flag_and_setting_is_in_an_answer():
    quoted = " ".join(QUOTED)
    commands = [command.names for command in COMMANDS]
    flags = [action.option_strings for action in parser()._actions if action.option_strings]
    for names in [*commands, *flags, *([setting.key] for setting in settings())]:
        assert any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", quoted) for name in names), names


def test_every_variable_in_an_answer_exists():
    named = {word for quote in QUOTED for word in re.findall(r"\b[A-Z]+_[A-Z_]+\b", quote)}
    assert named <= VARIABLES


def test_there_are_several_hundred_facts_with_many_phrasings():
    on_topic = [fact for fact in FACTS.values() if not fact.off_topic]
    assert len(on_topic) >= 300
    assert all(len(fact.patterns) >= 6 for fact in on_topic)


@pytest.mark.parametrize("fact", [fact for fact in FACTS.values() if fact.off_topic], ids=lambda fact: fact.name)
def test_a_refusal_is_honest_and_names_the_way_out(fact: Fact):
    assert "I know only shammah itself" in fact.answer
    assert "`/cloud`" in fact.answer and "`/model 1.5b`" in fact.answer


def test_every_pattern_expands_to_a_question_without_brackets():
    rng = random.Random(0)
    for fact in FACTS.values():
        for pattern in fact.patterns:
            assert not re.search(r"[\[\]{}|]", expand(pattern, fact.pools, rng)), pattern


def test_each_exam_is_large_enough_and_has_questions_of_every_kind():
    files = [path.read_text(encoding="utf-8") for path in sorted(EXAMS.glob("starter_heldout*.jsonl"))]
    assert len(files) == 3
    for exam in ([json.loads(line) for line in file.splitlines()] for file in files):
        assert len({question["id"] for question in exam}) == len(exam) >= 150
        assert {question["kind"] for question in exam} == {"on", "off", "follow"}


def test_an_answer_that_was_stopped_early_teaches_nothing_about_its_end():
    tokenizers = pytest.importorskip("tokenizers")
    from starter_training.conversations import IM_END, Conversations
    from starter_training.noise import Noise

    tokenizer = tokenizers.Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    stream = Conversations(FACTS, tokenizer, Noise({}, random.Random(1)), random.Random(1), frozenset())
    answer = max((fact.answer for fact in FACTS.values()), key=len)
    sample = stream.encode([("why?", answer), ("how?", answer)], stopped=True)
    ends = [learnt for token, learnt in zip(sample.ids, sample.learnt, strict=True) if token == IM_END]
    assert ends[-4:] == [False, False, False, True]  # Question and answer, twice.


def test_the_training_stream_never_contains_a_question_of_the_exam():
    tokenizers = pytest.importorskip("tokenizers")
    from starter_training.conversations import Conversations, plain, read_held_out
    from starter_training.noise import Noise

    held_out = read_held_out(EXAMS)
    rng = random.Random(1)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    stream = Conversations(FACTS, tokenizer, Noise({}, rng), rng, held_out)
    for fact in FACTS.values():
        for pattern in fact.patterns:
            assert plain(stream.question(pattern, fact)) not in held_out
