"""What is held out: bundled exams, puzzles of files, P3's test part, and problems of benchmarks."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import held_out, puzzle, seeds
from selftaught.generator.cli import _seeds
from selftaught.generator.contamination import RUN, HeldOutProblems
from selftaught.generator.novelty import Contaminated, HeldOut
from selftaught.generator.recipe import DEFAULT
from selftaught.sandbox.records import Unreadable
from selftaught.trainer import heldout

SOLUTION = """\
def running_best(numbers: list) -> list:
    \"\"\"Return the best so far.\"\"\"
    best, found = None, []
    for number in numbers:
        if best is None or number > best:
            best = number
        found.append(best)
    return found
"""
SAME = """\
def g(li=[3, 1, 4]):
    top, out = None, []
    for one in li:  # the same code with other names
        if top is None or one > top:
            top = one
        out.append(top)
    return out
"""
OTHER = SAME.replace("one > top", "one >= top")
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": SOLUTION[: SOLUTION.index("    best,")],
    "entry_point": "running_best",
    "test": "def check(candidate):\n    assert candidate([1]) == [1]\n",
    "canonical_solution": SOLUTION[SOLUTION.index("    best,") :],
}
MBPP = {
    "task_id": 900,
    "text": "Write a function to find the longest chain of given pairs by the end of each, one two three four five.",
    "code": "def chain(x):\r\n    return x",
    "test_list": ["assert chain(1) == 1"],
}


def file(tmp_path: Path, *records: Any, name: str = "held.jsonl") -> str:
    path = tmp_path / name
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records))
    return str(path)


@pytest.mark.parametrize("name", heldout.SETS)
def test_every_bundled_exam_is_held_out(name: str) -> None:
    bundled = held_out.gather()
    for record in heldout.records(name):
        with pytest.raises(Contaminated):
            bundled.check(puzzle.parse(record["sat"]).named("f99"))


def test_the_bundled_seeds_and_other_constants_of_a_common_form_are_free() -> None:
    bundled = held_out.gather()
    for seed in seeds.read(seeds.CORPUS):
        bundled.check(seed.puzzle.source)
    templates = [record["sat"] for record in heldout.records("machine") if record["half"] == "constants"]
    square = next(one for one in templates if "x ** 2 == a" in one)
    assert bundled.contains(square) and not bundled.contains("def f(x: int, a=10201):\n    return x ** 2 == a")


def test_the_solution_of_a_problem_is_known_by_its_code_whatever_its_names(tmp_path: Path) -> None:
    kept_out = held_out.gather([file(tmp_path, HUMANEVAL)])
    inner = f"def f(x: int):\n{textwrap.indent(SAME, '    ')}\n    return g() == x"
    for source in (SOLUTION, SAME, inner):
        assert kept_out.reason_of_solution(source) == "it has the solution of HumanEval/900"
        assert kept_out.reason(source) == "it has the solution of HumanEval/900"
    assert kept_out.reason_of_solution(OTHER) == "" == kept_out.reason_of_solution("def g():\n    return 1")


def test_the_words_of_a_problem_are_known_where_enough_of_them_stand_in_a_row(tmp_path: Path) -> None:
    kept_out = held_out.gather([file(tmp_path, MBPP)])
    words = MBPP["text"].split()  # type: ignore[attr-defined]
    for place, part, found in ((0, RUN, True), (5, RUN, True), (0, RUN - 1, False)):
        comment = " ".join(words[place : place + part])
        asked = f'def f(x: int):\n    """{comment.upper()}"""\n    return x == 3'
        assert bool(kept_out.reason(asked)) is found
        assert not found or "13 words in a row of 900" in kept_out.reason(asked)


def test_what_anybody_writes_is_nobodys_solution() -> None:
    problems = HeldOutProblems()
    problems.add("HumanEval/53", "", ["def add(x, y):\n    return x + y\n"])
    assert problems.reason("def g(a=1, b=2):\n    return a + b") == "" and problems.unknown == 1


def test_code_that_is_nested_too_deep_to_be_compared_is_not_kept(tmp_path: Path) -> None:
    deep = "def g():\n    return " + "-" * 900 + "1"
    assert "too deep" in held_out.gather([file(tmp_path, HUMANEVAL)]).reason_of_solution(deep)


def test_a_record_by_which_nothing_can_be_held_out_is_refused(tmp_path: Path) -> None:
    silent = {"task_id": 1, "test_list": ["assert f(1) == 2"]}
    for record, reason in (
        (silent, "neither a solution nor a statement"),
        ({"sat": "def sat(:"}, "neither a puzzle nor a problem"),
        ({"a": 1}, "no format has these fields"),
        ("{", "not JSON"),
    ):
        with pytest.raises(Unreadable, match=reason):
            held_out.gather([file(tmp_path, HUMANEVAL, record)])


P3 = [
    {"name": f"{problem}:{n}", "sat": f"def sat(x: int, a={n}):\n    return {code}", "sol_header": "", "sol_bodies": []}
    for problem, code in (("Study", "x * 7 - 1 == a"), ("Exam", "str(x * 3) + '1' == str(a)"))
    for n in (0, 1)
]


def test_of_p3_the_test_part_is_held_out(tmp_path: Path) -> None:
    puzzles = file(tmp_path, *P3)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["Study"], "test": ["Exam"]}))
    kept_out = held_out.gather([puzzles], held_out.Split(str(split)))
    assert [kept_out.contains(one["sat"]) for one in P3] == [False, False, True, True]
    assert all(held_out.gather([puzzles]).contains(one["sat"]) for one in P3)
    split.write_text(json.dumps({"train": ["Study"]}))
    with pytest.raises(Unreadable, match=r"none of .* is in the test part"):
        held_out.gather([puzzles], held_out.Split(str(split)))
    split.write_text("[]")
    with pytest.raises(Unreadable, match="train` and `test`"):
        held_out.Split(str(split))


def test_a_set_is_told_from_another_by_its_digest(tmp_path: Path) -> None:
    sets = [held_out.gather(), held_out.gather([file(tmp_path, HUMANEVAL)]), HeldOut(),
            held_out.gather([file(tmp_path, HUMANEVAL, MBPP, name="more.jsonl")])]  # fmt: skip
    assert len({one.digest for one in sets}) == 4
    assert held_out.gather([file(tmp_path, HUMANEVAL)]).digest == sets[1].digest


def test_a_split_is_of_p3s_puzzles_and_leaves_the_bundled_seeds_alone(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"train": ["Study"], "test": ["Exam"]}))
    split = held_out.Split(str(tmp_path / "split.json"))
    for source in seeds.BUNDLED:
        shown, exam = _seeds(source, DEFAULT, True, split)
        assert len(shown) > 90 and shown == _seeds(source, DEFAULT, True, None)[0] and not exam
