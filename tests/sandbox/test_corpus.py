"""The bundled puzzles, run by a plain interpreter: they are trusted code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import corpus

RECORDS = corpus.records()
FIELDS = ["id", "area", "answer_type", "sat", "sol"]
NAMES = {name: getattr(typing, name) for name in ("List", "Dict", "Set", "Tuple", "Optional", "Union", "Any")}
P3 = Path(os.environ.get("SELFTAUGHT_P3", Path(__file__).resolve().parents[3] / "shared" / "p3"))
CPU_SECONDS = 1.0  # well under 0.2 on an idle machine
REQUIRED_TYPES = {
    "int",
    "float",
    "str",
    "bool",
    "List[int]",
    "List[str]",
    "List[float]",
    "List[bool]",
    "List[List[int]]",
    "List[List[str]]",
    "Tuple[int, int]",
    "Tuple[int, ...]",
    "Dict[str, int]",
    "Dict[int, List[int]]",
    "Set[int]",
    "Set[str]",
    "List[Tuple[int, int]]",
    "Optional[int]",
}
TRIVIAL_ANSWERS: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 10, 0.0, 1.0, -1.0, 0.5, "", " ", "0", "1", "a"),
    *([], [0], [1], [0, 0], [0, 1], [0.0], [1.0], [""], ["a"], [True], [False]),
    *([[]], [[], []], [[0]], [[""]], [[(0, 1)]], [(0, 0)], [(0, 1)], [(1, 0)]),
    *((), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1)),
    *({}, {"": 0}, {"a": 0}, {"a": 1}, {"a": "b"}, {0: []}, {0: [0]}, set(), {0}, {1}, {0, 1}, {""}, {"a"}),
]

each_puzzle = pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in RECORDS])


def load(record: dict[str, str]) -> dict[str, Any]:
    """A fresh namespace in which the puzzle and its reference solution are defined."""
    namespace: dict[str, Any] = dict(NAMES)
    exec(compile(record["sat"], f"{record['id']}.sat", "exec"), namespace)
    exec(compile(record["sol"], f"{record['id']}.sol", "exec"), namespace)
    return namespace


def fits(value: object, annotation: Any) -> bool:
    """Is the value of exactly this type, at every level?"""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return type(value) is annotation
    if origin is typing.Union:
        return any(fits(value, arg) for arg in args)
    if type(value) is not origin:
        return False
    if isinstance(value, dict):
        return all(fits(key, args[0]) and fits(item, args[1]) for key, item in value.items())
    if isinstance(value, tuple) and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(fits, value, args))
    assert isinstance(value, list | set | tuple)
    return all(fits(item, args[0]) for item in value)


def function(source: str, name: str) -> ast.FunctionDef:
    """The one function that the source consists of."""
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    assert definition.name == name
    return definition


class Canonical(ast.NodeTransformer):
    """Names that the function binds are numbered as they come up; of constants, only the type is left."""

    def __init__(self, definition: ast.FunctionDef) -> None:
        nodes = list(ast.walk(definition))
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and type(node.ctx) is ast.Store}
        bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        self.numbers: dict[str, int | None] = dict.fromkeys(bound)

    def canonical(self, name: str) -> str:
        if name not in self.numbers:
            return name
        if self.numbers[name] is None:
            self.numbers[name] = sum(number is not None for number in self.numbers.values())
        return f"_{self.numbers[name]}"

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.canonical(node.id), ast.Load())

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.canonical(node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        node.args.defaults = []  # the instance's constants
        node.returns = None
        node.name = self.canonical(node.name)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(type(node.value).__name__)


def shape(source: str) -> str:
    """The same for puzzles that differ in names, constants, defaults, annotations and docstrings only."""
    definition = function(source, "sat")
    return ast.dump(Canonical(definition).visit(definition))


def test_there_are_enough_puzzles() -> None:
    assert len(RECORDS) >= 60


def test_the_file_is_one_json_object_a_line_with_the_fields_in_order() -> None:
    text = corpus.path().read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert [json.loads(line) for line in text.splitlines()] == RECORDS
    assert all(list(record) == FIELDS for record in RECORDS)
    assert all(type(value) is str and value for record in RECORDS for value in record.values())


def test_ids_are_unique_and_made_of_lower_case_words() -> None:
    ids = [record["id"] for record in RECORDS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", i) for i in ids)


def test_every_required_answer_type_occurs_several_times() -> None:
    types = [record["answer_type"] for record in RECORDS]
    assert {answer_type for answer_type in REQUIRED_TYPES if types.count(answer_type) < 3} == set()


@each_puzzle
def test_the_solution_takes_the_constants_that_the_puzzle_uses(record: dict[str, str]) -> None:
    sat, sol = function(record["sat"], "sat"), function(record["sol"], "sol")
    answer, *constants = sat.args.args
    assert answer.annotation is not None
    assert ast.unparse(answer.annotation) == record["answer_type"]
    assert [arg.arg for arg in constants] == [arg.arg for arg in sol.args.args]
    assert list(map(ast.unparse, sat.args.defaults)) == list(map(ast.unparse, sol.args.defaults))
    assert 0 < len(sat.args.defaults) == len(constants)
    used = {node.id for node in ast.walk(sat) if isinstance(node, ast.Name)}
    assert {arg.arg for arg in sat.args.args} <= used


@each_puzzle
def test_the_reference_is_of_the_exact_type_and_right_and_quick(record: dict[str, str]) -> None:
    namespace = load(record)
    start = time.process_time()
    answer = namespace["sol"]()
    solved = time.process_time()
    assert fits(answer, eval(record["answer_type"], dict(NAMES))), answer
    checking = time.process_time()
    assert namespace["sat"](answer) is True, answer
    assert solved - start < CPU_SECONDS
    assert time.process_time() - checking < CPU_SECONDS


def test_a_puzzle_says_no_to_trivial_answers_and_does_not_raise() -> None:
    let_through = set()
    for record in RECORDS:
        sat, annotation = load(record)["sat"], eval(record["answer_type"], dict(NAMES))
        for answer in TRIVIAL_ANSWERS:
            if fits(answer, annotation):
                says = sat(answer)
                assert type(says) is bool, (record["id"], answer)
                if says:
                    let_through.add(record["id"])
    yes_or_no = {record["id"] for record in RECORDS if record["answer_type"] == "bool"}
    assert let_through == yes_or_no | {"square-root-on-a-clock"}  # None: there is no root
    assert len(let_through) <= 5


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_references_are_right_under_any_hash_seed(seed: str) -> None:
    program = """
import json, sys
from typing import Any, Dict, List, Optional, Set, Tuple, Union
names = {name: value for name, value in globals().items() if not name.startswith("__")}
for record in map(json.loads, open(sys.argv[1], encoding="utf-8")):
    namespace = dict(names)
    exec(record["sat"], namespace)
    exec(record["sol"], namespace)
    if namespace["sat"](namespace["sol"]()) is not True:
        print(record["id"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(corpus.path())],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_no_two_puzzles_are_the_same_but_for_names_and_constants() -> None:
    shapes = [shape(record["sat"]) for record in RECORDS]
    assert len(set(shapes)) == len(shapes)


def test_renaming_and_other_constants_do_not_make_another_puzzle() -> None:
    puzzle = shape("def sat(n: int, k=3):\n    return n > k + 1")
    assert shape("def sat(x: str, y=7): return x > y + 2") == puzzle
    assert shape("def sat(n: int, k=3):\n    return k > n + 1") != puzzle


@pytest.fixture
def literals_of_any_size() -> Iterator[None]:
    """Python's parser refuses integers of more than 4,300 digits, which P3 has."""
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(usual)


@pytest.mark.usefixtures("literals_of_any_size")
def test_no_puzzle_is_one_of_p3() -> None:
    if not P3.is_dir():
        pytest.skip(f"P3 is not at {P3} (set SELFTAUGHT_P3 to the folder with its puzzles.json)")
    puzzles = json.loads((P3 / "puzzles.json").read_text(encoding="utf-8"))
    theirs = {shape(puzzle["sat"]) for puzzle in puzzles}
    assert [record["id"] for record in RECORDS if shape(record["sat"]) in theirs] == []
