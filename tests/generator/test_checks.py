"""Filters that run a puzzle: is it trivial, does it depend on its answer? And the answers that are tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.generator import answers, checks
from selftaught.generator.answers import Type, read_type
from selftaught.generator.puzzle import parse
from selftaught.sandbox import Limits, Status, Verifier, corpus
from selftaught.sandbox.worker.inside import annotation


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted", limits=Limits(cpu_seconds=0.3)) as made:
        yield made


def is_trivial(verifier: Verifier, source: str, how: str) -> bool:
    puzzle = parse(source)
    kind = read_type(puzzle.annotation)
    assert kind
    first, *rest = checks.trivial_tasks("p", puzzle, kind, how)
    verdict = verifier.verify(first)
    if verdict.status in (Status.TIME_LIMIT, Status.MEMORY_LIMIT):
        return any(verdict.accepted for verdict in verifier.verify_many(rest))
    return verdict.accepted


PAPER = [
    "def f(x: int):\n    return x ** 2 == 81",
    "def f(x: int):\n    return x < -9",
    "def f(s: str):\n    return len(s) == 3 and s[0] == 'c'",
    "def f(x: float):\n    return x * 2 == 1",
    "def f(x: List[int]):\n    return sum(x) == 6",
    "def f(x: List[List[str]]):\n    return x[0] == []",
    "def f(x: Optional[int]):\n    return x is None",
    "def f(x: List[bool]):\n    return x.count(True) == 2",
]
SEARCH = [
    "def f(x: int, a=123456):\n    return x == a + 1",
    "def f(s: str, t='strawberry'):\n    return s[::-1] == t",
    "def f(x: List[int], li=[9, 777, 13]):\n    return x == sorted(li)",
    "def f(x: Tuple[int, str], n=555, s='kiwi'):\n    return x == (n, s)",
    "def f(x: Dict[str, int], n=555):\n    return x['kiwi'] == n",
    "def f(x: Set[int]):\n    return x == {4321}",
]
HARD = [
    "def f(x: int, a=417, b=13):\n    return x % a == b and x > 10 ** 6",
    "def f(s: str, t='kiwi'):\n    return s == t + t[::-1] + t",
    "def f(x: List[int], n=4):\n    return sorted(x) == list(range(n)) and x[0] > x[1]",
]


@pytest.mark.parametrize("source", PAPER)
def test_a_small_answer_is_found(verifier: Verifier, source: str) -> None:
    assert is_trivial(verifier, source, "paper")
    assert is_trivial(verifier, source, "search")


@pytest.mark.parametrize("source", SEARCH)
def test_an_answer_that_stands_in_the_source_is_found_by_search_alone(verifier: Verifier, source: str) -> None:
    assert not is_trivial(verifier, source, "paper")
    assert is_trivial(verifier, source, "search")


@pytest.mark.parametrize("source", HARD)
def test_a_puzzle_that_needs_thought_is_not_trivial(verifier: Verifier, source: str) -> None:
    assert not is_trivial(verifier, source, "search")


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: int, a=3):\n    return x + a",
        "def f(s: str):\n    return [s]",
        "def f(x: int):\n    return x == secret",
        "def f(x: int):\n    if x > 5:\n        y = 1\n    return x + y == 10 ** 9",
    ],
    ids=["something true", "a list", "an unbound name", "an unbound local name"],
)
def test_the_paper_takes_what_is_true_and_unbound_names_as_trivial(verifier: Verifier, source: str) -> None:
    assert is_trivial(verifier, source, "paper")
    assert not is_trivial(verifier, source, "search")


@pytest.mark.parametrize("body", ["x[0] == 1", "1 / 0", "0 * x", "int('a')"])
def test_no_other_error_and_nothing_false_is_trivial_for_the_paper(verifier: Verifier, body: str) -> None:
    assert not is_trivial(verifier, f"def f(x: int):\n    return {body}", "paper")


@pytest.mark.parametrize(
    ("text", "count", "some", "none"),
    [
        ("int", 111, [-10, 0, 100], [101, -11]),
        ("str", 8, ["cat", "dog", "aa", "ab", "foo", "bar", "baz", ""], ["a"]),
        ("float", 13, [-100.0, -0.1, 0.5, 100.0], [3.0]),
        ("List[int]", 57, [[], [-3], [3, 3]], [[4], [0, 0, 0]]),
        ("List[str]", 31, [["baz", "a"]], [["cat"]]),
        ("List[bool]", 7, [[True, False]], [[True, True, True]]),
        ("List[float]", 57, [[-1.0, 2.0]], [[3.0]]),
        ("List[List[int]]", 58, [[], [[]], [[-3, 3]]], [[[], []], [[1], [2]]]),
        ("List[List[List[str]]]", 32, [[], [[[]]], [[["a", "b"]]]], [[[]]]),
    ],
)
def test_the_papers_answers_are_those_of_its_code(text: str, count: int, some: list[Any], none: list[Any]) -> None:
    kind = read_type(text)
    assert kind
    tried = [repr(one) for one in answers.paper_answers(kind)]
    assert len(tried) == len(set(tried)) == count
    assert {repr(one) for one in some} <= set(tried) and not {repr(one) for one in none} & set(tried)


def test_an_answer_that_never_returns_does_not_hide_the_next_one(verifier: Verifier) -> None:
    source = "def f(x: int):\n    while x < 0:\n        pass\n    return x == 77"
    assert is_trivial(verifier, source, "paper")


def test_few_bundled_puzzles_are_trivial_for_the_paper_and_their_answers_were_not_lost(verifier: Verifier) -> None:
    sources = [record["sat"] for record in corpus.records() if record["answer_type"] != "bool"]
    found = [source for source in sources if is_trivial(verifier, source, "paper")]
    assert 0 < len(found) < len(sources) / 3


def takes_changes(verifier: Verifier, source: str, solution: str) -> Status:
    puzzle = parse(source)
    kind = read_type(puzzle.annotation)
    assert kind
    return verifier.verify(checks.dependence_task("p", puzzle, kind, solution)).status


@pytest.mark.parametrize(
    ("source", "solution"),
    [
        ("def f(x: int):\n    return x == x", "def g():\n    return 7"),
        ("def f(x: List[int]):\n    return len(x) >= 0", "def g():\n    return [1, 2]"),
        ("def f(s: str):\n    return s * 0 == ''", "def g():\n    return 'a'"),
        ("def f(x: Dict[str, int]):\n    return bool(x or True)", "def g():\n    return {'a': 1}"),
        ("def f(x: Optional[int]):\n    return x in [x]", "def g():\n    return None"),
    ],
)
def test_a_puzzle_that_takes_every_changed_answer_does_not_depend_on_it(
    verifier: Verifier, source: str, solution: str
) -> None:
    assert takes_changes(verifier, source, solution) is Status.REJECTED


@pytest.mark.parametrize(
    ("source", "solution"),
    [
        ("def f(x: int):\n    return x > 10 ** 6", "def g():\n    return 10 ** 9"),
        ("def f(s: str):\n    return len(s) > 50", "def g():\n    return 'a' * 99"),
        ("def f(x: List[int]):\n    return x[0] == 3", "def g():\n    return [3, 4]"),
        ("def f(x: float):\n    return abs(x - 3) < 0.1", "def g():\n    return 3.05"),
        ("def f(x: Set[int]):\n    return len(x) == 3", "def g():\n    return {1, 2, 3}"),
        ("def f(x: Tuple[int, int]):\n    return x[0] * x[1] == 391", "def g():\n    return 17, 23"),
        ("def f(x: Dict[str, int]):\n    return x['a'] == 1", "def g():\n    return {'a': 1}"),
        ("def f(x: Optional[int]):\n    return x is None", "def g():\n    return None"),
        ("def f(x: int):\n    assert x == 3\n    return True", "def g():\n    return 3"),
    ],
)
def test_a_puzzle_that_refuses_one_changed_answer_depends_on_it(verifier: Verifier, source: str, solution: str) -> None:
    assert takes_changes(verifier, source, solution) is Status.ACCEPTED


TYPES = ["int", "float", "str", "List[int]", "List[List[str]]", "Tuple[int, str]", "Tuple[int, ...]", "Set[str]"]
TYPES += ["Dict[str, List[int]]", "Optional[int]", "List[Tuple[int, int]]", "List[bool]", "Dict[Tuple[int, int], str]"]


@pytest.mark.parametrize("text", TYPES)
def test_all_answers_that_are_tried_are_of_the_type(text: str) -> None:
    import typing

    kind = read_type(text)
    assert kind
    puzzle = parse(
        f"def f(x: {text}, a=417, b=['pear', 'fig'], c={{1: 2}}, d=-3.5, e=(7, 'x')):\n    return x == 1e999"
    )
    wanted = eval(text, vars(typing))
    for tried in (answers.small_answers(kind), answers.suggested_answers(puzzle, kind)):
        assert 0 < len(tried) <= 400
        assert all(annotation.matches(value, wanted) for value in tried)


@pytest.mark.parametrize(
    "text", ["bytes", "List", "Callable[[int], int]", "List[int, int]", "Dict[int]", "a.b", "3", "(", "x[int]"]
)
def test_a_type_that_is_not_plain_data_is_none(text: str) -> None:
    assert read_type(text) is None


@pytest.mark.parametrize(
    ("text", "paper", "plain"),
    [
        ("int", True, True),
        ("List[List[bool]]", True, True),
        ("bool", False, False),
        ("Tuple[int, int]", False, True),
        ("List[Tuple[int, int]]", False, True),
        ("Optional[bool]", False, False),
        ("bytes", False, False),
    ],
)
def test_each_recipe_takes_its_own_types(text: str, paper: bool, plain: bool) -> None:
    assert answers.allowed(read_type(text), "paper") is paper
    assert answers.allowed(read_type(text), "plain") is plain


plain: Any = st.recursive(
    st.integers() | st.floats() | st.text() | st.booleans(), lambda inner: st.lists(inner, max_size=4), max_leaves=8
)


@given(plain)
def test_any_constant_can_be_looked_at(value: object) -> None:
    puzzle = parse(f"def f(x: List[int], inf=0, nan=0, a={value!r}):\n    return x == a")
    answers.suggested_answers(puzzle, Type("List", (Type("int"),)))


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        ("def f(x: int):\n    return x[::-1] == 'abc'", False),
        ("def f(li: List[int]):\n    return ''.join(li) == 'abc' if li else li.upper()", False),
        ("def f(x: int, a=12345):\n    return x * a == 67", True),
        ("def f(li: List[int]):\n    return li[1] == 12345", True),
        ("def f(s: str, t='plum'):\n    return {'plum': 1}[s] == 2", True),
    ],
)
def test_a_puzzle_that_raises_for_every_trivial_answer_is_told(verifier: Verifier, source: str, runs: bool) -> None:
    puzzle = parse(source)
    kind = read_type(puzzle.annotation)
    assert kind
    verdict = verifier.verify(checks.running_task("p", puzzle, kind))
    assert verdict.status is (Status.ACCEPTED if runs else Status.REJECTED), verdict
