"""Evaluations of inspect_ai with its mock model and our scorer, found by its entry point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.trainer.integrations import released

EVALUATE = """
import json, os, sys
sys.path.remove(os.environ["PYTHONPATH"])  # what is installed has entry points, the checkout has none
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai._util.registry import registry_create

asked = json.loads(sys.argv[1])
samples = [Sample(input=one["input"], target=one.get("target", ""), metadata=one.get("metadata")) for one in asked]
outputs = [ModelOutput.from_content("mockllm/model", one["completion"]) for one in asked]
for output in outputs:
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else it is counted by a download
model = get_model("mockllm/model", custom_outputs=outputs)
found = {}
settings = json.loads(sys.argv[2])
made = registry_create("scorer", "selftaught/verified", **settings)
(log,) = eval(Task(samples, scorer=made), model=model, max_samples=1, max_connections=1, display="none", log_dir="logs")
assert log.status == "success", log.error
(scored,) = log.results.scores
scores = [next(iter(sample.scores.values())) for sample in sorted(log.samples, key=lambda one: one.id)]
print(json.dumps({
    "values": [one.value if one.value == one.value else None for one in scores],
    "reasons": [one.reason for one in scores],
    "explanations": [one.explanation for one in scores],
    "accuracy": scored.metrics["accuracy"].value,
    "unscored": scored.unscored_samples,
    "location": log.location,
}))
"""
PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
ADD = {"prompt": "def add(a, b):\n", "entry_point": "add", "test": "def check(f):\n    assert f(1, 2) == 3\n"}
DOUBLE = '{"inputs": ["21", "1"], "outputs": ["42", "2"]}'


def evaluated(folder: Path, samples: list[dict[str, Any]], **settings: Any) -> Any:
    return released.run("inspect_ai", EVALUATE, json.dumps(samples), json.dumps(settings), folder=folder)


def fenced(code: str) -> str:
    return f"Here it is:\n```python\n{code}\n```\n"


def test_samples_are_scored_by_what_their_target_or_metadata_has(tmp_path: Path) -> None:
    samples = [
        {"input": PUZZLE, "target": PUZZLE, "completion": fenced("def g(a=17, b=42):\n    return b - a")},
        {"input": PUZZLE, "metadata": {"puzzle": PUZZLE}, "completion": fenced("def g(a=17, b=42):\n    return a")},
        {"input": "Add.", "metadata": ADD, "completion": fenced("def add(a, b):\n    return a + b")},
        {"input": "Double.", "target": DOUBLE, "completion": fenced("print(2 * int(input()))")},
        {"input": "Double.", "target": DOUBLE, "completion": fenced("print(42)")},
    ]
    found = evaluated(tmp_path, samples)
    assert found["values"] == ["C", "I", "C", "C", "I"], found
    assert (found["accuracy"], found["unscored"]) == (0.6, 0)


def test_what_was_not_judged_is_left_out_of_the_accuracy_and_counted(tmp_path: Path) -> None:
    right = fenced("def g(a=17, b=42):\n    return b - a")
    samples = [
        {"input": PUZZLE, "target": PUZZLE, "completion": right},
        {"input": PUZZLE, "target": PUZZLE, "completion": "I don't know."},
        {"input": PUZZLE, "target": "no puzzle", "completion": right},
        {"input": PUZZLE, "completion": right},
    ]
    found = evaluated(tmp_path, samples)
    assert found["values"] == ["C", None, None, None]
    assert found["reasons"] == [None, "invalid_response_format", "scoring_failed", "scoring_failed"]
    assert (found["accuracy"], found["unscored"]) == (1.0, 3)


def test_settings_make_shares_and_numbers_for_no_answer(tmp_path: Path) -> None:
    samples = [
        {"input": "Double.", "target": DOUBLE, "completion": fenced("print(42)")},
        {"input": "Double.", "target": DOUBLE, "completion": "I refuse."},
    ]
    found = evaluated(tmp_path, samples, all_cases=True, unanswered=0.0)
    assert found["values"] == [0.5, 0.0]
    assert (found["accuracy"], found["unscored"]) == (0.25, 0)
