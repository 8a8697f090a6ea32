"""Problems of published datasets as questions: what a model is asked, and the solution that is read from its answer."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator.prompts import BARE, Style
from selftaught.sandbox.records import Unreadable
from selftaught.sandbox.task import FunctionTask, StdioTask
from selftaught.trainer.benchmarks import problems
from selftaught.trainer.question import Question
from tests.sandbox import published

FUNCTION = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\n\ndef root(x: int) -> int:\n    """ A square root.\n    >>> root(9)\n    3\n    """\n',
    "entry_point": "root",
    "test": "def check(candidate):\n    assert candidate(9) == 3\n",
    "canonical_solution": "    return math.isqrt(x)\n",
}  # fmt: skip
MBPP = [
    {
        "task_id": n,
        "text": f"Write a function to add {n}.",
        "code": f"def add{n}(x):\r\n    return x + {n}",
        "test_list": [f"assert add{n}(1) == {n + 1}", f"assert add{n}(0) == {n}"],
        "test_setup_code": "",
    }
    for n in (2, 3, 4, 11)
]
PROGRAM = {
    "problem_id": 1,
    "question": "Print the sum of two numbers.",
    "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
}
METHOD = {
    "question_id": "q1",
    "question_content": "Return the number doubled.",
    "starter_code": "class Solution:\n    def double(self, n: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "2", "output": "4", "testtype": "functional"}]),
    "private_test_cases": "[]",
    "metadata": json.dumps({"func_name": "double"}),
}


def file(tmp_path: Path, *records: Any) -> str:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records))
    return str(path)


def only(tmp_path: Path, record: Any) -> Question:
    (question,) = problems.select(file(tmp_path, record)).problems
    return question


def asked(question: Question, chat: bool, style: Style = BARE) -> str:
    return question.prompt(style, chat).text


def test_code_is_continued_by_a_model_of_texts_and_shown_in_a_chat(tmp_path: Path) -> None:
    question = only(tmp_path, FUNCTION)
    assert asked(question, False) == FUNCTION["prompt"].rstrip()
    assert f"```python\n{FUNCTION['prompt'].strip()}\n```" in asked(question, True)
    assert "isqrt" not in asked(question, True)


def test_a_task_is_asked_with_its_tests_and_after_solved_ones_that_are_others(tmp_path: Path) -> None:
    questions = problems.select(file(tmp_path, *MBPP)).problems
    for question in questions:
        text = asked(question, False, Style())
        assert text.endswith(f"assert add{question.id}(0) == {question.id}\n[BEGIN]")
        assert text.count("[DONE]") == (3 if question.id == "11" else 2)
        assert f"return x + {question.id}" not in text and "\r" not in text
        for bare in (asked(question, False, BARE), asked(question, True, Style())):
            assert bare.count("expert Python programmer") == 1 and "return x" not in bare


@pytest.mark.parametrize("record", [PROGRAM, METHOD], ids=["a program", "a method"])
@pytest.mark.parametrize("chat", [False, True])
def test_a_statement_is_asked_with_the_form_of_the_answer(tmp_path: Path, record: Any, chat: bool) -> None:
    text = asked(only(tmp_path, record), chat)
    statement = record.get("question") or record["question_content"]
    assert statement in text
    assert ("class Solution:\n    def double" in text) is (record is METHOD)
    assert any(word in text for word in ("stdin", "Standard Input")) is (record is PROGRAM)
    assert "```python" in text if chat else text.endswith("ANSWER:")


ANSWERS = {
    "continued": "    return math.isqrt(x)\n\n\ndef check(root):\n    assert root(4) == 2",
    "in a block": "<think>\n`x**.5`?\n</think>\n```py\nimport math\ndef root(x):\n    return math.isqrt(x)\n```",
    "the body in a block": "```python\nreturn math.isqrt(x)\n```",
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("chat", [False, True])
def test_an_answer_is_a_whole_solution_in_every_form(tmp_path: Path, text: str, chat: bool) -> None:
    question = only(tmp_path, FUNCTION)
    solution = question.read(question.prompt(BARE, chat), text)
    space: dict[str, Any] = {}
    assert solution is not None and "check" not in solution
    exec(solution, space)
    assert space["root"](17) == 4
    task = question.task("7", solution)
    assert isinstance(task, FunctionTask) and (task.id, task.entry_point) == ("7", "root")
    assert task.limits and task.limits.cpu_seconds == 3


def test_what_a_model_goes_on_with_after_its_answer_is_no_part_of_it(tmp_path: Path) -> None:
    question = only(tmp_path, MBPP[3])
    text = "\ndef add11(x):\n    return x + 11\n[DONE]\n\nYou are here\n[BEGIN]\ndef add11(x):\n    return 0\n[DONE]"
    for written in (text, "[BEGIN]" + text):
        found = question.read(question.prompt(Style(), False), written)
        assert found is not None and found.strip() == "def add11(x):\n    return x + 11"
    program = only(tmp_path, PROGRAM)
    text = "\nprint(sum(map(int, input().split())))\n\nQUESTION:\nAnother\n\nANSWER:\nprint(input())\n"
    found = program.read(program.prompt(BARE, False), text)
    assert found is not None and found.strip() == "print(sum(map(int, input().split())))"
    assert isinstance(program.task("1", found), StdioTask)


def test_no_code_is_no_solution(tmp_path: Path) -> None:
    question = only(tmp_path, FUNCTION)
    assert question.read(question.prompt(BARE, True), "I can't do this.") is None


def test_records_that_can_not_be_asked_are_named_with_the_reason(tmp_path: Path) -> None:
    silent = {name: value for name, value in PROGRAM.items() if name != "question"}
    puzzle = {"id": "p", "sat": "def sat(x: int):\n    return x == 1"}
    found = problems.select(file(tmp_path, FUNCTION, silent, puzzle, "no json", {"a": 1}))
    said = "\n".join(found.omissions.lines())
    assert [one.id for one in found.problems] == ["HumanEval/900"] and found.malformed == 4
    for word in ("no statement", "given with --puzzles", "not JSON", "no format has these fields"):
        assert word in said, said
    with pytest.raises(Unreadable, match="given with --puzzles"):
        problems.select(file(tmp_path, puzzle))
    with pytest.raises(Unreadable, match="takes the file with the dataset's problems"):
        problems.select("humaneval")


def test_a_question_is_told_from_the_same_one_of_another_file(tmp_path: Path) -> None:
    one = only(tmp_path, FUNCTION).source
    other = only(tmp_path, {**FUNCTION, "test": "def check(candidate):\n    pass\n"}).source
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(json.dumps([FUNCTION]).encode()))
    (same,) = problems.select(str(packed)).problems
    assert one != other and one == same.source


@pytest.mark.filterwarnings("ignore")  # invalid escapes
@pytest.mark.parametrize("name", ["HumanEval.jsonl.gz", "mbpp.jsonl.gz"])
def test_no_text_of_a_published_solution_is_lost(name: str) -> None:
    found = problems.select(str(published.file(name))).problems
    assert not any(one.trivial for one in found) and len(found) == (164 if name[0] == "H" else 974)
    for one in found:
        assert isinstance(one, problems.BenchmarkProblem)
        fields, (whole,) = one.benchmark.fields(one.id), one.benchmark.problem(one.id).references
        meant = ast.dump(ast.parse(whole))
        fenced = f"<think>\nA `draft`.\n</think>\nHere:\n\n```python\n{whole}\n```\n\nIt works.\n"
        for chat, text in (
            (False, fields.get("canonical_solution") or f"\n{whole}\n[DONE]\n"),
            (False, fenced),
            (True, fenced),
        ):
            read = one.read(one.prompt(Style(), chat), text)
            assert read is not None and ast.dump(ast.parse(read)) == meant, (one.id, chat)
