"""The solution in what a model wrote, in whatever form it comes."""

from __future__ import annotations

import pytest

from selftaught.sandbox.formats import answers
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.task import FunctionTask, StdioTask

FUNCTION = "def f(x):\n    return x\n"
PROGRAM = Problem("1", StdioTask("1", "", [("", "")]))
PROMPTED = Problem("1", FunctionTask("1", "", "Solution.f", tests=""), prompt="def f(x):\n")

ANSWERS = {
    "a fenced block": f"Here:\n```python\n{FUNCTION}```\nDone.",
    "the last of two": f"```python\nx = 1\n```\nNo:\n```python\n{FUNCTION}```",
    "a block of Python before another": f"```python\n{FUNCTION}```\nwhich prints\n```text\n1\n```",
    "a block without a language": f"```\n{FUNCTION}```",
    "a block that was not closed": f"```py\n{FUNCTION}",
    "a thought before": f"<think>```python\nx\n```</think>```Python3\n{FUNCTION}```",
    "a bare program": FUNCTION,
    "messages": [{"role": "assistant", "content": [{"type": "text", "text": f"```python\n{FUNCTION}```"}]}],
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("problem", [PROGRAM, PROMPTED], ids=["a program", "a function"])
def test_a_whole_solution_is_found(problem: Problem, text: object) -> None:
    assert answers.solution(problem, text) == FUNCTION
    task = answers.task(problem, text)
    assert task and task.sol == FUNCTION


@pytest.mark.parametrize("text", ["    return x\n", "```python\n    return x\n```", "```\nreturn x\n```", "return x\n"])
def test_what_does_not_define_the_function_continues_the_prompt(text: str) -> None:
    assert answers.solution(PROMPTED, text) == FUNCTION
    assert answers.solution(PROGRAM, text) in ("    return x\n", "return x\n")


@pytest.mark.parametrize("text", ["", "I can't.", "<think>\n```python\ndef f(x): return x\n```", None])
def test_an_answer_without_code_makes_no_task(text: str | None) -> None:
    assert answers.solution(PROMPTED, text) is None
    assert answers.task(PROGRAM, text) is None


def test_a_longer_body_without_its_indentation_continues_the_prompt() -> None:
    solution = answers.solution(PROMPTED, "```\ny = x\nreturn y\n```")
    assert solution == "def f(x):\n    y = x\n    return y\n"


def test_a_class_with_the_method_is_a_solution() -> None:
    problem = Problem("1", FunctionTask("1", "", "f", tests=""), method=True)
    solution = "class Solution:\n    def f(self, x):\n        return x\n"
    text = f"```python\n{solution}```\nTry it:\n```python\nprint(Solution().f(1))\n```"
    task = answers.task(problem, text)
    assert isinstance(task, FunctionTask) and (task.sol, task.entry_point) == (solution, "Solution.f")
