"""What a model is asked for a problem of a dataset.

HumanEval
    A model that continues texts gets the prompt, which is code, and stops where the function ends (Chen et al. 2021,
    https://arxiv.org/abs/2107.03374). In a chat it is asked as EvalPlus does (https://github.com/evalplus/evalplus).
MBPP
    The task with its tests, after three solved ones, between ``[BEGIN]`` and ``[DONE]`` (Austin et al. 2021,
    https://arxiv.org/abs/2108.07732). In a chat the same task, without solved ones.
All others
    The statement, as APPS has it (Hendrycks et al. 2021, https://arxiv.org/abs/2105.09938); in a chat as LiveCodeBench
    does (https://github.com/LiveCodeBench/LiveCodeBench).
"""

from __future__ import annotations

from collections.abc import Sequence

from selftaught.sandbox.formats import statement
from selftaught.sandbox.formats.fields import Fields, optional, strings
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask

CODE = ("humaneval", "humanevalplus")
"""Formats whose prompt is code that a completion continues."""
TASK_WITH_TESTS = ("mbpp", "mbppplus", "mbpp-challenge")
"""Formats whose prompt is a task and its tests."""

_STOPS = {
    **dict.fromkeys(CODE, ("\nclass", "\ndef", "\n#", "\nif", "\nprint")),
    **dict.fromkeys(TASK_WITH_TESTS, ("[DONE]",)),
}
_BEGIN = "[BEGIN]"
_ASK_CODE = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    "```python\n{code}\n```"
)
_TASK = (
    "You are an expert Python programmer, and here is your task: {task} Your code should pass these tests:\n\n{tests}"
)
_ASK_TASK = "{task}\n\nWrite the function whole, in one markdown code block of Python, without the tests."
_STATEMENT = "QUESTION:\n{statement}\n{starter}\nUse {kind} format\n\nANSWER:"
_ASK_STATEMENT = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a "
    "correct Python program that matches the specification and passes all tests.\n\n### Question:\n{statement}\n\n"
    "### Format: {form}\n```python\n{starter}\n```\n\n### Answer: (use the provided format with backticks)"
)
_FUNCTION = (
    "You will use the following starter code to write the solution to the problem and enclose your code within "
    "delimiters."
)
_PROGRAM = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample "
    "inputs). Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the "
    "inputs, runs the algorithm and writes output to STDOUT."
)


def text(fields: Fields, form: str, problem: Problem, chat: bool, shots: Sequence[Fields] = ()) -> str:
    """Return the prompt of a problem.

    It never ends in a line break: a model has learnt that as one token with what comes after it.

    Args:
        fields: The problem's record.
        form: The name of its format.
        problem: The same as it was read.
        chat: The prompt is a message, which asks for the code in a fenced block.
        shots: Records of solved problems to show before it, where the dataset's own judges do so.

    Raises:
        Malformed: The record has no statement.
    """
    if form in CODE:
        return _ASK_CODE.format(code=problem.prompt.strip()) if chat else problem.prompt.rstrip()
    if form in TASK_WITH_TESTS:
        task = _task(fields)
        if chat:
            return _ASK_TASK.format(task=task)
        return "".join(f"{_task(one)}\n{_BEGIN}\n{_code(one)}\n[DONE]\n\n" for one in shots) + f"{task}\n{_BEGIN}"
    return _of_statement(fields, problem, chat)


def stops(form: str) -> tuple[str, ...]:
    """Return the strings before the first of which a completion of a format's prompt ends."""
    return _STOPS.get(form, ("\nQUESTION:",))


def written(form: str, text: str) -> str:
    """Return the part of a completion that continues the prompt of its format: what a model writes after it is the next
    problem. Code that continues a function is left whole: where it ends is seen when it is read."""
    if form in CODE:
        return text
    first = min(place for place in (*(text.find(stop) for stop in stops(form)), len(text)) if place >= 0)
    return text[:first].strip().removeprefix(_BEGIN)


def _task(fields: Fields) -> str:
    tests = "\n".join(one.strip() for one in strings(fields, "test_list"))
    return _TASK.format(task=_statement(fields), tests=tests)


def _code(fields: Fields) -> str:
    return optional(fields, "code").replace("\r\n", "\n").strip()


def _of_statement(fields: Fields, problem: Problem, chat: bool) -> str:
    asked = _statement(fields)
    starter = optional(fields, "starter_code").strip()
    function = isinstance(problem.judge, FunctionTask)
    if isinstance(problem.judge, FunctionTask) and not starter:
        starter = _head(problem.judge.entry_point)
    if chat:
        form = _FUNCTION if function else _PROGRAM
        return _ASK_STATEMENT.format(statement=asked, form=form, starter=starter or "# YOUR CODE HERE")
    return _STATEMENT.format(statement=asked, starter=starter, kind="Call-Based" if function else "Standard Input")


def _head(entry_point: str) -> str:
    """Return the beginning of a function or method with this name."""
    *owners, name = entry_point.split(".")
    return f"class {owners[0]}:\n    def {name}(self, " if owners else f"def {name}("


def _statement(fields: Fields) -> str:
    if found := statement.read(fields):
        return found
    raise Malformed(f"it has no statement: {', '.join(statement.NAMES)}")
