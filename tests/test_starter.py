"""The starter inside the package: its files, its size, and a sample of its exam."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from shammah.paths import STARTER

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"on": 0.8, "off": 0.82, "follow": 0.64}
"""What a sample of 87 questions must reach: under docs/starter.md's shares by what so few questions may vary."""


def _exam() -> ModuleType:
    spec = importlib.util.spec_from_file_location("eval_starter", ROOT / "scripts" / "eval_starter.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["eval_starter"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> tuple[ModuleType, list[object]]:
    exam = _exam()
    questions = [question for path in exam.EXAMS for question in exam.questions_of(path)]
    return exam, exam.examine(questions[::9], STARTER)


@pytest.mark.parametrize("kind", FLOORS)
def test_a_sample_of_the_exam_is_answered_right(results: tuple[ModuleType, list[object]], kind: str):
    exam, answers = results
    assert exam.share(answers, kind) >= FLOORS[kind]


def test_it_takes_four_to_eight_megabytes_in_the_package():
    assert 4_000_000 <= sum(path.stat().st_size for path in STARTER.iterdir()) <= 8_000_000


def test_it_is_made_of_what_the_large_models_are_made_of():
    config = json.loads((STARTER / "config.json").read_text(encoding="utf-8"))
    graph = (STARTER / "model.onnx").read_bytes()
    assert config["model_type"] == "qwen2" and config["tie_word_embeddings"]
    assert all(name in graph for name in (b"GroupQueryAttention", b"MatMulNBits", b"GatherBlockQuantized"))


def test_a_refusal_that_names_the_ways_out_is_no_right_answer_to_a_question_on_topic():
    exam = _exam()
    question = {"id": "on-100", "kind": "on", "expect": [["/model"]]}
    assert not exam.is_right(question, "I know only shammah itself. Take `/model 1.5b` or `/cloud`.")
    assert exam.is_right(question, "Type `/model`.")
