"""Sets of contest problems: programs with input and output, and functions with arguments and results."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from selftaught.sandbox import formats
from selftaught.sandbox.formats import Malformed
from selftaught.sandbox.task import FunctionTask, StdioTask
from tests.sandbox.formats.judging import accepts

ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
METHOD = "class Solution:\n    def add(self, a: List[int], b: int):\n        return [one + b for one in a]\n"
FUNCTION = "def add(a, b):\n    return tuple(one + b for one in a)\n"
STDIO = {"inputs": ["1 2\n", ["3 4", ""]], "outputs": ["3\n", ["7"]]}
CALLS = {"fn_name": "add", "inputs": [[[1, 2], 3]], "outputs": [[[4, 5]]]}
LINES = {"fn_name": "add", "inputs": ["[1, 2]\n3"], "outputs": ["[4, 5]"]}


def apps(content: object, **more: Any) -> dict[str, Any]:
    return {"problem_id": 7, "question": "?", "input_output": json.dumps(content), "starter_code": "", **more}


def taco(content: object) -> dict[str, Any]:
    return {"question": "?", "input_output": json.dumps(content), "solutions": json.dumps([ADD]), "tags": "[]"}


def verl(content: object) -> dict[str, Any]:
    return {
        "data_source": "apps",
        "prompt": [{"role": "user", "content": "?"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(content)},
        "extra_info": {"index": 7},
    }


def primeintellect(cases: list[dict[str, Any]], language: str = "python", write: Any = repr) -> dict[str, Any]:
    info = {"language": language, "test_cases": cases}
    return {"problem_id": "vcp_7", "verification_info": write(info), "gold_standard_solution": f"```python\n{ADD}```"}


def livecodebench(cases: list[dict[str, str]], function: str | None = None, private: Any = None) -> dict[str, Any]:
    return {
        "question_id": "abc_7",
        "public_test_cases": json.dumps(cases[:1]),
        "private_test_cases": private or json.dumps(cases[1:]),
        "metadata": json.dumps({"func_name": function} if function else {}),
    }


PROGRAM_CASES = [{"input": "1 2\n", "output": "3\n"}, {"input": "3 4", "output": "7"}]
PROGRAMS = {
    "apps": apps(STDIO),
    "taco": taco(STDIO),
    "codecontests": {
        "name": "7_A",
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": [{"input": "3 4", "output": "7"}],
        "generated_tests": {"input": [], "output": []},
    },
    "livecodebench": livecodebench([{**case, "testtype": "stdin"} for case in PROGRAM_CASES]),
    "primeintellect": primeintellect([{**case, "type": "stdin_stdout", "fn_name": None} for case in PROGRAM_CASES]),
    "openr1": {"id": "7/A", "official_tests": PROGRAM_CASES, "input_mode": "stdio", "generated_checker": None},
    "verl": verl(STDIO),
}
COMPARED = {
    "apps": "apps",
    "taco": "apps",
    "codecontests": "sandboxfusion",
    "livecodebench": "livecodebench",
    "primeintellect": "verl",
    "openr1": "lines",
    "verl": "verl",
}
FUNCTIONS = {
    "apps": apps(CALLS, starter_code="class Solution: ..."),
    "taco": taco(CALLS),
    "livecodebench": livecodebench([{"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"}], "add"),
    "primeintellect": primeintellect(
        [{"type": "function_call", "fn_name": "add", "input": [[1, 2], 3], "output": [[4, 5]]}]
    ),
    "verl": verl(LINES),
}


@pytest.mark.parametrize("form", PROGRAMS)
def test_inputs_and_outputs_are_cases_of_a_program(form: str) -> None:
    assert formats.recognise(PROGRAMS[form]) == form
    made = formats.read(PROGRAMS[form]).task(ADD)
    assert isinstance(made, StdioTask)
    assert [given.split() for given, _ in made.cases] == [["1", "2"], ["3", "4"]]
    assert [expected.strip() for _, expected in made.cases] == ["3", "7"]
    assert made.compare == COMPARED[form]
    assert accepts(made)
    assert not accepts(formats.read(PROGRAMS[form]).task("print(3)"))


@pytest.mark.parametrize("form", FUNCTIONS)
def test_with_a_functions_name_they_are_calls(form: str) -> None:
    assert formats.recognise(FUNCTIONS[form]) == form
    problem = formats.read(FUNCTIONS[form])
    made = problem.task(FUNCTION)
    assert isinstance(made, FunctionTask)
    assert made.entry_point == "add"
    assert made.cases is not None and made.cases[0][:2] == ([[1, 2], 3], {})
    assert accepts(made)
    assert not accepts(problem.task("def add(a, b):\n    return a"))


@pytest.mark.parametrize("form", FUNCTIONS)
def test_a_solution_with_the_class_solution_is_called_by_its_method(form: str) -> None:
    made = formats.read(FUNCTIONS[form]).task(METHOD)
    assert isinstance(made, FunctionTask)
    assert made.entry_point == "Solution.add"
    assert accepts(made)


@pytest.mark.parametrize("form", [form for form in PROGRAMS if form != "codecontests"])
def test_programs_find_the_names_that_the_datasets_judge_imports(form: str) -> None:
    program = "print(sum(map(int, input().split())) + floor(0.5))"
    assert accepts(formats.read(PROGRAMS[form]).task(program))


def test_a_program_with_a_future_import_stays_as_it_is() -> None:
    program = "from __future__ import annotations\n" + ADD
    assert formats.read(PROGRAMS["apps"]).task(program).sol == program


def test_whole_numbers_are_keys_again_in_a_first_argument() -> None:
    made = formats.read(apps({"fn_name": "f", "inputs": [[{"1": 2}, {"3": 4}]], "outputs": [1]})).task("")
    assert isinstance(made, FunctionTask)
    assert made.cases == [([{1: 2}, {"3": 4}], {}, 1)]


@pytest.mark.parametrize("solutions", [json.dumps([ADD]), [ADD], ADD, f"```python\n{ADD}```"])
def test_references_are_found_however_they_are_written(solutions: object) -> None:
    assert formats.read(apps(STDIO, solutions=solutions)).references == (ADD,)
    assert formats.read(PROGRAMS["primeintellect"]).references == (ADD,)


@pytest.mark.parametrize(
    "solutions",
    [
        {"language": [2, 3, 1], "solution": ["int main", ADD, "print 1"]},
        [{"language": "CPP", "solution": "int main"}, {"language": "PYTHON3", "solution": ADD}],
    ],
)
def test_codecontests_references_are_those_in_python_3(solutions: object) -> None:
    assert formats.read({**PROGRAMS["codecontests"], "solutions": solutions}).references == (ADD,)


def test_livecodebenchs_private_tests_may_be_packed() -> None:
    text = pickle.dumps(json.dumps([{"input": "5 6", "output": "11", "testtype": "stdin"}]))
    private = base64.b64encode(zlib.compress(text)).decode()
    record = livecodebench([{"input": "1 2", "output": "3", "testtype": "stdin"}], private=private)
    assert formats.read(record).judge.cases == [("1 2", "3"), ("5 6", "11")]


@pytest.mark.parametrize("write", [repr, json.dumps, dict])
def test_verification_info_is_a_literal_or_json_or_an_object(write: Any) -> None:
    record = primeintellect([{**case, "type": "stdin_stdout"} for case in PROGRAM_CASES], write=write)
    assert formats.recognise(record) == ("openr1" if write is dict else "primeintellect")
    assert formats.read(record).judge.cases == [("1 2\n", "3\n"), ("3 4", "7")]


@pytest.mark.parametrize(
    "truth",
    [
        STDIO,
        json.dumps(STDIO),
        [{"input": "1 2", "output": "3"}, {"input": "3 4", "output": "7"}],
        {"ground_truth": json.dumps(STDIO)},
    ],
)
def test_a_ground_truth_is_a_problem_by_itself(truth: object) -> None:
    assert accepts(formats.read(truth).task(ADD))


@pytest.mark.parametrize(
    "asserts", [["assert add([1], 2) == (3,)", "assert add([], 2) == ()"], "assert add([1], 2) == (3,)"]
)
def test_verls_asserts_are_tests(asserts: object) -> None:
    problem = formats.read({"assert_case": asserts, "inputs": ["", ""], "outputs": [None, None]})
    made = problem.task(FUNCTION)
    assert isinstance(made, FunctionTask)
    assert made.entry_point == "add"
    assert accepts(made)
    assert not accepts(problem.task("def add(a, b): return a"))


CHECKER = """\
import sys

def main():
    given, expected, answer = (open(path).read().split() for path in sys.argv[1:4])
    print(1 if sorted(answer) == sorted(expected) else 0)

main()
"""


def test_open_r1s_checkers_run_without_files() -> None:
    made = formats.read({**PROGRAMS["openr1"], "generated_checker": CHECKER}).judge
    assert made.checker is not None
    scope: dict[str, Any] = {}
    exec(made.checker, scope)
    assert scope["check"]("x", "2 1", "1 2") is True
    assert scope["check"]("x", "2 2", "1 2") is False


def test_a_checker_is_kept_with_a_problem_of_any_format() -> None:
    checker = "def check(input, output, expected):\n    return True"
    assert formats.read({**PROGRAMS["taco"], "checker": checker}).judge.checker == checker


MALFORMED = {
    "no tests": (apps({"inputs": [], "outputs": []}), "no test cases"),
    "fewer outputs": (apps({"inputs": ["1"], "outputs": []}), "1 inputs, but 0 outputs"),
    "no lists": (apps({"inputs": "1", "outputs": "2"}), "must be lists"),
    "an empty text": ({"problem_id": 1, "input_output": ""}, "no format"),
    "no object": (apps([1]), "inputs and outputs"),
    "no JSON": ({"problem_id": 1, "input_output": "{"}, "neither JSON nor"),
    "arguments that are no JSON": (apps({**LINES, "inputs": ["[1"]}), "an argument is not JSON"),
    "another language": (primeintellect([{"input": "", "output": ""}], "javascript"), "only Python"),
    "several functions": (primeintellect([{"fn_name": "f"}, {"fn_name": "g"}]), "several functions"),
    "no function": (livecodebench([{"input": "1", "output": "2", "testtype": "functional"}]), "func_name"),
    "a file": ({**PROGRAMS["openr1"], "input_mode": "file"}, "input_mode"),
    "no cases": ({"id": 1, "official_tests": [1]}, "list of objects"),
    "no columns": ({"name": "x", "public_tests": [1]}, "input and output"),
    "a ground truth of text": ({"ground_truth": '"x"'}, "must be an object"),
    "a ground truth of nothing": ({"ground_truth": "{}"}, "neither inputs and outputs nor"),
    "asserts of numbers": ({"assert_case": [1]}, "list of strings"),
    "asserts of nothing": ({"assert_case": ["assert True"]}, "calls no function"),
}


@pytest.mark.parametrize(("record", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_says_why(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        formats.read(record)
